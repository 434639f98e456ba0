//! A peer that says what a script tells it to.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use microagent_backend::{RunDir, State};
use tempfile::TempDir;

use super::*;
use crate::limits::{MAX_REPLY, MAX_REPLY_HEAD};
use crate::translate::tests::asked;

const DONE: &str = "HTTP/1.1 204 No Content\r\nServer: Cloud Hypervisor API\r\nConnection: \
                    keep-alive\r\n\r\n";
const INFO: &str = r#"{"config":{"cpus":{"boot_vcpus":1}},"state":"Running","more":[1]}"#;

/// How a peer ends a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By closing the connection.
    Close,
    /// Not at all, until the other side does.
    Hang,
}

/// A peer that takes one request and replies so.
struct Peer {
    _top: TempDir,
    client: Client,
    served: JoinHandle<String>,
}

impl Peer {
    fn new(reply: impl Into<Vec<u8>>, end: End) -> Self {
        let top = tempfile::tempdir().unwrap();
        let dir = RunDir::create(top.path().join("m")).unwrap();
        let listener = UnixListener::bind(dir.file(files::API)).unwrap();
        let reply = reply.into();
        let served = thread::spawn(move || serve(&listener, &reply, end));
        Self { client: Client::new(SocketDir::open(&dir).unwrap()), served, _top: top }
    }

    /// What it was asked.
    fn request(self) -> String {
        self.served.join().unwrap()
    }
}

fn serve(listener: &UnixListener, reply: &[u8], end: End) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let request = read_request(&mut stream);
    // Whoever has read enough may be gone.
    let _ = stream.write_all(reply);
    if end == End::Hang {
        let _ = stream.read_to_end(&mut Vec::new());
    }
    request
}

fn read_request(stream: &mut UnixStream) -> String {
    let mut text = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let len = stream.read(&mut chunk).unwrap();
        assert!(len > 0, "the request has no end");
        text.extend_from_slice(&chunk[..len]);
        let request = String::from_utf8(text.clone()).unwrap();
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let len = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if body.len() >= len.map_or(0, |(_, len)| len.parse().unwrap()) {
            return request;
        }
    }
}

fn with_body(status: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn requests_say_what_they_are_for() {
    let peer = Peer::new(DONE, End::Hang);
    peer.client.create(&asked()).await.unwrap();
    let request = peer.request();
    assert!(request.starts_with("PUT /api/v1/vm.create HTTP/1.1\r\n"), "{request}");
    assert!(request.to_ascii_lowercase().contains("content-type: application/json\r\n"));
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, serde_json::to_value(asked()).unwrap());

    let peer = Peer::new(with_body("200 OK", INFO), End::Hang);
    let info = peer.client.info().await.unwrap();
    assert_eq!(info.state(), State::Running);
    assert_eq!(info.config["cpus"]["boot_vcpus"], 1);
    assert!(peer.request().starts_with("GET /api/v1/vm.info HTTP/1.1\r\n"));
}

#[tokio::test]
async fn each_change_has_its_name() {
    let peers = || Peer::new(DONE, End::Close);
    let asked = |peer: Peer, name: &str| {
        let request = peer.request();
        assert!(request.starts_with(&format!("PUT /api/v1/{name} HTTP/1.1\r\n")), "{request}");
    };
    let peer = peers();
    peer.client.boot().await.unwrap();
    asked(peer, "vm.boot");
    let peer = peers();
    peer.client.pause().await.unwrap();
    asked(peer, "vm.pause");
    let peer = peers();
    peer.client.resume().await.unwrap();
    asked(peer, "vm.resume");
    let peer = peers();
    peer.client.press_power_button().await.unwrap();
    asked(peer, "vm.power-button");
}

/// What a request is answered that ought to be done, or ought to be told.
async fn check_done(reply: impl Into<Vec<u8>>, end: End, expect: Result<(), (ErrorKind, &str)>) {
    let reply = reply.into();
    let got = Peer::new(reply.clone(), end).client.pause().await;
    check(got, expect, &reply);
}

async fn check_told(reply: impl Into<Vec<u8>>, end: End, expect: Result<(), (ErrorKind, &str)>) {
    let reply = reply.into();
    let got = Peer::new(reply.clone(), end).client.info().await.map(drop);
    check(got, expect, &reply);
}

type Result<T, E = Error> = std::result::Result<T, E>;

fn check(got: Result<()>, expect: Result<(), (ErrorKind, &str)>, reply: &[u8]) {
    let shown = String::from_utf8_lossy(&reply[..reply.len().min(200)]);
    match (got, expect) {
        (Ok(()), Ok(())) => {}
        (Err(got), Err((kind, message))) => {
            assert_eq!(got.kind, kind, "{got}: {shown}");
            assert!(got.message.contains(message), "{got}: {shown}");
        }
        (got, expect) => panic!("got {got:?}, expected {expect:?}: {shown}"),
    }
}

