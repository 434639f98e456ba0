//! Who talks to QEMU, and over which connection.
//!
//! QEMU has two control sockets. To one it connects itself, once, while it starts: that is
//! how whoever made the machine knows that it is ready, and the connection stays, for
//! events. At the other it listens, and serves one client at a time, so everybody else
//! connects for what they have to say and leaves.
//!
//! Each conversation is a task of its own. It ends by its own deadlines, whether whoever began
//! it waits for that, does something else meanwhile or has gone: nobody who is not polled keeps
//! a connection from the others.

use std::sync::Arc;

use microagent_backend::{Error, ErrorKind, Result, State};
use microagent_guarded::SocketDir;
use qapi::qmp::QmpCommand;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::files;
use crate::limits::REPLY_WITHIN;
use crate::qmp::{Session, Status};

/// The way to QEMU.
pub(crate) struct Line {
    /// The connection of whoever made the machine, unless it is in use or broke.
    kept: Arc<Mutex<Option<Session>>>,
    sockets: Arc<SocketDir>,
}

impl Line {
    /// A line over this connection, or over one for each conversation.
    pub(crate) fn new(session: Option<Session>, sockets: SocketDir) -> Self {
        Self { kept: Arc::new(Mutex::new(session)), sockets: Arc::new(sockets) }
    }

    /// Asks where the machine is in its life.
    ///
    /// # Errors
    /// `Timeout` where QEMU does not answer, perhaps because it serves another, and those of
    /// [`Session::execute`].
    pub(crate) async fn status(&self) -> Result<Status> {
        self.converse(|mut talk| async move { talk.status().await }).await
    }

    /// Executes `command` where the machine is in the state `from`. Says where it was.
    ///
    /// # Errors
    /// Those of [`Line::status`].
    pub(crate) async fn change<C>(&self, from: State, command: C) -> Result<Status>
    where
        C: QmpCommand + Send + 'static,
    {
        let talk = move |mut talk: Conversation| async move {
            let status = talk.status().await?;
            if status == Status::Is(from) {
                talk.execute(command).await?;
            }
            Ok(status)
        };
        self.converse(talk).await
    }

    async fn converse<T, F>(
        &self,
        talk: impl FnOnce(Conversation) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send,
    {
        let (kept, sockets) = (Arc::clone(&self.kept), Arc::clone(&self.sockets));
        let conversation = tokio::spawn(async move {
            let begun = Conversation::begin(kept.lock_owned().await, &sockets).await?;
            talk(begun).await
        });
        conversation.await.map_err(|e| {
            Error::new(ErrorKind::Crashed, "a conversation with qemu was cut off").with_source(e)
        })?
    }
}

/// A few commands that belong together.
struct Conversation {
    /// Where the owner's connection is kept while nobody uses it.
    kept: OwnedMutexGuard<Option<Session>>,
    /// Whether that is the connection in use.
    owned: bool,
    /// The connection, unless it broke.
    session: Option<Session>,
}

impl Conversation {
    /// Takes the owner's connection, or makes one.
    async fn begin(
        mut kept: OwnedMutexGuard<Option<Session>>,
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

    async fn execute<C: QmpCommand>(&mut self, command: C) -> Result<C::Ok> {
        let session = self.session.take().ok_or_else(broken)?;
        let (session, reply) = session.execute(command).await;
        self.session = session;
        reply
    }

    async fn status(&mut self) -> Result<Status> {
        let session = self.session.take().ok_or_else(broken)?;
        let (session, reply) = session.status().await;
        self.session = session;
        reply
    }
}

impl Drop for Conversation {
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
