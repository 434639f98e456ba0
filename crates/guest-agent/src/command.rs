//! One command: its process, its streams, its credit.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use microagent_guest_protocol::frame::MAX_DATA;
use microagent_guest_protocol::{
    AgentMessage, ExecRequest, ExitStatus, KEPT, Stream, TtySize, WINDOW,
};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitStatus};

use crate::fetch;
use crate::launch::{MAX_REPORT, launch, parse_report};
use crate::link::{Link, LinkError, Progress};
use crate::stdio::{self, AgentEnds};
use crate::sys::process::{Side, fork, signal_group};

/// Credit is given back in pieces of at least this, so that a trickle of input is not
/// answered by a message each.
const CREDIT: u32 = WINDOW / 4;
/// What a program gets whose terminal is closed.
const SIGHUP: i32 = 1;
/// Signals that came before the command had begun, kept for it; more are dropped.
const MAX_EARLY_SIGNALS: usize = 16;

/// A command that was started and has not been reported as ended.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) id: u32,
    pub(crate) pid: Pid,
    state: State,
    /// Whether the host of this session knows of it.
    known: bool,
    /// Whether another session began it.
    resumed: bool,
    stdin: Input,
    outputs: [Output; 2],
    terminal: Option<OwnedFd>,
}

#[derive(Debug)]
enum State {
    /// The child is on its way to the program. The pipe closes when it gets there.
    Starting { status: OwnedFd, report: Vec<u8>, signals: Vec<i32> },
    /// The program runs.
    Running,
    /// The process is gone; outputs may hold more.
    Gone(ExitStatus),
}

/// Standard input on its way to the command.
#[derive(Debug)]
struct Input {
    /// None once it was closed, by either side.
    pipe: Option<OwnedFd>,
    /// At most [`WINDOW`] bytes.
    pending: VecDeque<u8>,
    /// The host sent the end.
    ended: bool,
    /// Bytes that the host may still send.
    credit: u32,
    /// Bytes that are consumed and not yet given back.
    owed: u32,
}

/// An output on its way to the host.
#[derive(Debug)]
struct Output {
    stream: Stream,
    /// None once it was read to its end.
    pipe: Option<OwnedFd>,
    /// What was read while there was no host: at most [`KEPT`] bytes, the last ones.
    kept: VecDeque<u8>,
    /// Whether its end was sent, or it has none.
    ended: bool,
    /// Bytes that the agent may still send.
    credit: u32,
    until: Until,
}

/// Where an output ends.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// When nobody can write to it any more.
    End,
    /// After so many bytes, which is what was in the pipe when the command's process ended:
    /// what processes that it left behind write later is not the command's.
    Bytes(u64),
    /// When it is empty.
    Empty,
}

/// What [`Command::descriptors`] lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Status,
    Stdin,
    Output,
}

impl Command {
    /// Starts a command. An error is one of the machine, such as no more processes.
    pub(crate) fn start(request: &ExecRequest) -> io::Result<Self> {
        let (ours, theirs) = match request.tty {
            Some(size) => stdio::terminal(request.stdin, size)?,
            None => stdio::pipes(request.stdin)?,
        };
        let (status, their_status) = pipe_with(PipeFlags::CLOEXEC)?;
        stdio::set_nonblocking(&status)?;
        let pid = match fork()? {
            Side::Child => launch(request, theirs, their_status),
            Side::Parent { child } => child,
        };
        Ok(Self::new(request.id, pid, status, ours))
    }

    /// Starts a copy of the agent that sends files. An error is one of the machine.
    pub(crate) fn fetch(id: u32, path: &str) -> io::Result<Self> {
        let (ours, theirs) = stdio::pipes(false)?;
        let (status, their_status) = pipe_with(PipeFlags::CLOEXEC)?;
        stdio::set_nonblocking(&status)?;
        let pid = match fork()? {
            Side::Child => fetch::send(path, theirs, their_status),
            Side::Parent { child } => child,
        };
        Ok(Self::new(id, pid, status, ours))
    }

