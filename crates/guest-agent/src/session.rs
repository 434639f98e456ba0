//! The session with the host: one loop over its connection, signals and all commands.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use microagent_guest_protocol::ending::{KILLED, LAST_WORDS, PATIENCE};
use microagent_guest_protocol::{AgentMessage, ExitStatus, HostMessage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, set_child_subreaper, wait};

use crate::command::{Command, Part};
use crate::connection;
use crate::console::say;
use crate::link::{Incoming, Link, LinkError};
use crate::reach::Reach;
use crate::signals::{Event, Signals};
use crate::stdio::set_nonblocking;
use crate::sys::process::{signal_all, signal_group};
use crate::timeline::Timeline;

/// Commands at the same time; more are refused.
const MAX_COMMANDS: usize = 256;
/// Outputs that processes hold open after their command ended; of more, the oldest closes.
const MAX_STRAYS: usize = 256;

/// Which processes end with the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of the machine.
    Machine,
    /// The process groups of the commands.
    Commands,
}

/// Why the session ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The host asked for it.
    Asked,
    /// A program of the guest asked for it.
    Signalled,
    /// The host is gone, or broke the protocol.
    Lost(LinkError),
}

/// A session after the host's welcome.
#[derive(Debug)]
pub(crate) struct Session {
    link: Link,
    signals: Signals,
    scope: Scope,
    commands: Vec<Command>,
    /// Outputs of ended commands that other processes still write to. They are read and
    /// thrown away: closing them would kill a daemon that a command has left behind.
    strays: Vec<OwnedFd>,
    phase: Phase,
    /// How a lost session is followed by another, where it is.
    reach: Option<Reach>,
}

#[derive(Debug)]
enum Phase {
    Serving,
    /// The processes were asked to end.
    Asking {
        until: Instant,
        outcome: Outcome,
    },
    /// They were killed.
    Killing {
        until: Instant,
        outcome: Outcome,
    },
    Over(Outcome),
}

/// What a descriptor that is waited for belongs to.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Link,
    Command(u32, Part),
    Stray,
    Reach,
}

/// Serves a session on a connected socket with the commands of this process alone.
pub(crate) fn serve_by_hand(socket: OwnedFd) -> io::Result<()> {
    set_nonblocking(&socket)?;
    set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut link = Link::new(socket);
    link.send(&AgentMessage::Ready)?;
    link.flush()?;
    let mut session = Session::new(link, Signals::take()?, Scope::Commands);
    let outcome = session.serve(&mut Timeline::default());
    session.last_words(PATIENCE);
    session.signal_processes(Signal::KILL);
    match outcome {
        Outcome::Asked | Outcome::Signalled => {
            // What its commands wrote is with a kernel that goes on.
            session.part(Vec::new(), LAST_WORDS);
            Ok(())
        }
        Outcome::Lost(LinkError::Closed) => Ok(()),
        Outcome::Lost(error) => Err(error.into()),
    }
}

impl Session {
    pub(crate) fn new(link: Link, signals: Signals, scope: Scope) -> Self {
        let (commands, strays, phase) = (Vec::new(), Vec::new(), Phase::Serving);
        Self { link, signals, scope, commands, strays, phase, reach: None }
    }

    /// One that goes on when the session is lost, and looks for the host again.
    pub(crate) fn lasting(self, reach: Reach) -> Self {
        Self { reach: Some(reach), ..self }
    }

    /// Serves until the session or the machine shall end.
    pub(crate) fn serve(&mut self, timeline: &mut Timeline) -> Outcome {
        loop {
            match self.turn(timeline) {
                Ok(()) => {}
                Err(error) if self.reach.is_some() => self.let_go(&error),
                Err(error) => return Outcome::Lost(error),
            }
            if let Phase::Over(_) = self.phase
                && let Phase::Over(outcome) = std::mem::replace(&mut self.phase, Phase::Serving)
            {
                return outcome;
            }
        }
    }

    /// Sends what is queued, if the host takes it within this time.
    pub(crate) fn last_words(&mut self, within: Duration) {
        connection::drain(&mut self.link, within);
    }

    /// Ends the session of a host that is not listened to any more.
    pub(crate) fn hang_up(&mut self) {
        self.link = Link::nowhere();
    }

    /// Tells what could not be written back, and waits for the host to have heard it, no longer
    /// than this.
    pub(crate) fn part(&mut self, failures: Vec<String>, within: Duration) {
        if self.link.send(&AgentMessage::WrittenBack { failures }).is_ok() {
            connection::part(&mut self.link, within);
        }
    }

    /// The session is lost: commands go on, and another is looked for.
    fn let_go(&mut self, error: &LinkError) {
        say(format_args!("session lost: {error}"));
        self.link = Link::nowhere();
        self.commands.iter_mut().for_each(Command::let_go);
        if let Some(reach) = &mut self.reach {
            reach.lose();
        }
    }

