//! What a guard reports.

use std::io;

use microagent_backend::{Error, ErrorKind, Result};
use microagent_vmm_protocol::{ChildExit, GuardReport, MAX_REPORT_LEN};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

use crate::limits::FOLLOW_WITHIN;
use crate::words::one_line;

/// A child that its guard has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Its process id.
    pub pid: u32,
    /// Whether it was seen to be confined by Landlock.
    pub landlock: bool,
}

/// The lines that a guard writes.
#[derive(Debug)]
pub struct Reports {
    from: BufReader<pipe::Receiver>,
    line: Vec<u8>,
}

impl Reports {
    /// Reads them from there.
    pub fn new(from: pipe::Receiver) -> Self {
        Self { from: BufReader::new(from), line: Vec::new() }
    }

    /// The next, or `None` at the end. Nothing is lost if this is not waited for.
    ///
    /// # Errors
    /// `Protocol` for what is no report, `Io` for what reading meets.
    pub async fn next(&mut self) -> Result<Option<GuardReport>> {
        let rest = MAX_REPORT_LEN.saturating_sub(self.line.len()) as u64;
        let read: io::Result<_> =
            (&mut self.from).take(rest).read_until(b'\n', &mut self.line).await;
        read.map_err(|e| Error::io("read from the guard", e))?;
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(None);
        }
        let nonsense = |e| {
            let text = one_line(&String::from_utf8_lossy(&line[..line.len().min(80)]));
            Error::new(ErrorKind::Protocol, format!("the guard reported {text:?}")).with_source(e)
        };
        serde_json::from_slice(&line).map(Some).map_err(nonsense)
    }

    /// How the child ended, if that is reported soon.
    pub async fn until_exit(&mut self) -> Option<ChildExit> {
        let exit = async {
            loop {
                match self.next().await {
                    Ok(Some(GuardReport::Exited(exit))) => return Some(exit),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(FOLLOW_WITHIN, exit).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;

    #[tokio::test]
    async fn reports_are_lines_of_bounded_length() {
        let (from, mut to) = io::pipe().unwrap();
        let mut reports = Reports::new(pipe::Receiver::from_owned_fd(from.into()).unwrap());
        to.write_all(b"{\"event\":\"started\",\"pid\":7,\"landlock\":true}\n").unwrap();
        let started = GuardReport::Started { pid: 7, landlock: true };
        assert_eq!(reports.next().await.unwrap(), Some(started));
        let flood = std::thread::spawn(move || to.write_all(&vec![b'x'; MAX_REPORT_LEN]));
        assert_eq!(reports.next().await.unwrap_err().kind, ErrorKind::Protocol);
        flood.join().unwrap().unwrap();
        assert_eq!(reports.next().await.unwrap(), None);
    }
}
