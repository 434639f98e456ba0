//! Two connections made into one.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UnixStream};

/// What is under way in one direction here, at most, in bytes.
const BUFFER: usize = 32 << 10;

/// Moves bytes both ways until both ends have ended their halves. The end of one half is
/// passed on and leaves the other as it is. On an error, and where this future is dropped
/// midway, the target sees a reset, so that what was cut off does not look complete.
pub(super) async fn splice(
    mut guest: UnixStream,
    mut target: TcpStream,
    bytes: &AtomicU64,
) -> io::Result<()> {
    set_socket_linger(&target, Some(Duration::ZERO))?;
    both_ways(&mut guest, &mut target, bytes).await?;
    // What the target has not been sent yet is sent after the close.
    Ok(set_socket_linger(&target, None)?)
}

async fn both_ways(
    guest: &mut UnixStream,
    target: &mut TcpStream,
    bytes: &AtomicU64,
) -> io::Result<()> {
    let gone = Gone::watch(guest)?;
    let (guest_reader, guest_writer) = guest.split();
    let (target_reader, target_writer) = target.split();
    let outward = pump(guest_reader, target_writer, bytes);
    let inward = pump(target_reader, guest_writer, bytes);
    tokio::pin!(outward, inward);
    tokio::select! {
        ended = &mut inward => {
            ended?;
            outward.await
        }
        ended = &mut outward => {
            ended?;
            tokio::select! {
                ended = inward => ended,
                gone = gone.wait() => Err(gone),
            }
        }
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        let Some(filled) = buffer.get(..count).filter(|filled| !filled.is_empty()) else {
            return to.shutdown().await;
        };
        to.write_all(filled).await?;
        bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Notices that a guest's end is gone for both directions. One that has only ended its half
/// reads as one that is gone, and a target that never ends its own would keep the latter open.
#[derive(Debug)]
struct Gone(UnixStream);

impl Gone {
    /// On a descriptor of its own, whose readiness nobody else waits for.
    fn watch(guest: &UnixStream) -> io::Result<Self> {
        let same = std::os::unix::net::UnixStream::from(guest.as_fd().try_clone_to_owned()?);
        UnixStream::from_std(same).map(Self)
    }

    async fn wait(&self) -> io::Error {
        loop {
            match self.0.ready(Interest::WRITABLE).await {
                Ok(ready) if ready.is_write_closed() => return io::ErrorKind::BrokenPipe.into(),
                // Until it next becomes writable.
                Ok(_) => drop(self.0.try_io(Interest::WRITABLE, would_block)),
                Err(error) => return error,
            }
        }
    }
}

fn would_block() -> io::Result<()> {
    Err(io::ErrorKind::WouldBlock.into())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// The guest's end, the target's end, and what comes of the splice between them.
    async fn spliced() -> (UnixStream, TcpStream, JoinHandle<(io::Result<()>, u64)>) {
        let (guest, ours) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (target, _) = listener.accept().await.unwrap();
        let task = tokio::spawn(async move {
            let bytes = AtomicU64::new(0);
            let result = splice(ours, dialled, &bytes).await;
            (result, bytes.into_inner())
        });
        (guest, target, task)
    }

    async fn all(from: &mut (impl AsyncRead + Unpin)) -> Result<String, io::ErrorKind> {
        let mut text = String::new();
        from.read_to_string(&mut text).await.map(|_| text).map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn each_half_ends_by_itself() {
        let (mut guest, mut target, task) = spliced().await;
        guest.write_all(b"request").await.unwrap();
        guest.shutdown().await.unwrap();
        assert_eq!(all(&mut target).await.unwrap(), "request");
        target.write_all(b"reply").await.unwrap();
        target.shutdown().await.unwrap();
        assert_eq!(all(&mut guest).await.unwrap(), "reply");
        let (result, bytes) = task.await.unwrap();
        result.unwrap();
        assert_eq!(bytes, 12);

        let (mut guest, mut target, task) = spliced().await;
        target.write_all(b"greeting").await.unwrap();
        target.shutdown().await.unwrap();
        assert_eq!(all(&mut guest).await.unwrap(), "greeting");
        guest.write_all(b"answer").await.unwrap();
        guest.shutdown().await.unwrap();
        assert_eq!(all(&mut target).await.unwrap(), "answer");
        task.await.unwrap().0.unwrap();
    }

    #[tokio::test]
    async fn a_reset_of_the_target_ends_both() {
        let (mut guest, target, task) = spliced().await;
        set_socket_linger(&target, Some(Duration::ZERO)).unwrap();
        drop(target);
        assert_eq!(all(&mut guest).await.unwrap(), "");
        task.await.unwrap().0.unwrap_err();
    }

    #[tokio::test]
    async fn a_target_that_goes_on_does_not_keep_the_connection_of_a_guest_that_is_gone() {
        let (guest, mut target, task) = spliced().await;
        drop(guest);
        assert_eq!(all(&mut target).await.unwrap(), "");
        assert_eq!(task.await.unwrap().0.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn what_is_cut_off_does_not_look_complete() {
        let (mut guest, mut target, task) = spliced().await;
        guest.write_all(b"half").await.unwrap();
        target.read_exact(&mut [0; 4]).await.unwrap();
        task.abort();
        assert_eq!(all(&mut target).await.unwrap_err(), io::ErrorKind::ConnectionReset);
        assert_eq!(all(&mut guest).await.unwrap(), "");
    }
}