    /// Starts a copy of the agent that makes files. An error is one of the machine.
    pub(crate) fn store(id: u32, path: &str, name: &str) -> io::Result<Self> {
        let (ours, theirs) = stdio::pipes(true)?;
        let (status, their_status) = pipe_with(PipeFlags::CLOEXEC)?;
        stdio::set_nonblocking(&status)?;
        let pid = match fork()? {
            Side::Child => fetch::receive(path, name, theirs, their_status),
            Side::Parent { child } => child,
        };
        Ok(Self::new(id, pid, status, ours))
    }

    fn new(id: u32, pid: Pid, status: OwnedFd, streams: AgentEnds) -> Self {
        let AgentEnds { stdin, stdout, stderr, terminal } = streams;
        let output = |stream, pipe: Option<OwnedFd>| {
            let (kept, ended) = (VecDeque::new(), pipe.is_none());
            Output { stream, pipe, kept, ended, credit: WINDOW, until: Until::End }
        };
        let (pending, ended) = (VecDeque::new(), false);
        Self {
            id,
            pid,
            state: State::Starting { status, report: Vec::new(), signals: Vec::new() },
            known: true,
            resumed: false,
            stdin: Input { pipe: stdin, pending, ended, credit: WINDOW, owed: 0 },
            outputs: [output(Stream::Stdout, Some(stdout)), output(Stream::Stderr, stderr)],
            terminal,
        }
    }

    /// What to wait for now; true means until it can be written. `room` says whether the
    /// session takes more output.
    pub(crate) fn descriptors(
        &self,
        room: bool,
    ) -> impl Iterator<Item = (Part, BorrowedFd<'_>, bool)> {
        let starting = match &self.state {
            State::Starting { status, .. } => Some((Part::Status, status.as_fd(), false)),
            _ => None,
        };
        let running = starting.is_none();
        let wants = !self.stdin.pending.is_empty();
        let stdin = self.stdin.pipe.as_ref().filter(|_| running && wants);
        let known = self.known;
        let outputs = self
            .outputs
            .iter()
            .filter(move |o| running && (!known || room && o.credit > 0 && o.kept.is_empty()));
        let outputs = outputs.filter_map(|o| o.pipe.as_ref());
        starting
            .into_iter()
            .chain(stdin.map(|fd| (Part::Stdin, fd.as_fd(), true)))
            .chain(outputs.map(|fd| (Part::Output, fd.as_fd(), false)))
    }

