//! Who gets a session.

use microagent_guest_protocol::frame::{HEADER_LEN, Header, Kind};
use microagent_guest_protocol::{AgentMessage, HostMessage, Token, VERSION};
use microagent_vsock::SessionError;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::agent::{FakeAgent, LONG, listener, session, token};

fn frame(json: &str) -> Vec<u8> {
    let header = Header { kind: Kind::Control, len: json.len() };
    [&header.encode()[..], json.as_bytes()].concat()
}

/// What becomes of a first connection that sends these bytes and closes if `closes`.
async fn check(bytes: Vec<u8>, closes: bool, expect: &str) {
    let (listener, path, _folder) = listener();
    let connect = async {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        (!closes).then_some(stream)
    };
    let (result, stream) = tokio::join!(listener.accept(LONG), connect);
    let text = result.err().map_or(String::new(), |error| error.to_string());
    assert_eq!(text, expect);
    assert!(!path.exists());
    if let Some(stream) =
        stream.filter(|_| expect.contains("this program version") || expect.contains("token"))
    {
        let answer = FakeAgent(stream).message().await;
        assert_eq!(answer, HostMessage::Refused { message: expect.to_owned() });
    }
}

#[tokio::test]
async fn only_this_machines_agent_is_welcomed() {
    let hello = |version, token| AgentMessage::Hello { version, token, session: 0 };
    let good = hello(VERSION, token()).to_frame().unwrap();
    check(good.clone(), false, "").await;
    let other = Token::new([8; 16]);
    let refused = "what connected first did not present this machine's token";
    check(hello(VERSION, other.clone()).to_frame().unwrap(), false, refused).await;
    let refused = "the agent speaks version 9 and this program version 1: \
        the guest was started with the agent of another build";
    check(hello(9, other).to_frame().unwrap(), false, refused).await;
    check(frame(r#"{"type":"hello","version":9,"new":1}"#), false, refused).await;

    let broke = |what: &str| format!("the agent broke the protocol: {what}");
    let first = broke("its first message is no hello");
    check(AgentMessage::Ready.to_frame().unwrap(), false, &first).await;
    let mut data = good.clone();
    data[5] = 2;
    check(data, false, &first).await;
    let mut version = good.clone();
    version[4] = 9;
    check(version, false, &broke("frame version 9, expected 1")).await;
    let long = Header { kind: Kind::Control, len: 5000 }.encode().to_vec();
    check(long, false, &broke("frame of 5000 bytes where at most 4096 can be")).await;
    let again = AgentMessage::Hello { version: VERSION, token: token(), session: 1 };
    let again = again.to_frame().unwrap();
    check(again, false, &broke("its first session has the number 1")).await;

    let lost = "the connection to the agent ended";
    check(Vec::new(), true, lost).await;
    check(good[..HEADER_LEN - 1].to_vec(), true, lost).await;
    check(good[..good.len() - 1].to_vec(), true, lost).await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_is_silent_is_given_up() {
    let (listener, path, _folder) = listener();
    let error = listener.accept(LONG).await.unwrap_err();
    assert!(matches!(error, SessionError::NoAgent(_)), "{error}");
    assert!(!path.exists());
    let (listener, path, _folder) = crate::agent::listener();
    let _stream = UnixStream::connect(&path).await.unwrap();
    let error = listener.accept(LONG).await.unwrap_err();
    assert!(matches!(error, SessionError::NoHello(_)), "{error}");
}

#[tokio::test]
async fn a_second_connection_is_refused() {
    let (listener, path, _folder) = listener();
    let connect = async {
        let mut agent = FakeAgent(UnixStream::connect(&path).await.unwrap());
        agent.send(AgentMessage::Hello { version: VERSION, token: token(), session: 0 }).await;
        agent.message().await;
        agent
    };
    let (_session, _agent) = tokio::join!(listener.accept(LONG), connect);
    assert!(UnixStream::connect(&path).await.is_err());
}

#[tokio::test]
async fn a_second_hello_ends_the_session() {
    let (session, mut agent) = session().await;
    agent.send(AgentMessage::Hello { version: VERSION, token: token(), session: 0 }).await;
    let error = session.closed().await.to_string();
    assert_eq!(error, "the agent broke the protocol: a second hello");
}
