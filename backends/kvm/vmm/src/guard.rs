//! `guard`: starts a hypervisor, keeps its console, and cleans up behind it.
//!
//! Single-threaded on purpose. The child's parent-death signal is tied to the thread that
//! made it, and between `fork` and `exec` no other thread can hold a lock.

mod child;
mod console;
mod event_watch;
mod last_words;
mod panic_watch;
mod removal;
mod report;
mod watch;

use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use microagent_confine::{Limits, Rules, Ruleset, Signals, Tcp, forbid_new_privileges};
use microagent_vmm_protocol::{
    FIRST_PASSED_FD, GuardReport, GuardSpec, LIFE_FD, MAX_EVENT_WORD, MAX_PASSED_FDS,
};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::filters::{self, Class};
use crate::inherited::{self, InheritedError};
use crate::life::Life;
use crate::log::chain;
use crate::signals;
use crate::spec::{self, SpecError};
pub(crate) use last_words::LastWords;

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
enum GuardError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    #[error("{field} of the specification is {value:?}, expected {expected}")]
    Field { field: &'static str, value: PathBuf, expected: &'static str },
    #[error("pass of the specification is {0}, expected at most {MAX_PASSED_FDS}")]
    Pass(u8),
    #[error("the word of the specification's events has {0} bytes, expected 1 to {MAX_EVENT_WORD}")]
    Word(usize),
    #[error("cannot enter the run directory {dir}")]
    Dir { dir: PathBuf, source: io::Error },
    #[error("cannot make the console log {name:?}")]
    Console { name: String, source: io::Error },
    #[error("cannot take room for the record of the machine's end")]
    Room(#[source] io::Error),
    #[error("cannot prepare this process to guard another")]
    Prepare(#[source] io::Error),
    #[error(transparent)]
    Child(#[from] child::ChildError),
}

/// Reads the specification, does what it says, and gives the exit status: 0 when the child
/// was started and has ended.
pub(crate) fn run() -> ExitCode {
    match start() {
        Ok(guard) => guard.stand(),
        Err(error) => {
            let message = chain(&error);
            let _ = writeln!(io::stderr(), "microagent-vmm guard: {message}");
            report::send(&GuardReport::Failed { message });
            ExitCode::FAILURE
        }
    }
}

/// A guard whose child runs.
struct Guard {
    spec: GuardSpec,
    life: Option<Life>,
    room: report::Room,
    watch: watch::Watch,
}

fn start() -> Result<Guard, GuardError> {
    signals::ignore_what_ends_a_session().map_err(GuardError::Prepare)?;
    forbid_new_privileges().map_err(GuardError::Prepare)?;
    let spec: GuardSpec = spec::read(io::stdin().lock())?;
    check(&spec)?;
    let own = i32::from(spec.events.is_some());
    let passed = FIRST_PASSED_FD..FIRST_PASSED_FD + i32::from(spec.pass) + own;
    let (life, mut passed) = match spec.attached {
        true => {
            let ([life], passed) = inherited::take_and_pass([(LIFE_FD, "life pipe")], passed)?;
            (Some(Life::new(life)), passed)
        }
        false => (None, inherited::take_and_pass([], passed)?.1),
    };
    let events = spec.events.as_ref().and_then(|watch| Some((passed.pop()?, watch)));
    if let Some((events, _)) = &events {
        fcntl_setfd(events, FdFlags::CLOEXEC).map_err(|e| GuardError::Prepare(e.into()))?;
    }
    std::env::set_current_dir(&spec.dir)
        .map_err(|source| GuardError::Dir { dir: spec.dir.clone(), source })?;
    let log = console::ConsoleWriter::create(&spec.console)
        .map_err(|source| GuardError::Console { name: spec.console.clone(), source })?;
    let room = report::Room::take().map_err(GuardError::Room)?;
    let started = child::start(&spec)?;
    // A socket that nobody accepts on any more has to refuse whoever connects.
    drop(passed);
    report::send(&GuardReport::Started {
        pid: started.process.id(),
        landlock: started.seen_to_be_denied,
    });
    let watch = watch::Watch::new(started.process, log, events).map_err(GuardError::Prepare)?;
    Ok(Guard { spec, life, room, watch })
}

impl Guard {
    fn stand(self) -> ExitCode {
        let Self { spec, life, room, watch } = self;
        if let Err(error) = confine(&spec) {
            tracing::warn!(error, "the guard itself runs unconfined");
        }
        let (exit, life) = watch.until_exit(life);
        if let Err(error) = room.keep(&exit) {
            tracing::warn!(%error, "the exit of the machine was not recorded");
        }
        report::send(&GuardReport::Exited(exit));
        // Whoever made an attached machine may yet be killed before it has cleaned up.
        if let Some(life) = life {
            life.wait_for_end();
            for path in &spec.remove {
                if let Err(error) = removal::remove(path) {
                    tracing::error!(%error, path = %path.display(), "left behind");
                }
            }
        }
        ExitCode::SUCCESS
    }
}

/// From here on the guard reads two pipes, writes and removes files and kills its child; it
/// takes no more than that. The child was confined before and apart, so signals must be left
/// to reach it: see [`Signals`].
fn confine(spec: &GuardSpec) -> Result<(), String> {
    let parents = spec.remove.iter().filter_map(|p| p.parent()).map(Path::to_owned).collect();
    let rules = Rules {
        read: Vec::new(),
        write: vec![spec.dir.clone()],
        remove: parents,
        signals: Signals::Anywhere,
        tcp: Tcp::Denied,
    };
    let limits = Limits { file_size: console::LONGEST_FILE, open_files: 64 };
    limits.apply().map_err(|e| chain(&e))?;
    let ruleset = Ruleset::new(&rules).map_err(|e| chain(&e))?;
    if ruleset.is_supported() {
        ruleset.restrict_self().map_err(|e| chain(&e))?;
    }
    filters::install(Class::Guard).map_err(|e| chain(&e))
}

fn check(spec: &GuardSpec) -> Result<(), GuardError> {
    let wrong = |field, value: &Path, expected| {
        Err(GuardError::Field { field, value: value.to_owned(), expected })
    };
    if !spec.program.is_absolute() {
        return wrong("program", &spec.program, "an absolute path");
    }
    if !is_plain_path(&spec.dir) {
        return wrong("dir", &spec.dir, "an absolute path without '..'");
    }
    if let Some(path) = spec.remove.iter().find(|p| !is_plain_path(p)) {
        return wrong("remove", path, "absolute paths without '..', below the root");
    }
    let mut name = Path::new(&spec.console).components();
    if !matches!((name.next(), name.next()), (Some(Component::Normal(_)), None)) {
        return wrong("console", Path::new(&spec.console), "a file name");
    }
    if spec.pass > MAX_PASSED_FDS {
        return Err(GuardError::Pass(spec.pass));
    }
    match spec.events.as_ref().map(|watch| watch.word.len()) {
        Some(len) if !(1..=MAX_EVENT_WORD).contains(&len) => return Err(GuardError::Word(len)),
        _ => {}
    }
    Ok(())
}

/// Whether the path is absolute, names something below the root, and means what it says.
fn is_plain_path(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && parts.clone().next().is_some()
        && parts.all(|p| matches!(p, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_may_be_removed() {
        let check =
            |path: &str, expect| assert_eq!(is_plain_path(Path::new(path)), expect, "{path}");
        check("/state/run", true);
        check("/", false);
        check("", false);
        check("state/run", false);
        check("/state/../etc", false);
    }
}
