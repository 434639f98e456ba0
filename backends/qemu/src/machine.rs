//! One machine of QEMU.

use std::future::pending;
use std::sync::Mutex as StdMutex;
use std::time::Duration;

use async_trait::async_trait;
use microagent_backend::{
    ConsoleLog, Error, ErrorKind, Exit, Isolation, Machine, Pause, Result, RunDir, State,
    VsockSocket,
};
use tokio::sync::{Mutex, watch};

use crate::build::VSOCK;
use crate::conversation::Conversation;
use crate::ending::{Remains, note};
use crate::files;
use crate::isolation::of_process;
use crate::launch::{died, last_words};
use crate::limits::{END_WITHIN, FOLLOW_WITHIN};
use crate::process::{Process, process_error};
use crate::qmp::{Cont, Events, Session, Shutdown, Status, Stop};
use crate::ready::Reports;
use crate::record::Record;
use crate::sockets::SocketDir;

/// The processes of a machine.
#[derive(Debug)]
pub(crate) struct Processes {
    /// QEMU.
    pub(crate) monitor: Process,
    /// What started it.
    pub(crate) guard: Process,
    /// What serves its vsock device.
    pub(crate) vsock: Option<Process>,
}

/// What only whoever made a machine has.
pub(crate) struct Owned {
    /// A connection that stays, and so hears what QEMU says last.
    pub(crate) session: Session,
    /// Held so that the guard's reports go somewhere; its record tells the same.
    pub(crate) _reports: Reports,
}

/// A machine that was built or taken up.
pub(crate) struct QemuMachine {
    dir: RunDir,
    record: Record,
    processes: Processes,
    sockets: SocketDir,
    /// The connection of whoever made it, unless it is in use or broke. All others make one
    /// for what they have to say, and leave QEMU to the next.
    session: Mutex<Option<Session>>,
    events: Option<watch::Receiver<Events>>,
    _reports: Option<Reports>,
    vsock: VsockSocket,
    console: ConsoleLog,
    /// How it ended, once that was seen: `destroy` removes what tells it.
    exit: StdMutex<Option<Exit>>,
}

impl QemuMachine {
    /// A machine of these processes, in `dir`.
    pub(crate) fn new(
        dir: RunDir,
        record: Record,
        processes: Processes,
        owned: Option<Owned>,
    ) -> Result<Self> {
        let (session, reports) = owned.map(|o| (o.session, o._reports)).unzip();
        Ok(Self {
            sockets: SocketDir::open(&dir)?,
            vsock: VsockSocket::new(dir.file(files::VSOCK)),
            console: ConsoleLog::new(dir.file(files::CONSOLE)),
            events: session.as_ref().map(Session::events),
            session: Mutex::new(session),
            _reports: reports,
            exit: StdMutex::new(None),
            dir,
            record,
            processes,
        })
    }

    /// Takes up the machine that is recorded in `dir`.
    pub(crate) fn open(dir: RunDir) -> Result<Self> {
        let record = Record::read(&dir)?;
        let alive = record.is_of_this_boot()?;
        let find = |role, id| match alive {
            true => Process::find(id).map_err(|e| process_error("find", role, e)),
            false => Ok(Process::gone(id)),
        };
        let processes = Processes {
            monitor: find("monitor", record.monitor)?,
            guard: find("guard", record.guard)?,
            vsock: record.vsock.map(|id| find("vsock", id)).transpose()?,
        };
        Self::new(dir, record, processes, None)
    }

