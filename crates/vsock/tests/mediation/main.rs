//! A channel between Unix sockets, as a machine opens them, and a TCP target.

#![allow(clippy::unwrap_used, clippy::panic)] // functions of tests outside #[test] too

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use microagent_vsock::{Channel, Mediation, Need};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::timeout;

/// A test that waits longer for something has failed.
const LONG: Duration = Duration::from_secs(60);

/// A channel, where the guest's connections to it begin, and its target.
struct Bench {
    _folder: TempDir,
    path: PathBuf,
    channel: Mediation,
    target: TcpListener,
}

impl Bench {
    async fn new(need: Need) -> Self {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vsock_5000");
        let address = target.local_addr().unwrap().to_string().parse().unwrap();
        let channel = Channel { target: address, need, reached: true };
        let channel = Mediation::bind(&path, channel).unwrap();
        Self { _folder: folder, path, channel, target }
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.path).await
    }

    /// A connection of the guest that the target has accepted.
    async fn connected(&self) -> (UnixStream, TcpStream) {
        let (guest, target) = tokio::join!(self.connect(), soon(self.target.accept()));
        (guest.unwrap(), target.unwrap().0)
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(LONG, what).await.expect("within a minute")
}

/// Whether the other end has ended, by an end or a reset.
async fn is_over(stream: &mut (impl AsyncReadExt + Unpin)) -> bool {
    matches!(soon(stream.read(&mut [0; 1])).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn connections_reach_the_target_and_are_counted() {
    let bench = Bench::new(Need::Required).await;
    for _ in 0..3 {
        let (mut guest, mut target) = bench.connected().await;
        guest.write_all(b"ping").await.unwrap();
        let mut text = [0; 4];
        target.read_exact(&mut text).await.unwrap();
        target.write_all(&text).await.unwrap();
        guest.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"ping");
    }
    let status = bench.channel.status();
    assert!(status.ready && status.broken.is_none(), "{status:?}");
    assert_eq!((status.connections, status.bytes), (3, 24));
}

#[tokio::test]
async fn a_required_channel_is_severed_by_the_first_dial_that_fails() {
    let Bench { _folder, path, channel, target } = Bench::new(Need::Required).await;
    let (guest, accepted) = tokio::join!(UnixStream::connect(&path), target.accept());
    let (mut guest, mut accepted) = (guest.unwrap(), accepted.unwrap().0);
    drop(target);
    let mut failing = UnixStream::connect(&path).await.unwrap();
    let reason = soon(channel.broken()).await;
    assert!(reason.contains("refused"), "{reason}");
    assert!(is_over(&mut failing).await && is_over(&mut guest).await);
    let reset = soon(accepted.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    // Nobody listens there any more, so a device refuses at once.
    assert_eq!(UnixStream::connect(&path).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    let status = channel.status();
    assert!(!status.ready && status.broken == Some(reason) && status.connections == 1);
}

#[tokio::test]
async fn an_optional_channel_follows_its_target() {
    let Bench { _folder, path, channel, target } = Bench::new(Need::Optional).await;
    let address = target.local_addr().unwrap();
    drop(target);
    assert!(is_over(&mut UnixStream::connect(&path).await.unwrap()).await);
    assert!(!channel.status().ready);
    let target = TcpListener::bind(address).await.unwrap();
    let (guest, accepted) = tokio::join!(UnixStream::connect(&path), soon(target.accept()));
    let (mut guest, mut accepted) = (guest.unwrap(), accepted.unwrap().0);
    guest.write_all(b"x").await.unwrap();
    accepted.read_exact(&mut [0; 1]).await.unwrap();
    let status = channel.status();
    assert!(status.ready && status.broken.is_none() && status.connections == 1, "{status:?}");
}

#[tokio::test]
async fn a_connection_beyond_the_most_is_closed_and_a_place_is_given_to_the_next() {
    let bench = Bench::new(Need::Required).await;
    let mut open = Vec::new();
    for _ in 0..128 {
        open.push(bench.connected().await);
    }
    for _ in 0..200 {
        assert!(is_over(&mut bench.connect().await.unwrap()).await);
    }
    drop(open.pop());
    // Which is noticed in its own time.
    let again = async {
        loop {
            let mut guest = bench.connect().await.unwrap();
            tokio::select! {
                accepted = bench.target.accept() => break (guest, accepted.unwrap().0),
                _ = guest.read_u8() => {}
            }
        }
    };
    let (mut guest, mut target) = soon(again).await;
    guest.write_all(b"x").await.unwrap();
    soon(target.read_exact(&mut [0; 1])).await.unwrap();
    assert!(bench.channel.status().ready);
}

#[tokio::test]
async fn a_hundred_connections_at_once_get_their_own_bytes() {
    let Bench { _folder, path, channel, target } = Bench::new(Need::Required).await;
    let callers = (0..100_u8).map(|number| {
        let path = path.clone();
        tokio::spawn(async move {
            let stream = UnixStream::connect(path).await.unwrap();
            let (mut from, mut to) = stream.into_split();
            let sent = vec![number; 200_000];
            let sending = async {
                to.write_all(&sent).await?;
                to.shutdown().await
            };
            let mut got = Vec::new();
            tokio::try_join!(sending, from.read_to_end(&mut got)).unwrap();
            assert!(got == sent, "{} bytes of {number}", got.len());
        })
    });
    let callers: Vec<_> = callers.collect();
    let accepting = async {
        for _ in 0..100 {
            let (stream, _) = target.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = stream.into_split();
                tokio::io::copy(&mut from, &mut to).await.unwrap();
            });
        }
        for caller in callers {
            caller.await.unwrap();
        }
    };
    soon(accepting).await;
    assert_eq!(channel.status().bytes, 2 * 100 * 200_000);
}

#[tokio::test]
async fn a_reader_that_stops_stops_its_sender_and_nobody_else() {
    let bench = Bench::new(Need::Required).await;
    let (mut stalled, _unread) = bench.connected().await;
    let (mut lively, mut target) = bench.connected().await;
    let mut sent = 0_usize;
    // What the buffers on the way take, and no more.
    while let Ok(count) = timeout(Duration::from_millis(300), stalled.write(&[0; 64 << 10])).await {
        sent += count.unwrap();
        assert!(sent < 64 << 20, "{sent} bytes are somewhere");
    }
    lively.write_all(b"x").await.unwrap();
    soon(target.read_exact(&mut [0; 1])).await.unwrap();
}

#[tokio::test]
async fn dropping_the_channel_resets_its_connections_and_removes_its_path() {
    let bench = Bench::new(Need::Required).await;
    let (mut guest, mut target) = bench.connected().await;
    let Bench { _folder, path, channel, .. } = bench;
    drop(channel);
    assert!(is_over(&mut guest).await && is_over(&mut target).await);
    assert!(!path.exists());
}
