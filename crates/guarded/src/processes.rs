//! The processes of a machine that was built.

use std::future::{Future, pending, poll_fn};
use std::sync::Mutex;
use std::task::Poll;

use microagent_backend::{Error, ErrorKind, Exit, Isolation, Result, RunDir, State};

use crate::files::{self, note};
use crate::isolation::of_process;
use crate::launch::{GUARD, Role, died, last_words};
use crate::limits::{END_WITHIN, FOLLOW_WITHIN};
use crate::parts;
use crate::process_error::process_error;
use crate::record::Record;
use microagent_process::Process;

/// What the hypervisor is called in errors and in [`Isolation`].
const MONITOR: &str = "monitor";

/// The processes of a machine, each held by a descriptor.
#[derive(Debug)]
pub struct Processes {
    dir: RunDir,
    record: Record,
    monitor: Process,
    guard: Process,
    helpers: Vec<(Role, Process)>,
    /// How it ended, once that was seen: `destroy` removes what tells it.
    exit: Mutex<Option<Exit>>,
}

impl Processes {
    /// Those that `record` tells of and that were started just now.
    pub(crate) fn new(
        dir: RunDir,
        record: Record,
        monitor: Process,
        guard: Process,
        helpers: Vec<(Role, Process)>,
    ) -> Self {
        Self { dir, record, monitor, guard, helpers, exit: Mutex::new(None) }
    }

    /// Takes up those of the machine of `backend` that is recorded in `dir`; `roles` are the
    /// helpers that a machine of it may have.
    ///
    /// # Errors
    /// `NotFound` where the directory holds none, `Protocol` for a record of another backend
    /// or with an unknown helper.
    pub fn open(dir: RunDir, backend: &str, roles: &[Role]) -> Result<Self> {
        let record = match Record::read(&dir, backend) {
            Err(e) if e.kind == ErrorKind::NotFound => {
                // Nobody else will find what its maker was killed over.
                let ended = parts::end_unfinished(&dir);
                ended.map_err(|e| process_error("end", "unfinished", e))?;
                return Err(e);
            }
            record => record?,
        };
        let alive = record.is_of_this_boot()?;
        let find = |role: &str, id| match alive {
            true => Process::find(id).map_err(|e| process_error("find", role, e)),
            false => Ok(Process::gone(id)),
        };
        let helper = |helper: &crate::Helper| {
            let role = roles.iter().find(|role| role.name == helper.name).ok_or_else(|| {
                let what = format!("the record names an unknown process '{}'", helper.name);
                Error::new(ErrorKind::Protocol, what)
            })?;
            Ok((*role, find(role.name, helper.id)?))
        };
        let monitor = find(MONITOR, record.monitor)?;
        let guard = find(GUARD.name, record.guard)?;
        let helpers = record.helpers.iter().map(helper).collect::<Result<_>>()?;
        Ok(Self::new(dir, record, monitor, guard, helpers))
    }

    /// The run directory.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// What is recorded of them.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The hypervisor.
    pub fn monitor(&self) -> &Process {
        &self.monitor
    }

    /// What started it.
    pub fn guard(&self) -> &Process {
        &self.guard
    }

    /// Waits for the monitor's end, and brings it about where another process died without
    /// which the machine is none.
    ///
    /// # Errors
    /// What watching and killing it meets.
    pub async fn monitor_ended(&self) -> Result<()> {
        tokio::select! {
            biased;
            ended = self.monitor.ended() => ended.map_err(|e| process_error("watch", MONITOR, e)),
            () = ended(&self.guard) => self.follow("its guard was killed").await,
            role = self.helper_ended() => {
                let error = died(role, &last_words(&self.dir, role));
                self.follow(&error.message).await
            }
        }
    }