    /// Begins to talk to QEMU.
    async fn talk(&self) -> Result<Conversation<'_>> {
        Conversation::begin(self.session.lock().await, &self.sockets).await
    }

    /// Executes `command` where the machine is in the state `from`.
    async fn change<C: qapi::qmp::QmpCommand>(
        &self,
        what: &str,
        from: State,
        command: C,
    ) -> Result<()> {
        if self.processes.monitor.has_ended() {
            return Err(wrong_moment(what, State::Stopped));
        }
        let mut talk = self.talk().await?;
        match talk.status().await? {
            Status::Is(state) if state == from => talk.execute(command).await.map(drop),
            Status::Is(state) => Err(wrong_moment(what, state)),
            Status::Failed(_) => Err(wrong_moment(what, State::Stopped)),
        }
    }

    /// Waits for QEMU's end, and brings it about where a process died without which the
    /// machine is none.
    async fn monitor_ended(&self) -> Result<()> {
        let Processes { monitor, guard, vsock } = &self.processes;
        let mut events = self.events.clone();
        loop {
            tokio::select! {
                biased;
                ended = monitor.ended() => {
                    return ended.map_err(|e| process_error("watch", "monitor", e));
                }
                () = ended(Some(guard)) => self.follow("its guard was killed").await?,
                () = ended(vsock.as_ref()) => {
                    let error = died(VSOCK, &last_words(&self.dir, VSOCK));
                    self.follow(&error.message).await?;
                }
                () = stopped(&mut events) => {
                    if let Ok(Status::Failed(reason)) = self.status().await {
                        self.fail(&format!("qemu stopped the machine: {reason}"))?;
                    }
                }
            }
        }
    }

    async fn status(&self) -> Result<Status> {
        self.talk().await?.status().await
    }

    /// Another process died, perhaps because QEMU did: then its end is near. Otherwise that
    /// is the end of the machine.
    async fn follow(&self, reason: &str) -> Result<()> {
        let watch = |e| process_error("watch", "monitor", e);
        if !self.processes.monitor.ended_within(FOLLOW_WITHIN).await.map_err(watch)? {
            self.fail(reason)?;
            let ended = self.processes.monitor.ended_within(END_WITHIN).await.map_err(watch)?;
            if !ended {
                return Err(does_not_end("monitor"));
            }
        }
        Ok(())
    }

    /// Ends a machine that nobody asked to end, and leaves a note why.
    fn fail(&self, reason: &str) -> Result<()> {
        tracing::warn!(reason, dir = %self.dir.path().display(), "a machine failed");
        let noted = note(&self.dir, files::FAILED, reason);
        noted.map_err(|e| Error::io("note why a machine failed", e))?;
        self.processes.monitor.kill().map_err(|e| process_error("kill", "monitor", e))
    }

    /// How it ended, once QEMU has.
    async fn verdict(&self) -> Exit {
        let known = || self.exit.lock().ok().and_then(|exit| exit.clone());
        if let Some(exit) = known() {
            return exit;
        }
        let shutdown = match &self.events {
            Some(events) => last_event(events.clone()).await,
            None => None,
        };
        let remains = Remains::gather(&self.dir, &self.processes.guard, shutdown).await;
        self.settle(remains.verdict())
    }

    /// Keeps the first answer: what tells it may be gone the next time.
    fn settle(&self, exit: Exit) -> Exit {
        match self.exit.lock() {
            Ok(mut known) => known.get_or_insert(exit).clone(),
            Err(_) => exit,
        }
    }

    /// Kills processes and waits for their end; the first failure.
    async fn end(&self, processes: &[(&str, &Process)]) -> Result<()> {
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

    /// Notes that its end is asked for, so that nobody takes it for a crash.
    fn note_killed(&self) -> Result<()> {
        let noted = note(&self.dir, files::KILLED, "");
        noted.map_err(|e| Error::io(format!("write {}", self.dir.file(files::KILLED).display()), e))
    }
}

impl Drop for QemuMachine {
    fn drop(&mut self) {
        let Processes { monitor: _, guard, vsock } = &self.processes;
        guard.abandon();
        vsock.iter().for_each(Process::abandon);
    }
}

#[async_trait]
impl Machine for QemuMachine {
    async fn state(&self) -> Result<State> {
        let monitor = &self.processes.monitor;
        if monitor.has_ended() {
            return Ok(State::Stopped);
        }
        match self.status().await {
            Ok(Status::Is(state)) => Ok(state),
            Ok(Status::Failed(_)) => Ok(State::Stopped),
            Err(error) => match monitor.ended_within(FOLLOW_WITHIN).await {
                Ok(true) => Ok(State::Stopped),
                _ => Err(error),
            },
        }
    }

