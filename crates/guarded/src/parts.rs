//! The processes of a machine that is being made, so that they can be found should its maker be
//! killed: one that outlives its maker has no life pipe to tell it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use microagent_backend::RunDir;
use microagent_process::{Process, ProcessId, boot_id};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::limits::{END_WITHIN, MAX_RECORD_LEN};
use crate::record::read_bounded;

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    boot_id: String,
    /// Who makes the machine.
    maker: ProcessId,
    process: ProcessId,
}

/// Writes down that `process` was started for the machine in `dir`.
pub(crate) fn note(dir: &RunDir, process: ProcessId) -> io::Result<()> {
    let maker = Process::now(std::process::id())?.id();
    let part = Part { boot_id: boot_id()?, maker, process };
    let mut line = serde_json::to_vec(&part)?;
    line.push(b'\n');
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(dir.file(files::PARTS));
    file?.write_all(&line)
}

/// The machine is complete: its record says more.
pub(crate) fn forget(dir: &RunDir) {
    // That it stays is harmless: nobody looks at it where there is a record.
    let _ = fs::remove_file(dir.file(files::PARTS));
}

/// Ends what is left of a machine whose maker was killed before it was complete.
pub(crate) fn end_unfinished(dir: &RunDir) -> io::Result<()> {
    let text = match read_bounded(&dir.file(files::PARTS), MAX_RECORD_LEN) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let here = boot_id()?;
    for line in text.split(|byte| *byte == b'\n') {
        // The last one may have been cut short, with its writer.
        let Ok(part) = serde_json::from_slice::<Part>(line) else { continue };
        if part.boot_id != here || !Process::find(part.maker)?.has_ended() {
            continue;
        }
        let process = Process::find(part.process)?;
        // Those of the guard as well: the monitor goes with it, and must be seen to. It may be
        // starting one just now, which it cannot once it is killed.
        let mut all = process.children();
        process.kill()?;
        all.extend(process.children());
        for process in all.iter().chain([&process]) {
            process.kill()?;
            process.wait(END_WITHIN);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sleeper() -> Process {
        // Reaped by `Process`, which holds it by a descriptor.
        #[allow(clippy::zombie_processes)]
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        Process::now(child.id()).unwrap()
    }

    #[test]
    fn parts_are_ended_once_their_maker_is_gone_and_not_before() {
        let top = tempfile::tempdir().unwrap();
        let dir = RunDir::create(top.path().join("m")).unwrap();
        end_unfinished(&dir).unwrap();
        let part = sleeper();
        note(&dir, part.id()).unwrap();
        end_unfinished(&dir).unwrap();
        assert!(!part.has_ended(), "its maker is this process");
        let maker = sleeper();
        let line = Part { boot_id: boot_id().unwrap(), maker: maker.id(), process: part.id() };
        let text = format!("{}\n{{\"cut", serde_json::to_string(&line).unwrap());
        fs::write(dir.file(files::PARTS), text).unwrap();
        maker.kill().unwrap();
        assert!(maker.wait(END_WITHIN));
        end_unfinished(&dir).unwrap();
        assert!(part.has_ended());
    }
}