    /// Looks whether the program has begun, and reports it.
    pub(crate) fn advance(&mut self, link: &mut Link) -> Result<(), LinkError> {
        let State::Starting { status, report, .. } = &mut self.state else { return Ok(()) };
        let mut buffer = [0; MAX_REPORT];
        loop {
            match rustix::io::read(&*status, &mut buffer) {
                Ok(0) => break,
                // The child writes one report, but nothing here relies on it.
                Ok(len) => report.extend_from_slice(
                    buffer.get(..len.min(MAX_REPORT - report.len())).unwrap_or_default(),
                ),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if !report.is_empty() {
            // What became of it follows when the child is reaped.
            return Ok(());
        }
        let began = std::mem::replace(&mut self.state, State::Running);
        let pid = self.pid.as_raw_nonzero().get().unsigned_abs();
        if self.known {
            link.send(&AgentMessage::Started { id: self.id, pid })?;
        }
        if let State::Starting { signals, .. } = began {
            signals.into_iter().for_each(|signal| self.signal(signal));
        }
        Ok(())
    }

    /// The process was reaped.
    pub(crate) fn gone(&mut self, status: WaitStatus, link: &mut Link) -> Result<(), LinkError> {
        self.advance(link)?;
        if let State::Starting { report, .. } = &self.state
            && let Some(reason) = parse_report(report)
        {
            let (code, message) = (reason.code, reason.message);
            self.outputs.iter_mut().for_each(Output::give_up);
            self.state = State::Gone(ExitStatus::NotStarted { code, message });
            return Ok(());
        }
        let status = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitStatus::Code { code: (code & 0xff) as u8 },
            (None, signal) => ExitStatus::Signal { signal: signal.unwrap_or_default() },
        };
        self.state = State::Gone(status);
        let terminal = self.terminal.is_some();
        self.outputs.iter_mut().for_each(|output| output.process_gone(terminal));
        Ok(())
    }

    /// Moves output to the host as far as credit and room go.
    pub(crate) fn pump_outputs(&mut self, link: &mut Link, strays: &mut Vec<OwnedFd>) {
        if matches!(self.state, State::Starting { .. }) {
            return;
        }
        for output in &mut self.outputs {
            match self.known {
                true => output.pump(self.id, link, strays),
                false => output.keep(strays),
            }
        }
    }

    /// The session is lost. What it writes from now on is kept, up to a limit; input that has
    /// not reached it is lost.
    pub(crate) fn let_go(&mut self) {
        self.known = false;
        self.stdin.pending.clear();
    }

    /// Another session takes it up: credit is that of a new command.
    pub(crate) fn resume(&mut self) {
        (self.known, self.resumed) = (true, true);
        (self.stdin.credit, self.stdin.owed) = (WINDOW, 0);
        self.outputs.iter_mut().for_each(|output| output.credit = WINDOW);
    }

    /// Nobody wants it any more. What it has open is read and thrown away.
    pub(crate) fn abandon(mut self, strays: &mut Vec<OwnedFd>) {
        self.signal(SIGHUP);
        strays.extend(self.outputs.iter_mut().filter_map(|output| output.pipe.take()));
    }

    /// How it ended, once all its output is on its way.
    pub(crate) fn ended(&self) -> Option<&ExitStatus> {
        match &self.state {
            State::Gone(status) if self.known && self.outputs.iter().all(|o| o.ended) => {
                Some(status)
            }
            _ => None,
        }
    }

    /// Takes standard input from the host; without bytes, its end.
    pub(crate) fn take_input(&mut self, bytes: &[u8], link: &mut Link) -> Result<(), LinkError> {
        let stdin = &mut self.stdin;
        // This session cannot know that one before it had ended its input.
        if stdin.ended && self.resumed {
            return Ok(());
        }
        if stdin.ended && !bytes.is_empty() {
            return Err(LinkError::Broken("sent input after its end"));
        }
        let left = u32::try_from(bytes.len()).ok().and_then(|len| stdin.credit.checked_sub(len));
        stdin.credit = left.ok_or(LinkError::Broken("sent more input than it had credit for"))?;
        stdin.ended |= bytes.is_empty();
        stdin.pending.extend(bytes);
        self.pump_input(link)
    }

    /// Moves input to the command as far as its pipe takes it.
    pub(crate) fn pump_input(&mut self, link: &mut Link) -> Result<(), LinkError> {
        self.stdin.owed += self.stdin.pump();
        // Not one credit per frame, and none when no more input can come.
        if self.stdin.owed < CREDIT || self.stdin.ended || !self.known {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.stdin.owed);
        self.stdin.credit += bytes;
        link.send(&AgentMessage::Credit { id: self.id, stream: Stream::Stdin, bytes })
    }

    /// The host has consumed output.
    pub(crate) fn add_credit(&mut self, stream: Stream, bytes: u32) -> Result<(), LinkError> {
        let output = self.outputs.iter_mut().find(|output| output.stream == stream);
        let output = output.ok_or(LinkError::Broken("gave credit for an input"))?;
        let credit = output.credit.checked_add(bytes).filter(|credit| *credit <= WINDOW);
        output.credit = credit.ok_or(LinkError::Broken("gave more credit than it took bytes"))?;
        Ok(())
    }

    /// Sends a signal to its process group, now or when it has one.
    pub(crate) fn signal(&mut self, signal: i32) {
        match &mut self.state {
            State::Starting { signals, .. } if signals.len() < MAX_EARLY_SIGNALS => {
                signals.push(signal);
            }
            State::Starting { .. } => {}
            // ESRCH: what it left behind is gone too. EINVAL: the host's mistake, and without
            // an effect.
            State::Running | State::Gone(_) => {
                let _ = signal_group(self.pid, signal);
            }
        }
    }

    /// The terminal's size changed; nothing without a terminal.
    pub(crate) fn resize(&self, size: TtySize) {
        if let Some(terminal) = &self.terminal {
            // Fails only for what is no terminal.
            let _ = stdio::resize(terminal, size);
        }
    }
}

impl Input {
    /// Bytes that were consumed.
    fn pump(&mut self) -> u32 {
        let mut consumed = 0;
        while let Some(pipe) = self.pipe.as_ref().filter(|_| !self.pending.is_empty()) {
            match rustix::io::write(pipe, self.pending.as_slices().0) {
                Ok(len) => {
                    self.pending.drain(..len);
                    consumed += len;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // EPIPE: the command wants no more.
                Err(_) => self.pipe = None,
            }
        }
        if self.pipe.is_none() {
            // Nobody will read it. The host may go on sending until it knows.
            consumed += self.pending.len();
            self.pending.clear();
        }
        if self.ended && self.pending.is_empty() {
            self.pipe = None;
        }
        u32::try_from(consumed).unwrap_or(WINDOW)
    }
}

impl Output {
    fn process_gone(&mut self, terminal: bool) {
        self.until = match &self.pipe {
            Some(_) if terminal => Until::Empty,
            Some(pipe) => rustix::io::ioctl_fionread(pipe).map_or(Until::Empty, Until::Bytes),
            None => Until::End,
        };
    }

