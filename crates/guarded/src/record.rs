//! What a machine is made of, as its run directory tells.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use microagent_backend::{Error, ErrorKind, Result, RunDir};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::host::boot_id;
use crate::limits::MAX_RECORD_LEN;
use microagent_process::ProcessId;

/// Version of the record.
const VERSION: u32 = 2;

/// What a machine is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`VERSION`].
    version: u32,
    /// Which backend made it.
    backend: String,
    /// The boot of the host within which the processes are known by their numbers.
    boot_id: String,
    /// The hypervisor.
    pub monitor: ProcessId,
    /// What started it and keeps its console.
    pub guard: ProcessId,
    /// What it cannot do without.
    pub helpers: Vec<Helper>,
    /// Whether the hypervisor was seen to be confined by Landlock.
    pub landlock: bool,
}

/// A process beside monitor and guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Helper {
    /// What it is called, such as `vsock`.
    pub name: String,
    /// Which it is.
    pub id: ProcessId,
}

impl Record {
    /// A record of these processes of `backend`, which run now.
    ///
    /// # Errors
    /// `Io` where the host does not say which boot this is.
    pub fn new(
        backend: &str,
        monitor: ProcessId,
        guard: ProcessId,
        helpers: Vec<Helper>,
        landlock: bool,
    ) -> Result<Self> {
        let (version, backend) = (VERSION, backend.to_owned());
        Ok(Self { version, backend, boot_id: boot_id()?, monitor, guard, helpers, landlock })
    }

    /// Whether the processes are of this boot of the host; otherwise all are gone.
    ///
    /// # Errors
    /// `Io` where the host does not say which boot this is.
    pub fn is_of_this_boot(&self) -> Result<bool> {
        Ok(self.boot_id == boot_id()?)
    }

    /// Writes it into `dir`, whole or not at all.
    ///
    /// # Errors
    /// What writing it meets.
    pub fn write(&self, dir: &RunDir) -> Result<()> {
        let path = dir.file(files::RECORD);
        let draft = dir.file(files::RECORD_DRAFT);
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft);
        file.and_then(|mut file| file.write_all(&serde_json::to_vec(self)?))
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|e| Error::io(format!("write {}", path.display()), e))
    }

    /// Reads that of a machine of `backend` from `dir`.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Protocol` for one of another version or backend.
    pub fn read(dir: &RunDir, backend: &str) -> Result<Self> {
        let path = dir.file(files::RECORD);
        let text = match read_bounded(&path, MAX_RECORD_LEN) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let message = format!("{} holds no machine", dir.path().display());
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            text => text.map_err(|e| Error::io(format!("read {}", path.display()), e))?,
        };
        let malformed = || format!("{} is no record of a machine", path.display());
        let record: Self = serde_json::from_slice(&text)
            .map_err(|e| Error::new(ErrorKind::Protocol, malformed()).with_source(e))?;
        if record.version != VERSION || record.backend != backend {
            let message = format!(
                "{} is of backend {} in version {}, expected {backend} in version {VERSION}",
                path.display(),
                record.backend,
                record.version,
            );
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        Ok(record)
    }
}

/// Reads a file that should be short.
pub(crate) fn read_bounded(path: &std::path::Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(limit + 1).read_to_end(&mut text)?;
    match text.len() as u64 > limit {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, format!("over {limit} bytes"))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let id = |pid| ProcessId { pid, started: 7 };
        let helpers = vec![Helper { name: "vsock".into(), id: id(3) }];
        Record::new("mine", id(1), id(2), helpers, true).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let dir = RunDir::at(dir.path());
        assert_eq!(Record::read(&dir, "mine").unwrap_err().kind, ErrorKind::NotFound);
        record().write(&dir).unwrap();
        assert_eq!(Record::read(&dir, "mine").unwrap(), record());
        assert!(record().is_of_this_boot().unwrap());
    }

    #[test]
    fn what_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dir = RunDir::at(dir.path());
        let check = |text: &str, expect: ErrorKind| {
            fs::write(dir.file(files::RECORD), text).unwrap();
            assert_eq!(Record::read(&dir, "mine").unwrap_err().kind, expect, "{text:.80}");
        };
        check("", ErrorKind::Protocol);
        check("{}", ErrorKind::Protocol);
        let whole = serde_json::to_value(record()).unwrap();
        for (field, value) in [("version", 9.into()), ("backend", "other".into())] {
            let mut other: serde_json::Value = whole.clone();
            other[field] = value;
            check(&other.to_string(), ErrorKind::Protocol);
        }
        check(&" ".repeat(MAX_RECORD_LEN as usize + 1), ErrorKind::Io);
    }
}