    /// Waits until any helper has ended; which.
    async fn helper_ended(&self) -> Role {
        let helpers = self.helpers.iter();
        let mut all: Vec<_> =
            helpers.map(|(role, process)| (*role, Box::pin(ended(process)))).collect();
        poll_fn(|context| {
            let mut all = all.iter_mut();
            let ended =
                all.find_map(|(role, end)| end.as_mut().poll(context).is_ready().then_some(*role));
            ended.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Another process died, perhaps because the monitor did: then its end is near. Otherwise
    /// that is the end of the machine.
    async fn follow(&self, reason: &str) -> Result<()> {
        let watch = |e| process_error("watch", MONITOR, e);
        if !self.monitor.ended_within(FOLLOW_WITHIN).await.map_err(watch)? {
            self.fail(reason)?;
            if !self.monitor.ended_within(END_WITHIN).await.map_err(watch)? {
                return Err(does_not_end(MONITOR));
            }
        }
        Ok(())
    }

    /// Ends a machine that nobody asked to end, and leaves a note why.
    ///
    /// # Errors
    /// What noting it and killing meets.
    pub fn fail(&self, reason: &str) -> Result<()> {
        tracing::warn!(reason, dir = %self.dir.path().display(), "a machine failed");
        let noted = note(&self.dir, files::FAILED, reason);
        noted.map_err(|e| Error::io("note why a machine failed", e))?;
        self.monitor.kill().map_err(|e| process_error("kill", MONITOR, e))
    }

    /// How it ended, if that is known by now.
    pub fn settled(&self) -> Option<Exit> {
        self.exit.lock().ok().and_then(|exit| exit.clone())
    }

    /// Keeps the first answer to how it ended: what tells it may be gone the next time.
    pub fn settle(&self, exit: Exit) -> Exit {
        match self.exit.lock() {
            Ok(mut known) => known.get_or_insert(exit).clone(),
            Err(_) => exit,
        }
    }

    /// Ends the monitor. Idempotent.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn kill(&self) -> Result<()> {
        if self.monitor.has_ended() {
            return Ok(());
        }
        // Without the note the end would pass for a crash, which is the lesser evil.
        let noted = self.note_killed();
        end(&[(MONITOR, &self.monitor)]).await.and(noted)
    }

    /// Ends all of them and removes the run directory. Idempotent. How it ended must be
    /// settled before, or it was killed by this.
    ///
    /// # Errors
    /// The first thing that could not be done; the rest is done all the same.
    pub async fn destroy(&self) -> Result<()> {
        self.settle(Exit::Killed);
        // For those who look while it goes; what matters is that it goes.
        let _ = self.note_killed();
        let mut first = vec![(MONITOR, &self.monitor)];
        first.extend(self.helpers.iter().map(|(role, process)| (role.name, process)));
        let ended = end(&first).await;
        // The guard last: should this program be killed here, it removes what is left. It
        // may just be writing its record, so what it makes fail is tried again.
        let _ = self.dir.remove();
        let ended = ended.and(end(&[(GUARD.name, &self.guard)]).await);
        ended.and(self.dir.remove())
    }

    /// Notes that its end is asked for, so that nobody takes it for a crash.
    fn note_killed(&self) -> Result<()> {
        let noted = note(&self.dir, files::KILLED, "");
        noted.map_err(|e| Error::io(format!("write {}", self.dir.file(files::KILLED).display()), e))
    }

    /// What is in force for each that still runs; `landlock` is what the monitor said of
    /// itself.
    ///
    /// # Errors
    /// `InvalidState` when none is left.
    pub fn isolation(&self, landlock: bool) -> Result<Isolation> {
        let first = [(MONITOR, &self.monitor, Some(landlock)), (GUARD.name, &self.guard, None)];
        let helpers = self.helpers.iter().map(|(role, process)| (role.name, process, None));
        let all = first.into_iter().chain(helpers).filter(|(_, process, _)| !process.has_ended());
        let processes: Vec<_> = all
            .filter_map(|(role, process, landlock)| of_process(role, process.id().pid, landlock))
            .collect();
        if processes.is_empty() {
            return Err(wrong_moment("look at the processes of", State::Stopped));
        }
        Ok(Isolation { processes })
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.guard.abandon();
        self.helpers.iter().for_each(|(_, process)| process.abandon());
    }
}

/// Kills processes and waits for their end; the first failure.
async fn end(processes: &[(&str, &Process)]) -> Result<()> {
    let mut outcome = Ok(());
    for (role, process) in processes {
        outcome = outcome.and(process.kill().map_err(|e| process_error("kill", role, e)));
    }
    for (role, process) in processes {
        let ended = match process.ended_within(END_WITHIN).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(does_not_end(role)),
            Err(e) => Err(process_error("watch", role, e)),
        };
        outcome = outcome.and(ended);
    }
    outcome
}

async fn ended(process: &Process) {
    // Where its end cannot be watched, that of the monitor will do.
    if process.ended().await.is_err() {
        pending().await
    }
}

/// An error that `what` cannot be done to a machine in this state.
pub fn wrong_moment(what: &str, state: State) -> Error {
    let message = format!("cannot {what} a machine that is {state:?}");
    Error::new(ErrorKind::InvalidState, message)
}

fn does_not_end(role: &str) -> Error {
    let message = format!("the {role} process was killed but did not end within {END_WITHIN:?}");
    Error::new(ErrorKind::Timeout, message)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::Helper;

    const HELPER: Role = Role { name: "helper", argument: "none", log: "helper.log" };

    struct Three {
        _top: tempfile::TempDir,
        processes: Processes,
    }

    fn sleeper() -> Process {
        // Reaped by `Process`, which holds it by a descriptor.
        #[allow(clippy::zombie_processes)]
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        Process::now(child.id()).unwrap()
    }

    fn three() -> Three {
        let top = tempfile::tempdir().unwrap();
        let dir = RunDir::create(top.path().join("m")).unwrap();
        let (monitor, guard, helper) = (sleeper(), sleeper(), sleeper());
        let helpers = vec![Helper { name: HELPER.name.into(), id: helper.id() }];
        let record = Record::new("test", monitor.id(), guard.id(), helpers, true).unwrap();
        record.write(&dir).unwrap();
        let processes = Processes::new(dir, record, monitor, guard, vec![(HELPER, helper)]);
        Three { _top: top, processes }
    }

    #[tokio::test]
    async fn all_go_with_their_directory() {
        let Three { _top, processes } = three();
        let taken = Processes::open(processes.dir().clone(), "test", &[HELPER]).unwrap();
        assert_eq!(taken.isolation(true).unwrap().processes.len(), 3);
        processes.kill().await.unwrap();
        processes.kill().await.unwrap();
        assert!(taken.monitor().has_ended());
        assert!(!taken.guard().has_ended());
        taken.destroy().await.unwrap();
        taken.destroy().await.unwrap();
        assert!(!processes.dir().path().exists());
        assert_eq!(processes.isolation(true).unwrap_err().kind, ErrorKind::InvalidState);
        assert_eq!(taken.settled(), Some(Exit::Killed));
    }

    #[tokio::test]
    async fn the_monitor_ends_with_its_helper() {
        let Three { _top, processes } = three();
        processes.helpers[0].1.kill().unwrap();
        processes.monitor_ended().await.unwrap();
        assert!(processes.monitor().has_ended());
        let noted = std::fs::read_to_string(processes.dir().file(files::FAILED)).unwrap();
        assert_eq!(noted, "the helper process died: without a word");
        processes.destroy().await.unwrap();
    }

    #[test]
    fn unknown_helpers_are_refused() {
        let Three { _top, processes } = three();
        let error = Processes::open(processes.dir().clone(), "test", &[]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Protocol);
        for process in [&processes.monitor, &processes.guard, &processes.helpers[0].1] {
            process.kill().unwrap();
        }
    }
}
