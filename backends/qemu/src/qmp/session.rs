//! One QMP connection.

use std::io;
use std::time::Duration;

use microagent_backend::{Error, ErrorKind, Result};
use qapi::ExecuteError;
use qapi::futures::{QapiService, QmpStreamTokio};
use qapi::qmp::QmpCommand;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::command::QueryStatus;
use super::filter::Filter;
use super::{Events, Status};

/// A QMP connection that takes commands.
///
/// [`Session::execute`] consumes it and gives it back with the reply: a command that is
/// abandoned, be it for its deadline or because whoever waits for it goes away, takes the
/// connection with it.
pub(crate) struct Session {
    service: QapiService<QmpStreamTokio<OwnedWriteHalf>>,
    _reader: Reader,
    events: watch::Receiver<Events>,
    reply_within: Duration,
}

/// The task that reads; it ends with the session.
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Greets QEMU at the other end of `stream`. When this returns, the machine is built: no
    /// command is answered before.
    ///
    /// There is no deadline in here but the caller's.
    pub(crate) async fn greet(stream: UnixStream, reply_within: Duration) -> Result<Self> {
        let (read, write) = stream.into_split();
        let (sender, events) = watch::channel(Events::default());
        let negotiation = QmpStreamTokio::open_split(Filter::new(read, sender), write)
            .await
            .map_err(|e| broken("greeting", e))?;
        let stream = negotiation.negotiate().await.map_err(|e| broken("negotiation", e))?;
        let (service, reader) = stream.spawn_tokio();
        Ok(Self { service, _reader: Reader(reader), events, reply_within })
    }

    /// Executes a command. The session comes back unless it broke.
    ///
    /// # Errors
    /// `Timeout` for a late reply, `Protocol` for one that makes no sense or that refuses,
    /// `Crashed` where QEMU closed the connection.
    pub(crate) async fn execute<C: QmpCommand>(self, command: C) -> (Option<Self>, Result<C::Ok>) {
        let reply = tokio::time::timeout(self.reply_within, self.service.execute(command)).await;
        match reply {
            Ok(Ok(value)) => (Some(self), Ok(value)),
            Ok(Err(ExecuteError::Qapi(refusal))) => {
                let message = format!("qemu refuses {}", C::NAME);
                let error = Error::new(ErrorKind::Protocol, message).with_source(refusal);
                (Some(self), Err(error))
            }
            Ok(Err(ExecuteError::Io(error))) => (None, Err(broken(C::NAME, error))),
            Err(_) => {
                let message =
                    format!("qemu did not answer {} within {:?}", C::NAME, self.reply_within);
                (None, Err(Error::new(ErrorKind::Timeout, message)))
            }
        }
    }

    /// Asks where the machine is in its life.
    pub(crate) async fn status(self) -> (Option<Self>, Result<Status>) {
        let (session, reply) = self.execute(QueryStatus {}).await;
        (session, reply.map(|reply| Status::of(&reply.status)))
    }

    /// What QEMU tells unasked. Closed when the connection is.
    pub(crate) fn events(&self) -> watch::Receiver<Events> {
        self.events.clone()
    }
}