    async fn start(&self) -> Result<()> {
        self.change("start", State::Created, Cont {}).await
    }

    async fn wait(&self, within: Duration) -> Result<Option<Exit>> {
        let end = async {
            self.monitor_ended().await?;
            Ok(self.verdict().await)
        };
        tokio::time::timeout(within, end).await.ok().transpose()
    }

    async fn kill(&self) -> Result<()> {
        let monitor = &self.processes.monitor;
        if monitor.has_ended() {
            return Ok(());
        }
        // Without the note the end would pass for a crash, which is the lesser evil.
        let noted = self.note_killed();
        self.end(&[("monitor", monitor)]).await.and(noted)
    }

    async fn destroy(&self) -> Result<()> {
        let Processes { monitor, guard, vsock } = &self.processes;
        if monitor.has_ended() {
            self.verdict().await;
        } else {
            self.settle(Exit::Killed);
        }
        // For those who look while it goes; what matters is that it goes.
        let _ = self.note_killed();
        let mut first = vec![("monitor", monitor)];
        first.extend(vsock.iter().map(|vsock| ("vsock", vsock)));
        let ended = self.end(&first).await;
        // The guard last: should this program be killed here, it removes what is left. It
        // may just be writing its record, so what it makes fail is tried again.
        let _ = self.dir.remove();
        let ended = ended.and(self.end(&[("guard", guard)]).await);
        ended.and(self.dir.remove())
    }

    fn vsock(&self) -> &VsockSocket {
        &self.vsock
    }

    fn console(&self) -> &ConsoleLog {
        &self.console
    }

    async fn isolation(&self) -> Result<Isolation> {
        let Processes { monitor, guard, vsock } = &self.processes;
        let all = [
            ("monitor", Some(monitor), Some(self.record.landlock)),
            ("guard", Some(guard), None),
            ("vsock", vsock.as_ref(), None),
        ];
        let processes: Vec<_> = all
            .into_iter()
            .filter_map(|(role, process, landlock)| {
                let process = process.filter(|process| !process.has_ended())?;
                of_process(role, process.id().pid, landlock)
            })
            .collect();
        if processes.is_empty() {
            return Err(wrong_moment("look at the processes of", State::Stopped));
        }
        Ok(Isolation { processes })
    }

    fn as_pause(&self) -> Option<&dyn Pause> {
        Some(self)
    }
}

#[async_trait]
impl Pause for QemuMachine {
    async fn pause(&self) -> Result<()> {
        self.change("pause", State::Running, Stop {}).await
    }

    async fn resume(&self) -> Result<()> {
        self.change("resume", State::Paused, Cont {}).await
    }
}

async fn ended(process: Option<&Process>) {
    match process {
        // Where its end cannot be watched, that of QEMU will do.
        Some(process) if process.ended().await.is_ok() => {}
        _ => pending().await,
    }
}

/// Waits until QEMU says that it stopped the vCPUs.
async fn stopped(events: &mut Option<watch::Receiver<Events>>) {
    let Some(events) = events else { return pending().await };
    let before = events.borrow_and_update().stops;
    if events.wait_for(|now| now.stops != before).await.is_err() {
        pending().await
    }
}

/// Why QEMU ended, as it said itself, once its connection is closed.
async fn last_event(mut events: watch::Receiver<Events>) -> Option<Shutdown> {
    let closed = async { while events.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(FOLLOW_WITHIN, closed).await;
    events.borrow().shutdown.clone()
}

fn wrong_moment(what: &str, state: State) -> Error {
    let message = format!("cannot {what} a machine that is {state:?}");
    Error::new(ErrorKind::InvalidState, message)
}

fn does_not_end(role: &str) -> Error {
    let message = format!("the {role} process was killed but did not end within {END_WITHIN:?}");
    Error::new(ErrorKind::Timeout, message)
}