    /// There may be a host again.
    fn reach(&mut self) {
        let Some(link) = self.reach.as_mut().and_then(Reach::advance) else { return };
        self.link = link;
        let commands = self.commands.iter().map(|command| command.id).collect();
        // What cannot be sent is seen when it is flushed.
        let _ = self.link.send(&AgentMessage::Ready);
        let _ = self.link.send(&AgentMessage::Left { commands });
    }

    /// What was read with an earlier message first, then what is ready.
    fn turn(&mut self, timeline: &mut Timeline) -> Result<(), LinkError> {
        self.take_frames(timeline)?;
        self.settle(timeline)?;
        self.link.flush()?;
        if let Phase::Over(_) = self.phase {
            return Ok(());
        }
        let ready = self.wait().map_err(LinkError::Io)?;
        if self.reach.as_ref().is_some_and(|reach| reach.is_due()) {
            self.reach();
        }
        for source in &ready {
            match source {
                Source::Reach => self.reach(),
                Source::Link => self.link.fill()?,
                Source::Signals => self.take_signals(timeline)?,
                Source::Command(id, part) => self.serve_command(*id, *part)?,
                Source::Stray => {}
            }
        }
        if ready.iter().any(|source| matches!(source, Source::Stray)) {
            self.strays.retain(|stray| !drained(stray));
        }
        Ok(())
    }