fn broken(when: &str, source: io::Error) -> Error {
    let (kind, what) = match source.kind() {
        // What serde_json reports comes as one of these.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            (ErrorKind::Protocol, "answered nonsense")
        }
        _ => (ErrorKind::Crashed, "closed its control connection"),
    };
    Error::new(kind, format!("qemu {what} during {when}")).with_source(source)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;
    use crate::limits::MAX_QMP_LINE;
    use crate::qmp::{Cont, Shutdown};

    const GREETING: &str = r#"{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":""},"capabilities":["oob","later"]}}"#;
    const OK: &str = r#"{"return":{}}"#;
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Plays QEMU: greets, then answers each line that it reads with the next of `answers`,
    /// and closes the connection after the last.
    async fn qemu(stream: UnixStream, answers: Vec<String>) {
        let (read, mut write) = stream.into_split();
        let mut commands = BufReader::new(read).lines();
        let _ = write.write_all(format!("{GREETING}\r\n").as_bytes()).await;
        for answer in answers {
            if !matches!(commands.next_line().await, Ok(Some(_))) {
                return;
            }
            let _ = write.write_all(answer.as_bytes()).await;
        }
    }

    async fn session(answers: &[String], within: Duration) -> Result<Session> {
        let (here, there) = UnixStream::pair().unwrap();
        tokio::spawn(qemu(there, answers.to_vec()));
        Session::greet(here, within).await
    }

    fn line(text: &str) -> String {
        format!("{text}\r\n")
    }

    #[tokio::test]
    async fn commands_are_answered_among_unknown_events() {
        let unknown = line(r#"{"event":"OF_ANOTHER_VERSION","data":{"x":[]}}"#);
        let running = r#"{"return":{"status":"running","running":true,"invented":1}}"#;
        let answers =
            [unknown.clone() + &line(OK), unknown.clone() + &line(OK) + &unknown, line(running)];
        let session = session(&answers, PATIENCE).await.unwrap();
        let (session, reply) = session.execute(Cont {}).await;
        reply.unwrap();
        let (_, status) = session.unwrap().status().await;
        assert_eq!(status.unwrap(), Status::of("running"));
    }

    #[tokio::test]
    async fn a_refusal_leaves_the_connection() {
        let refusal = line(r#"{"error":{"class":"GenericError","desc":"not now"}}"#);
        let session = session(&[line(OK), refusal, line(OK)], PATIENCE).await.unwrap();
        let (session, reply) = session.execute(Cont {}).await;
        let error = reply.unwrap_err();
        assert_eq!(error.to_string(), "qemu refuses cont");
        assert!(error.source.unwrap().to_string().contains("not now"));
        session.unwrap().execute(Cont {}).await.1.unwrap();
    }

    #[tokio::test]
    async fn faults_break_the_connection_and_nothing_else() {
        let check = async |answer: String, expect: ErrorKind| {
            let shown = answer.chars().take(60).collect::<String>();
            let within = Duration::from_millis(200);
            let answers = [line(OK), answer, line("")];
            let session = session(&answers, within).await.unwrap();
            let (session, reply) = session.execute(Cont {}).await;
            assert_eq!(reply.unwrap_err().kind, expect, "{shown}");
            assert!(session.is_none(), "{shown}");
        };
        check(line("garbage"), ErrorKind::Crashed).await;
        check(line("{\"return\":{},\"id\":7}"), ErrorKind::Crashed).await;
        check("x".repeat(MAX_QMP_LINE + 1), ErrorKind::Crashed).await;
        check(String::new(), ErrorKind::Timeout).await;
        check("{\"return\":".into(), ErrorKind::Timeout).await;
        check(line(r#"{"event":"STOP"}"#).repeat(10_000), ErrorKind::Timeout).await;
    }

    #[tokio::test]
    async fn a_connection_that_ends_says_so() {
        let session = session(&[line(OK)], PATIENCE).await.unwrap();
        let (session, reply) = session.execute(Cont {}).await;
        assert_eq!(reply.unwrap_err().kind, ErrorKind::Crashed);
        assert!(session.is_none());
    }

    #[tokio::test]
    async fn a_greeting_must_be_one() {
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(b"SSH-2.0\n").await.unwrap();
        let error = Session::greet(here, PATIENCE).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Protocol);
        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        let error = Session::greet(here, PATIENCE).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Crashed);
    }

    #[tokio::test]
    async fn the_reason_of_the_end_is_told_before_the_end() {
        let shutdown = r#"{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-reset"}}"#;
        let session = session(&[line(OK), line(OK) + &line(shutdown)], PATIENCE).await.unwrap();
        let mut events = session.events();
        let (_session, reply) = session.execute(Cont {}).await;
        reply.unwrap();
        while events.changed().await.is_ok() {}
        assert_eq!(events.borrow().shutdown, Some(Shutdown::GuestReset));
    }
}
