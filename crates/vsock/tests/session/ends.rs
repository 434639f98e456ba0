//! How sessions end.

use microagent_guest_protocol::frame::{Header, Kind, MAX_DATA};
use microagent_guest_protocol::{AgentMessage, ExitStatus, HostMessage, Stream, WINDOW};
use microagent_vsock::SessionError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::agent::{FakeAgent, LONG, TestSink, io, listener, request, session, token};

fn credit(id: u32, stream: Stream, bytes: u32) -> AgentMessage {
    AgentMessage::Credit { id, stream, bytes }
}

/// What a session with the running command 1 ends with when the agent does this.
async fn check(act: impl AsyncFnOnce(&mut FakeAgent), expect: &str) {
    let (session, mut agent) = session().await;
    let out = TestSink::default();
    let exec = session.exec(request(1, true), io(&out, &out));
    act(&mut agent).await;
    let expect = format!("the agent broke the protocol: {expect}");
    assert_eq!(session.closed().await.to_string(), expect);
    assert_eq!(exec.wait().await.unwrap_err().to_string(), expect);
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_session() {
    let header = |kind, len| Header { kind, len }.encode();
    let stdout = Kind::Data { stream: Stream::Stdout, id: 1 };
    check(
        async |a| a.0.write_all(&header(stdout, MAX_DATA + 1)).await.unwrap(),
        "frame of 65537 bytes, at most 65536 are allowed",
    )
    .await;
    check(
        async |a| a.0.write_all(&header(Kind::Control, usize::MAX >> 32)).await.unwrap(),
        "frame of 4294967295 bytes, at most 1048576 are allowed",
    )
    .await;
    check(async |a| a.data(1, Stream::Stdin, b"x").await, "data of standard input").await;
    check(async |a| a.data(7, Stream::Stdout, b"x").await, "a command 7 that does not run").await;
    check(
        async |a| {
            a.end(1, Stream::Stdout).await;
            a.data(1, Stream::Stdout, b"x").await;
        },
        "output after its end",
    )
    .await;
    check(async |a| a.send(AgentMessage::Ready).await, "ready twice").await;
    check(async |a| a.exited(7, 0).await, "a command 7 that does not run").await;
    check(
        async |a| a.send(credit(1, Stream::Stdin, 1)).await,
        "more credit than it was sent bytes",
    )
    .await;
    check(
        async |a| a.send(credit(1, Stream::Stdin, u32::MAX)).await,
        "more credit than it was sent bytes",
    )
    .await;
    check(async |a| a.send(credit(1, Stream::Stdout, 1)).await, "credit for an output").await;
    check(
        async |a| {
            a.send(AgentMessage::Started { id: 1, pid: 2 }).await;
            a.send(AgentMessage::Started { id: 1, pid: 2 }).await;
        },
        "a command started twice",
    )
    .await;
    check(
        async |a| {
            let mut frame = AgentMessage::Ready.to_frame().unwrap();
            let last = frame.len() - 1;
            frame[last] = b' ';
            a.0.write_all(&frame).await.unwrap();
        },
        "not a message of this protocol: EOF while parsing an object at line 1 column 16",
    )
    .await;
}

#[tokio::test]
async fn output_without_credit_ends_the_session() {
    let (session, mut agent) = session().await;
    let stalled = TestSink::new(crate::agent::Mode::Stalls);
    let _exec = session.exec(request(1, false), io(&stalled, &stalled));
    agent.message().await;
    agent.data(1, Stream::Stdout, &vec![0; WINDOW as usize]).await;
    agent.data(1, Stream::Stdout, b"x").await;
    let text = session.closed().await.to_string();
    assert_eq!(text, "the agent broke the protocol: more output than it had credit for");
    // The machine is told, too: its connection is closed.
    while agent.0.read_u8().await.is_ok() {}
}

#[tokio::test]
async fn a_loss_midway_delivers_what_had_come() {
    for cut in [0, 3] {
        let (session, mut agent) = session().await;
        let (out, err) = (TestSink::default(), TestSink::default());
        let exec = session.exec(request(1, false), io(&out, &err));
        agent.message().await;
        agent.data(1, Stream::Stdout, b"last words").await;
        let next = Header { kind: Kind::Control, len: 100 }.encode();
        agent.0.write_all(&next[..cut]).await.unwrap();
        drop(agent);
        assert!(matches!(exec.wait().await, Err(SessionError::Lost)));
        assert!(matches!(session.closed().await, SessionError::Lost));
        assert_eq!(out.bytes(), b"last words");
        let late = session.exec(request(2, false), io(&out, &err));
        assert!(matches!(late.wait().await, Err(SessionError::Lost)));
    }
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_says_why() {
    let (session, mut agent) = session().await;
    let none = TestSink::default();
    let exec = session.exec(request(1, false), io(&none, &none));
    agent.message().await;
    agent.send(AgentMessage::Goodbye { reason: "SIGTERM".to_owned() }).await;
    let status = ExitStatus::Signal { signal: 15 };
    agent.send(AgentMessage::Exited { id: 1, status: status.clone() }).await;
    drop(agent);
    assert_eq!(exec.wait().await.unwrap(), status);
    assert_eq!(session.closed().await.to_string(), "the guest ended: SIGTERM");
    assert_eq!(session.goodbye().as_deref(), Some("SIGTERM"));
}

#[tokio::test]
async fn the_last_word_is_kept_and_ends_the_session() {
    let (session, mut agent) = session().await;
    agent.send(AgentMessage::Goodbye { reason: "requested".to_owned() }).await;
    let failures = vec!["cannot write back /: I/O error".to_owned()];
    agent.send(AgentMessage::WrittenBack { failures: failures.clone() }).await;
    assert!(agent.0.read_u8().await.is_err());
    assert_eq!(session.closed().await.to_string(), "the guest ended: requested");
    assert_eq!(session.written_back().await, Some(failures));
}

#[tokio::test]
async fn who_says_no_last_word_has_not_written_back() {
    let (session, mut agent) = session().await;
    agent.send(AgentMessage::Goodbye { reason: "requested".to_owned() }).await;
    drop(agent);
    assert_eq!(session.written_back().await, None);
    let (session, mut agent) = self::session().await;
    agent.send(AgentMessage::WrittenBack { failures: Vec::new() }).await;
    let text = session.closed().await.to_string();
    assert!(text.contains("written back before goodbye"), "{text}");
}

#[tokio::test]
async fn dropping_the_session_closes_the_connection() {
    let (session, mut agent) = session().await;
    let none = TestSink::default();
    let exec = session.exec(request(1, false), io(&none, &none));
    assert!(matches!(agent.message().await, HostMessage::Exec(_)));
    drop(session);
    assert!(agent.0.read_u8().await.is_err());
    assert!(matches!(exec.wait().await, Err(SessionError::Lost)));
}

#[tokio::test]
async fn a_guest_that_cannot_be_set_up_says_why() {
    let (listener, path, _folder) = listener();
    let agent = async {
        let mut agent = FakeAgent(UnixStream::connect(&path).await.unwrap());
        let version = microagent_guest_protocol::VERSION;
        agent.send(AgentMessage::Hello { version, token: token(), session: 0 }).await;
        agent.message().await;
        agent.send(AgentMessage::SetupFailed { message: "no disk".to_owned() }).await;
        agent
    };
    let (session, _agent) = tokio::join!(listener.accept(LONG), agent);
    let error = session.unwrap().ready(LONG).await.unwrap_err();
    assert_eq!(error.to_string(), "no disk");
}
