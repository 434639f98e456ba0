//! Who talks to QEMU, and over which connection.
//!
//! QEMU has two control sockets. To one it connects itself, once, while it starts: that is
//! how whoever made the machine knows that it is ready, and the connection stays, for
//! events. At the other it listens, and serves one client at a time, so everybody else
//! connects for what they have to say and leaves.

use microagent_backend::{Error, ErrorKind, Result};
use microagent_guarded::SocketDir;
use qapi::qmp::QmpCommand;
use tokio::sync::MutexGuard;

use crate::files;
use crate::limits::REPLY_WITHIN;
use crate::qmp::{Session, Status};

/// A few commands that belong together.
pub(crate) struct Conversation<'a> {
    /// Where the owner's connection is kept while nobody uses it.
    kept: MutexGuard<'a, Option<Session>>,
    /// Whether that is the connection in use.
    owned: bool,
    /// The connection, unless it broke.
    session: Option<Session>,
}

impl<'a> Conversation<'a> {
    /// Takes the owner's connection, or makes one.
    ///
    /// # Errors
    /// `Timeout` where QEMU does not answer, perhaps because it serves another.
    pub(crate) async fn begin(
        mut kept: MutexGuard<'a, Option<Session>>,
        sockets: &SocketDir,
    ) -> Result<Self> {
        let session = kept.take();
        let owned = session.is_some();
        let session = match session {
            Some(session) => session,
            None => connect(sockets).await?,
        };
        Ok(Self { kept, owned, session: Some(session) })
    }

    /// Executes a command.
    pub(crate) async fn execute<C: QmpCommand>(&mut self, command: C) -> Result<C::Ok> {
        let session = self.session.take().ok_or_else(broken)?;
        let (session, reply) = session.execute(command).await;
        self.session = session;
        reply
    }

    /// Asks where the machine is in its life.
    pub(crate) async fn status(&mut self) -> Result<Status> {
        let session = self.session.take().ok_or_else(broken)?;
        let (session, reply) = session.status().await;
        self.session = session;
        reply
    }
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        if self.owned {
            *self.kept = self.session.take();
        }
    }
}

async fn connect(sockets: &SocketDir) -> Result<Session> {
    let greeted = async {
        let stream = sockets.connect(files::QMP).await?;
        Session::greet(stream, REPLY_WITHIN).await
    };
    tokio::time::timeout(REPLY_WITHIN, greeted).await.unwrap_or_else(|_| {
        let message = format!("qemu did not take a connection within {REPLY_WITHIN:?}");
        Err(Error::new(ErrorKind::Timeout, message))
    })
}

fn broken() -> Error {
    Error::new(ErrorKind::Crashed, "the control connection to qemu broke before")
}
