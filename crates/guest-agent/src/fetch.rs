//! Files on their way to and from the host: runs in a child of the agent, which stays this program.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use microagent_transfer::{place, send_tree};
use rustix::process::setsid;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::signals;
use crate::stdio::CommandEnds;
use crate::sys::process::{close_all_but, exit_now};

/// The last of the standard descriptors.
const STDERR: std::os::fd::RawFd = 2;

/// What shells exit with for a program that is not there.
const MISSING: u8 = 127;

/// Sends `path` with all that is in it to standard output, as [`microagent_guest_protocol::transfer`]
/// has it, and ends. That there is no such file is reported on `status`, which closes when the
/// first record is due.
pub(crate) fn send(path: &str, streams: CommandEnds, status: OwnedFd) -> ! {
    run(
        path,
        streams,
        status,
        |path| fs::canonicalize(path),
        |root| {
            // The standard library's own standard output looks for the ends of lines.
            let out = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 0)?;
            send_tree(root, File::from(out))
        },
    )
}

/// Makes at `path`, or under `name` in the directory that is there, what comes on standard
/// input, and ends. That its directory is not there is
/// reported on `status`.
pub(crate) fn receive(path: &str, name: &str, streams: CommandEnds, status: OwnedFd) -> ! {
    let beside = |path: &Path| match path.parent() {
        _ if path.is_dir() => Ok(path.join(name)),
        Some(parent) => fs::canonicalize(parent).map(|_| path.to_owned()),
        None => Err(io::ErrorKind::InvalidInput.into()),
    };
    run(path, streams, status, beside, |path| {
        let source = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 0)?;
        place(File::from(source), path)
    })
}

fn run(
    path: &str,
    streams: CommandEnds,
    status: OwnedFd,
    find: impl FnOnce(&Path) -> io::Result<PathBuf>,
    work: impl FnOnce(&Path) -> io::Result<()>,
) -> ! {
    // Both fail only for what is so already.
    let _ = setsid();
    let _ = signals::give_back();
    let CommandEnds { stdin, stdout, stderr, is_terminal: _ } = streams;
    let found = match find(Path::new(path)) {
        Ok(found) => found,
        Err(error) => {
            let mut report = vec![MISSING];
            report.extend_from_slice(format!("{path}: {error}").as_bytes());
            let _ = File::from(status).write_all(&report);
            exit_now(i32::from(MISSING));
        }
    };
    let connected = dup2_stdin(stdin.as_fd())
        .and_then(|()| dup2_stdout(stdout.as_fd()))
        .and_then(|()| dup2_stderr(stderr.as_fd()));
    if connected.is_err() {
        exit_now(1);
    }
    // This is the end of `status` too: what it says by that is that the work has begun.
    close_all_but(STDERR);
    let Err(error) = work(&found) else { exit_now(0) };
    let _ = writeln!(io::stderr(), "{error}");
    exit_now(1)
}
