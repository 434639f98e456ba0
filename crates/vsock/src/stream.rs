//! Connections from the host into the guest.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;

use crate::VsockError;
use crate::socket;

/// Longest answer to `CONNECT`, in bytes: `OK`, a space and a number of 32 bits.
const MAX_ANSWER: usize = 32;

/// A connection to a port in the guest.
#[derive(Debug)]
pub struct VsockStream(UnixStream);

impl VsockStream {
    /// Connects to `port` of the guest behind the hybrid socket `socket`.
    ///
    /// # Errors
    /// [`VsockError`]
    pub async fn connect(socket: &Path, port: u32, within: Duration) -> Result<Self, VsockError> {
        match tokio::time::timeout(within, handshake(socket, port)).await {
            Ok(result) => result.map(Self),
            Err(_) => Err(VsockError::Timeout { port, within }),
        }
    }
}

async fn handshake(socket: &Path, port: u32) -> Result<UnixStream, VsockError> {
    let mut stream = socket::connect(socket).await.map_err(VsockError::Connect)?;
    let refused = |_| VsockError::Refused { port };
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).await.map_err(refused)?;
    let mut line = Vec::with_capacity(MAX_ANSWER);
    // Byte by byte: what follows the line is the guest's and not ours to take.
    loop {
        match stream.read_u8().await.map_err(refused)? {
            b'\n' => break,
            byte => line.push(byte),
        }
        if line.len() > MAX_ANSWER {
            break;
        }
    }
    let number = line.strip_prefix(b"OK ").and_then(|digits| std::str::from_utf8(digits).ok());
    match number.and_then(|digits| digits.parse::<u32>().ok()) {
        Some(_) => Ok(stream),
        None => Err(VsockError::Answer(line.escape_ascii().to_string())),
    }
}

impl AsyncRead for VsockStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for VsockStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(answer: &[u8], expect: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vsock");
        let listener = socket::bind(&path).unwrap();
        let serve = async {
            let (mut machine, _) = listener.accept().await.unwrap();
            let mut request = [0; 13];
            machine.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"CONNECT 5000\n");
            machine.write_all(answer).await.unwrap();
        };
        let connect = VsockStream::connect(&path, 5000, Duration::from_secs(60));
        let ((), result) = tokio::join!(serve, connect);
        let text = match result {
            Ok(mut stream) => {
                let mut rest = String::new();
                stream.read_to_string(&mut rest).await.unwrap();
                rest
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expect);
    }

    #[tokio::test]
    async fn the_answer_is_checked_and_what_follows_is_left() {
        check(b"OK 1073741824\nrest", "rest").await;
        check(b"OK 1\n", "").await;
        check(b"", "nothing in the guest listens at vsock port 5000").await;
        check(b"OK", "nothing in the guest listens at vsock port 5000").await;
        check(b"OK x\n", "the machine's vsock socket answered 'OK x'").await;
        check(b"\xff\n", "the machine's vsock socket answered '\\xff'").await;
        let long = format!("the machine's vsock socket answered '{}'", "O".repeat(33));
        check(&[b'O'; 100], &long).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_machine_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vsock");
        let _listener = socket::bind(&path).unwrap();
        let result = VsockStream::connect(&path, 7, Duration::from_secs(2)).await;
        assert_eq!(result.unwrap_err().to_string(), "no answer from vsock port 7 within 2 s");
    }
}
