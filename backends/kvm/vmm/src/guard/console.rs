//! Keeping a guest's console without ever blocking the guest: the writing side of
//! `ConsoleLog` in `microagent-backend`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

/// How much of the beginning is kept, in bytes.
const HEAD: u64 = 256 << 10;
/// How long each of the two files that hold the end can be, in bytes.
const TAIL: u64 = 4 << 20;
/// The longest file that is written here, in bytes.
pub(crate) const LONGEST_FILE: u64 = TAIL;

/// Which tail file is the newer is told by the time of modification, and file systems tell
/// time in ticks of a few milliseconds: a finished file is dated back by more than one.
const TICK: Duration = Duration::from_millis(50);

/// Writes the kept part of a console to three files in the working directory.
pub(crate) struct ConsoleWriter {
    name: String,
    file: File,
    room: u64,
    /// How many tail files have been begun.
    tails: u64,
}

impl ConsoleWriter {
    /// Makes the first file, empty.
    pub(crate) fn create(name: &str) -> io::Result<Self> {
        Ok(Self { name: name.to_owned(), file: create(name)?, room: HEAD, tails: 0 })
    }

    /// Keeps `bytes` as far as they fit. What cannot be written, because the disk is full,
    /// say, is lost.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.room == 0 && self.next_file().is_err() {
                return;
            }
            let fits = bytes.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
            match self.file.write(&bytes[..fits]) {
                Ok(written) if written > 0 => {
                    self.room -= written as u64;
                    bytes = &bytes[written..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn next_file(&mut self) -> io::Result<()> {
        let _ = self.file.set_modified(SystemTime::now() - TICK);
        self.file = create(&format!("{}.{}", self.name, 1 + self.tails % 2))?;
        self.tails += 1;
        self.room = TAIL;
        Ok(())
    }
}

fn create(name: &str) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(name)
}