#[tokio::test]
async fn replies_of_every_shape() {
    use ErrorKind::{Crashed, Protocol};
    check_done(DONE, End::Hang, Ok(())).await;
    check_done(with_body("200 OK", ""), End::Hang, Ok(())).await;
    check_done("HTTP/1.0 204 No Content\r\n\r\n", End::Close, Ok(())).await;
    check_done(with_body("200 OK", "{}"), End::Hang, Err((Protocol, "replied 200 and \"{}\"")))
        .await;
    check_told(DONE, End::Hang, Err((Protocol, "replied 204 and \"\""))).await;
    check_told(with_body("200 OK", INFO), End::Hang, Ok(())).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (first, second) = INFO.split_at(10);
    let parts = format!("{chunked}a\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", second.len());
    check_told(parts, End::Hang, Ok(())).await;
    let until_closed = format!("HTTP/1.1 200 OK\r\n\r\n{INFO}");
    check_told(until_closed, End::Close, Ok(())).await;
    check_told(with_body("200 OK", "{\"state\":"), End::Hang, Err((Protocol, "replied 200"))).await;
    check_told(format!("{chunked}zz\r\n"), End::Close, Err((Protocol, "no HTTP"))).await;
    check_told(format!("{chunked}5\r\nab"), End::Close, Err((Crashed, "closed"))).await;
    check_done("SSH-2.0-OpenSSH_9.2\r\n", End::Hang, Err((Protocol, "no HTTP"))).await;
    check_done(vec![0xff; 64], End::Hang, Err((Protocol, "no HTTP"))).await;
    check_done("", End::Close, Err((Crashed, "closed the connection"))).await;
}

#[tokio::test]
async fn refusals_of_every_shape() {
    use ErrorKind::{Conflict, Crashed, InvalidState, Protocol};
    let error = "500 Internal Server Error";
    let check = async |status: &str, body: &str, kind, expect: &str| {
        check_done(with_body(status, body), End::Hang, Err((kind, expect))).await;
    };
    let words = "refused to pause: Error from API; no VM (status 500)";
    check(error, r#"["Error from API","no VM"]"#, Crashed, words).await;
    check(error, r#""no VM""#, Crashed, "refused to pause: no VM (status 500)").await;
    check(error, "no VM at all", Crashed, "refused to pause: no VM at all (status 500)").await;
    check(error, r#"{"error":1}"#, Crashed, r#"refused to pause: {"error":1} (status 500)"#).await;
    check(error, r#"["a\nb",7,["c"]]"#, Crashed, r#"pause: a; b; 7; ["c"] (status 500)"#).await;
    check(error, "[]", Crashed, "refused to pause: without a word (status 500)").await;
    check(error, "", Crashed, "without a word").await;
    check("404 Not Found", "[\"VM is not created\"]", InvalidState, "not created").await;
    check("400 Bad Request", "", Protocol, "status 400").await;
    check("302 Found", "", Crashed, "status 302").await;
    check("409 Conflict", "", Conflict, "status 409").await;
    let many = serde_json::to_string(&vec!["x".repeat(500); 1000]).unwrap();
    let got = Peer::new(with_body(error, &many), End::Hang).client.pause().await.unwrap_err();
    assert!(got.message.len() < 2000, "{} bytes", got.message.len());
}

#[tokio::test]
async fn replies_are_bounded() {
    let protocol = |what| Err((ErrorKind::Protocol, what));
    let long = with_body("200 OK", &" ".repeat(MAX_REPLY + 1));
    check_told(long, End::Hang, protocol("longer than")).await;
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(2 * MAX_REPLY));
    check_told(endless, End::Hang, protocol("longer than")).await;
    let claimed = |len: u64| format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
    check_told(claimed(1 << 40), End::Close, Err((ErrorKind::Crashed, "closed"))).await;
    check_told(claimed(u64::MAX), End::Close, protocol("no HTTP")).await;
    let head = format!("HTTP/1.1 204 No Content\r\nA: {}\r\n\r\n", "a".repeat(4 * MAX_REPLY_HEAD));
    check_done(head, End::Hang, protocol("no HTTP")).await;
    let fields = format!("HTTP/1.1 204 No Content\r\n{}\r\n", "A: b\r\n".repeat(100));
    check_done(fields, End::Hang, protocol("no HTTP")).await;
}

#[tokio::test]
async fn a_connection_may_end_at_every_byte() {
    let whole = with_body("200 OK", INFO);
    for len in 0..whole.len() {
        let closed = Err((ErrorKind::Crashed, "closed the connection"));
        check_told(&whole.as_bytes()[..len], End::Close, closed).await;
    }
    for len in 0..DONE.len() {
        let closed = Err((ErrorKind::Crashed, "closed the connection"));
        check_done(&DONE.as_bytes()[..len], End::Close, closed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_slow_is_not_waited_for() {
    for reply in ["", "HTTP/1.1 204", &with_body("200 OK", INFO)[..60]] {
        let begun = Instant::now();
        let late = format!("did not pause within {REPLY_WITHIN:?}");
        check_done(reply, End::Hang, Err((ErrorKind::Timeout, &late))).await;
        assert!(begun.elapsed() < REPLY_WITHIN, "the clock was not the test's");
    }
}

#[tokio::test]
async fn where_nobody_listens_it_is_said() {
    let top = tempfile::tempdir().unwrap();
    let sockets = SocketDir::open(&RunDir::at(top.path())).unwrap();
    let error = Client::new(sockets).info().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io);
    assert!(error.message.starts_with("cannot connect to ") && error.message.ends_with("api.sock"));
}
