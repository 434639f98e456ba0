//! The client against a peer that follows a script.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream as Stream;
use std::thread::JoinHandle;

use microagent_backend::RunDir;

use super::*;

const CREATED: &str = r#"{"reply":"state","state":"created","landlock":true}"#;
const RUNNING: &str = r#"{"reply":"state","state":"running","landlock":false}"#;

/// A peer in a run directory: it takes one connection and reads one line.
struct Peer {
    _top: tempfile::TempDir,
    client: Client,
    thread: JoinHandle<String>,
}

fn peer(act: impl FnOnce(&mut Stream) + Send + 'static) -> Peer {
    let top = tempfile::tempdir().unwrap();
    let sockets = SocketDir::open(&RunDir::at(top.path())).unwrap();
    let listener = sockets.listen(files::CONTROL).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        act(&mut stream);
        line
    });
    Peer { _top: top, client: Client::new(sockets, Duration::from_secs(10)), thread }
}

/// One that writes this, and then hangs up.
fn says(text: impl Into<Vec<u8>>) -> Peer {
    let text = text.into();
    // It may have been hung up on before all is said.
    peer(move |stream| drop(stream.write_all(&text)))
}

fn line(text: &str) -> String {
    format!("{text}\n")
}

#[tokio::test]
async fn a_request_is_a_line_and_so_is_its_reply() {
    let peer = says(line(CREATED));
    let expect = Standing { state: State::Created, landlock: true };
    assert_eq!(peer.client.state().await.unwrap(), expect);
    assert_eq!(peer.thread.join().unwrap(), line(r#"{"op":"state","version":1}"#));

    let peer = says(line(RUNNING));
    peer.client.start().await.unwrap();
    assert_eq!(peer.thread.join().unwrap(), line(r#"{"op":"start"}"#));

    let peer = says(line(r#"{"reply":"stats","vcpus":[],"devices":[],"start_us":7}"#));
    assert_eq!(peer.client.stats().await.unwrap().start_us, Some(7));
}

#[tokio::test]
async fn a_reply_may_come_in_pieces_and_more_may_follow() {
    let peer = peer(|stream| {
        for byte in line(CREATED).as_bytes() {
            stream.write_all(&[*byte]).unwrap();
            std::thread::yield_now();
        }
        let _ = stream.write_all(b"more of it\n");
    });
    assert_eq!(peer.client.state().await.unwrap().state, State::Created);
}

#[tokio::test]
async fn the_backlog_takes_a_request_before_anybody_listens_to_it() {
    let top = tempfile::tempdir().unwrap();
    let sockets = SocketDir::open(&RunDir::at(top.path())).unwrap();
    let listener = sockets.listen(files::CONTROL).unwrap();
    let client = Client::new(sockets, Duration::from_secs(10));
    let late = async {
        tokio::task::yield_now().await;
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(line(RUNNING).as_bytes()).unwrap();
        stream
    };
    let (standing, _stream) = tokio::join!(client.state(), late);
    assert_eq!(standing.unwrap().state, State::Running);
}

#[tokio::test]
async fn what_is_no_reply_is_an_error() {
    let check = async |peer: Peer, kind, expect: &str| {
        let error = peer.client.start().await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(expect), "{error}");
        peer.thread.join().unwrap();
    };
    let (protocol, crashed) = (ErrorKind::Protocol, ErrorKind::Crashed);
    check(says("hello\n"), protocol, "replied \"hello\"").await;
    check(says("\n"), protocol, "replied \"\"").await;
    check(says(b"\xff\x1b\n".to_vec()), protocol, "replied").await;
    check(says(line(&CREATED.replace("true}", "true,\"more\":0}"))), protocol, "more").await;
    check(says(line(&CREATED.replace("created", "gone"))), protocol, "gone").await;
    check(says(""), crashed, "instead of replying").await;
    check(says(CREATED), crashed, "instead of replying").await;
    check(says(line(CREATED)), protocol, "Created after a request to start").await;
    let stats = r#"{"reply":"stats","vcpus":[],"devices":[],"start_us":null}"#;
    check(says(line(stats)), protocol, "Stats").await;
    let long = "x".repeat(MAX_CONTROL_LINE + 1);
    check(says(long.clone()), protocol, "longer than").await;
    check(says(line(&long)), protocol, "longer than").await;
}

#[tokio::test]
async fn refusals_keep_their_kind() {
    let check = async |kind: &str, expect| {
        let refusal = format!(r#"{{"reply":"refused","kind":"{kind}","message":"why"}}"#);
        let error = says(line(&refusal)).client.pause().await.unwrap_err();
        assert_eq!((error.kind, &*error.message), (expect, "the monitor refused to pause: why"));
    };
    check("invalid_state", ErrorKind::InvalidState).await;
    check("protocol", ErrorKind::Protocol).await;
    check("io", ErrorKind::Io).await;
}

#[tokio::test]
async fn silence_has_a_deadline() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let mut peer = peer(move |_| assert!(held.recv().is_err()));
    peer.client.within = Duration::from_millis(50);
    let error = peer.client.resume().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert_eq!(error.message, "the monitor did not resume within 50ms");
    drop(hold);
}

#[tokio::test]
async fn nobody_is_there() {
    let top = tempfile::tempdir().unwrap();
    let sockets = SocketDir::open(&RunDir::at(top.path())).unwrap();
    let client = Client::new(sockets, Duration::from_secs(10));
    let error = client.state().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io);
    assert!(error.message.ends_with("/control.sock"), "{error}");
}
