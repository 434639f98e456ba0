//! What is written down about a machine, so that another process can take it up.

use std::fs;
use std::io;

use microagent_backend::{Error, ErrorKind, Result, RunDir};
use serde::{Deserialize, Serialize};

use crate::process::Process;

/// The record's file in the run directory.
pub(crate) const FILE: &str = "machine.json";
/// Where it is written before it is complete.
pub(crate) const NEW_FILE: &str = "machine.json.new";
/// Version of the record.
const VERSION: u32 = 1;

/// The processes of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    /// Parent of the guest.
    pub(crate) guard: Process,
    /// The guest.
    pub(crate) guest: Process,
    /// Who watches the life pipe of an attached machine.
    pub(crate) watcher: Option<Process>,
}

impl Record {
    /// A record of this version.
    pub(crate) fn new(guard: Process, guest: Process, watcher: Option<Process>) -> Self {
        Self { version: VERSION, guard, guest, watcher }
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, dir: &RunDir) -> Result<()> {
        let io = |e| Error::io(format!("write {}", dir.file(FILE).display()), e);
        let text = serde_json::to_string(self).map_err(|e| io(e.into()))?;
        fs::write(dir.file(NEW_FILE), text).map_err(io)?;
        fs::rename(dir.file(NEW_FILE), dir.file(FILE)).map_err(io)
    }

    /// Reads that of a machine in `dir`.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Protocol` if it is not what [`Record::write`] writes.
    pub(crate) fn read(dir: &RunDir) -> Result<Self> {
        let path = dir.file(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let message = format!("no fake machine in {}", dir.path().display());
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            Err(e) => return Err(Error::io(format!("read {}", path.display()), e)),
        };
        let bad =
            |what: &str| Error::new(ErrorKind::Protocol, format!("{}: {what}", path.display()));
        let record: Self = serde_json::from_str(&text)
            .map_err(|e| bad("not a record of a fake machine").with_source(e))?;
        if record.version == VERSION {
            Ok(record)
        } else {
            Err(bad(&format!("version {}, expected {VERSION}", record.version)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::at(temp.path());
        assert_eq!(Record::read(&dir).unwrap_err().kind, ErrorKind::NotFound);
        let process = Process { pid: 1, began: 2 };
        let record = Record::new(process, process, None);
        record.write(&dir).unwrap();
        assert_eq!(Record::read(&dir).unwrap(), record);
        fs::write(dir.file(FILE), "{}").unwrap();
        assert_eq!(Record::read(&dir).unwrap_err().kind, ErrorKind::Protocol);
    }
}
