//! What a path of a guest that runs leads to, without fetching it.

use std::time::Duration;

use microagent_guest_protocol::ExitStatus;
use microagent_guest_protocol::transfer::{RECORD_LEN, Record};
use microagent_vsock::{ExecIo, Session};
use tokio::io::AsyncReadExt;

use super::{Words, one_line};
use crate::error::chain;

/// How long a guest may take to say what something is.
const WITHIN: Duration = Duration::from_secs(30);

/// What shells exit with for what is not there.
const MISSING: u8 = 127;

/// What ends a sender of whom no more is wanted.
const SIGKILL: i32 = 9;

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Nothing,
    File {
        size: u64,
    },
    Directory,
    /// A device, a socket, a named pipe.
    Other,
}

/// What a path of a guest leads to: the head of the first record that its agent would send.
///
/// # Errors
/// Why that cannot be told, in words.
pub(crate) async fn see(session: &Session, id: u32, path: &str) -> Result<Seen, String> {
    let (mut head, theirs) = tokio::io::duplex(RECORD_LEN);
    let words = Words::default();
    let streams = ExecIo { stdin: None, stdout: Box::new(theirs), stderr: words.sink() };
    let exec = session.fetch(id, path.to_owned(), streams);
    let mut header = [0; RECORD_LEN];
    let seen = tokio::select! {
        biased;
        read = head.read_exact(&mut header) => match read {
            Ok(_) => of(&header),
            Err(_) => Err("the guest said nothing of it".into()),
        },
        status = exec.wait() => match status {
            Ok(ExitStatus::NotStarted { code: MISSING, .. }) => Ok(Seen::Nothing),
            Ok(ExitStatus::NotStarted { message, .. }) => Err(one_line(&message)),
            Ok(_) => Err(words.text()),
            Err(error) => Err(chain(&error)),
        },
        () = tokio::time::sleep(WITHIN) => Err(format!("the guest did not say within {WITHIN:?}")),
    };
    exec.signal(SIGKILL);
    seen
}

fn of(header: &[u8; RECORD_LEN]) -> Result<Seen, String> {
    match Record::decode(header).map_err(|e| e.to_string())? {
        Record::File { size, .. } => Ok(Seen::File { size }),
        Record::Directory { .. } => Ok(Seen::Directory),
        Record::LeftOut { .. } => Ok(Seen::Other),
        // A link was followed before it was sent; there is nothing in front of the first.
        record => Err(format!("the guest sent {record:?} first")),
    }
}

#[cfg(test)]
mod tests {
    use microagent_guest_protocol::transfer::EntryMeta;

    use super::*;

    fn check(record: Record, expect: Result<Seen, &str>) {
        match (of(&record.encode()), expect) {
            (Err(error), Err(says)) => assert!(error.contains(says), "{error}"),
            (seen, expect) => assert_eq!(seen, expect.map_err(str::to_owned)),
        }
    }

    #[test]
    fn the_first_record_says_what_it_is() {
        let meta = EntryMeta { mode: 0o644, mtime: (0, 0) };
        check(Record::File { path: 0, meta, size: 7 }, Ok(Seen::File { size: 7 }));
        check(Record::Directory { path: 0, meta }, Ok(Seen::Directory));
        check(Record::LeftOut { path: 0 }, Ok(Seen::Other));
        check(Record::End, Err("sent End first"));
        assert!(of(&[255; RECORD_LEN]).is_err());
    }
}