    fn pump(&mut self, id: u32, link: &mut Link, strays: &mut Vec<OwnedFd>) {
        if !self.send_kept(id, link) {
            return;
        }
        while let Some(pipe) = &self.pipe {
            let left = self.until.left();
            if left == 0 {
                strays.extend(self.pipe.take());
                break;
            }
            let limit = left.min(MAX_DATA).min(self.credit as usize);
            if limit == 0 || link.is_full() {
                return;
            }
            match (link.send_from(pipe.as_fd(), id, self.stream, limit), &mut self.until) {
                (Progress::Moved(len), until) => {
                    self.credit -= len as u32;
                    until.read(len);
                }
                (Progress::Idle, Until::End) => return,
                // Someone else has read what was in the pipe.
                (Progress::Idle, Until::Bytes(_) | Until::Empty) => strays.extend(self.pipe.take()),
                (Progress::Ended, _) => self.pipe = None,
            }
        }
        if !self.ended {
            link.send_end(id, self.stream);
            self.ended = true;
        }
    }

    /// Sends what was kept; whether nothing of it is left.
    fn send_kept(&mut self, id: u32, link: &mut Link) -> bool {
        while !self.kept.is_empty() {
            let limit = self.kept.len().min(MAX_DATA).min(self.credit as usize);
            if limit == 0 || link.is_full() {
                return false;
            }
            let bytes: Vec<u8> = self.kept.drain(..limit).collect();
            link.send_bytes(id, self.stream, &bytes);
            self.credit -= limit as u32;
        }
        true
    }

    /// Reads what there is and keeps the last of it: the command must not wait for a host.
    fn keep(&mut self, strays: &mut Vec<OwnedFd>) {
        let mut buffer = [0; 16 << 10];
        while let Some(pipe) = &self.pipe {
            let left = self.until.left().min(buffer.len());
            if left == 0 {
                strays.extend(self.pipe.take());
                return;
            }
            match (rustix::io::read(pipe, buffer.get_mut(..left).unwrap_or_default()), self.until) {
                (Ok(len @ 1..), _) => {
                    self.until.read(len);
                    self.kept.extend(buffer.get(..len).unwrap_or_default());
                    let surplus = self.kept.len().saturating_sub(KEPT);
                    self.kept.drain(..surplus);
                }
                (Err(Errno::AGAIN | Errno::INTR), Until::End) => return,
                (Err(Errno::AGAIN | Errno::INTR), _) => strays.extend(self.pipe.take()),
                (Ok(_) | Err(_), _) => self.pipe = None,
            }
        }
    }

    /// There is nothing to be sent of it.
    fn give_up(&mut self) {
        (self.pipe, self.ended) = (None, true);
    }
}

impl Until {
    /// How many bytes may be read.
    fn left(self) -> usize {
        match self {
            Self::Bytes(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Self::End | Self::Empty => usize::MAX,
        }
    }

    /// So many were.
    fn read(&mut self, len: usize) {
        if let Self::Bytes(left) = self {
            *left -= len as u64;
        }
    }
}