    fn wait(&self) -> Result<Vec<Source>, Errno> {
        let room = !self.link.is_full();
        let mut sources = vec![Source::Signals];
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        if let Some(link) = self.link.socket() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, room);
            flags.set(PollFlags::OUT, self.link.has_outgoing());
            sources.push(Source::Link);
            fds.push(PollFd::from_borrowed_fd(link, flags));
        }
        if let Some(socket) = self.reach.as_ref().and_then(Reach::socket) {
            sources.push(Source::Reach);
            fds.push(PollFd::from_borrowed_fd(socket, PollFlags::OUT));
        }
        for command in &self.commands {
            for (part, fd, write) in command.descriptors(room) {
                let flags = if write { PollFlags::OUT } else { PollFlags::IN };
                sources.push(Source::Command(command.id, part));
                fds.push(PollFd::from_borrowed_fd(fd, flags));
            }
        }
        for stray in &self.strays {
            sources.push(Source::Stray);
            fds.push(PollFd::new(stray, PollFlags::IN));
        }
        match poll(&mut fds, self.timeout().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let ready = sources.into_iter().zip(&fds).filter(|(source, fd)| match source {
            // An end that is not waited for shows all the same.
            Source::Link => fd.revents().intersects(PollFlags::IN | PollFlags::HUP),
            _ => !fd.revents().is_empty(),
        });
        Ok(ready.map(|(source, _)| source).collect())
    }

    fn timeout(&self) -> Option<Timespec> {
        let phase = match self.phase {
            Phase::Asking { until, .. } | Phase::Killing { until, .. } => Some(until),
            Phase::Serving | Phase::Over(_) => None,
        };
        let reach = self.reach.as_ref().and_then(Reach::until);
        let until = phase.into_iter().chain(reach).min()?;
        let left = until.saturating_duration_since(Instant::now());
        Some(Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() })
    }

    fn take_frames(&mut self, timeline: &mut Timeline) -> Result<(), LinkError> {
        while let Some(incoming) = self.link.next()? {
            match incoming {
                Incoming::Stdin { id, bytes } => {
                    let command = self.commands.iter_mut().find(|command| command.id == id);
                    // Input may be on its way when a command ends.
                    if let Some(command) = command {
                        command.take_input(&bytes, &mut self.link)?;
                    }
                }
                Incoming::Message(message) => self.take_message(message, timeline)?,
            }
        }
        Ok(())
    }

    fn take_message(
        &mut self,
        message: HostMessage,
        timeline: &mut Timeline,
    ) -> Result<(), LinkError> {
        let command = |commands: &mut Vec<Command>, id| -> Option<usize> {
            commands.iter().position(|command| command.id == id)
        };
        match message {
            HostMessage::Exec(request) => {
                timeline.mark("exec");
                self.start(request.id, || Command::start(&request))?;
                timeline.mark("forked");
            }
            HostMessage::Fetch { id, path } => self.start(id, || Command::fetch(id, &path))?,
            HostMessage::Store { id, path, name } => {
                self.start(id, || Command::store(id, &path, &name))?;
            }
            HostMessage::Credit { id, stream, bytes } => {
                if let Some(at) = command(&mut self.commands, id) {
                    self.commands[at].add_credit(stream, bytes)?;
                }
            }
            HostMessage::Resume { id } => {
                if let Some(at) = command(&mut self.commands, id) {
                    self.commands[at].resume();
                }
            }
            HostMessage::Abandon { id } => {
                if let Some(at) = command(&mut self.commands, id) {
                    self.commands.remove(at).abandon(&mut self.strays);
                }
            }
            HostMessage::Signal { id, signal } => {
                if let Some(at) = command(&mut self.commands, id) {
                    self.commands[at].signal(signal);
                }
            }
            HostMessage::Resize { id, size } => {
                if let Some(at) = command(&mut self.commands, id) {
                    self.commands[at].resize(size);
                }
            }
            HostMessage::Shutdown => {
                timeline.mark("shutdown");
                self.end("requested", Outcome::Asked)?;
            }
            HostMessage::Welcome | HostMessage::Refused { .. } => {
                return Err(LinkError::Broken("answered a hello twice"));
            }
        }
        Ok(())
    }

    fn start(
        &mut self,
        id: u32,
        begin: impl FnOnce() -> io::Result<Command>,
    ) -> Result<(), LinkError> {
        if self.commands.iter().any(|command| command.id == id) {
            return Err(LinkError::Broken("used the id of a command twice"));
        }
        let refused = if !matches!(self.phase, Phase::Serving) {
            "the machine is ending".to_owned()
        } else if self.commands.len() >= MAX_COMMANDS {
            format!("{MAX_COMMANDS} commands are running, more are not started")
        } else {
            match begin() {
                Ok(command) => {
                    self.commands.push(command);
                    return Ok(());
                }
                Err(error) => format!("start a process: {error}"),
            }
        };
        let status = ExitStatus::NotStarted { code: 126, message: refused };
        self.link.send(&AgentMessage::Exited { id, status })
    }

    fn serve_command(&mut self, id: u32, part: Part) -> Result<(), LinkError> {
        let Some(command) = self.commands.iter_mut().find(|command| command.id == id) else {
            return Ok(());
        };
        match part {
            Part::Status => command.advance(&mut self.link),
            Part::Stdin => command.pump_input(&mut self.link),
            // Done for all in `settle`.
            Part::Output => Ok(()),
        }
    }

    fn take_signals(&mut self, timeline: &mut Timeline) -> Result<(), LinkError> {
        while let Some(event) = self.signals.next() {
            match event {
                Event::Child => self.reap(timeline)?,
                Event::End(name) => self.end(name, Outcome::Signalled)?,
            }
        }
        Ok(())
    }

    fn reap(&mut self, timeline: &mut Timeline) -> Result<(), LinkError> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(command) = self.commands.iter_mut().find(|command| command.pid == pid) {
                timeline.mark("reaped");
                command.gone(status, &mut self.link)?;
            }
        }
        Ok(())
    }

    /// Moves output, reports commands that ended, and goes on ending if that is under way.
    fn settle(&mut self, timeline: &mut Timeline) -> Result<(), LinkError> {
        for command in &mut self.commands {
            command.pump_outputs(&mut self.link, &mut self.strays);
            if let Some(status) = command.ended() {
                let (id, status) = (command.id, status.clone());
                self.link.send(&AgentMessage::Exited { id, status })?;
                timeline.mark("exited");
            }
        }
        self.commands.retain(|command| command.ended().is_none());
        let surplus = self.strays.len().saturating_sub(MAX_STRAYS);
        self.strays.drain(..surplus);
        self.go_on_ending();
        Ok(())
    }

    fn end(&mut self, reason: &str, outcome: Outcome) -> Result<(), LinkError> {
        if !matches!(self.phase, Phase::Serving) {
            return Ok(());
        }
        self.link.send(&AgentMessage::Goodbye { reason: reason.to_owned() })?;
        self.signal_processes(Signal::TERM);
        self.phase = Phase::Asking { until: Instant::now() + PATIENCE, outcome };
        Ok(())
    }

    fn go_on_ending(&mut self) {
        let now = Instant::now();
        let phase = std::mem::replace(&mut self.phase, Phase::Serving);
        self.phase = match phase {
            Phase::Asking { outcome, .. } | Phase::Killing { outcome, .. }
                if self.commands.is_empty() && no_children() =>
            {
                Phase::Over(outcome)
            }
            Phase::Asking { until, outcome } if now >= until => {
                self.signal_processes(Signal::KILL);
                Phase::Killing { until: now + KILLED, outcome }
            }
            Phase::Killing { until, outcome } if now >= until => Phase::Over(outcome),
            phase => phase,
        };
    }

    fn signal_processes(&self, signal: Signal) {
        match self.scope {
            Scope::Machine => {
                // Fails only if there is no process, which is as good.
                let _ = signal_all(signal.as_raw());
            }
            Scope::Commands => {
                for command in &self.commands {
                    let _ = signal_group(command.pid, signal.as_raw());
                }
            }
        }
    }
}

/// Whether no process of the guest is left: whoever has lost its parent is a child of
/// process 1. Reaps nothing.
fn no_children() -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::All, options), Err(Errno::CHILD))
}

/// Throws away what there is; whether it was the last.
fn drained(stray: &OwnedFd) -> bool {
    let mut buffer = [0; 16 << 10];
    match rustix::io::read(stray, &mut buffer) {
        Ok(0) => true,
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => false,
        Err(_) => true,
    }
}
