//! A call of the program at a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::{Invocation, until};

/// How long anything may take to show.
const LONG: Duration = Duration::from_secs(120);
/// How often the reader looks whether it shall stop.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// A terminal and the program that has it as its controlling one.
#[derive(Debug)]
pub struct Pty {
    line: String,
    name: String,
    child: Child,
    /// The side of who sits at it; none once it was closed.
    seat: Option<Arc<File>>,
    /// The other side, held so that the terminal outlives the program.
    _held: OwnedFd,
    reader: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Vec<u8>>,
    changed: Condvar,
    paused: AtomicBool,
    closed: AtomicBool,
}

impl Pty {
    /// Starts the program at a terminal of this size.
    ///
    /// # Panics
    /// Where that cannot be done; so do the methods below.
    pub fn start(call: Invocation, rows: u16, cols: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let seat = openpt(flags).expect("open a terminal");
        unlockpt(&seat).expect("unlock the terminal");
        let held = ioctl_tiocgptpeer(&seat, flags).expect("open its other side");
        resize(&seat, rows, cols);
        let (line, name) = (call.line(), call.name().to_owned());
        let mut command = call.under(&["setsid", "-c"]).command();
        let stream = || Stdio::from(held.try_clone().expect("copy a descriptor"));
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let child = command.spawn().expect("start the program");
        // It holds copies of the other side.
        drop(command);
        let (seat, shared) = (Arc::new(File::from(seat)), Arc::<Shared>::default());
        let (from, to) = (seat.clone(), shared.clone());
        let reader = Some(thread::spawn(move || read(&from, &to)));
        Self { line, name, child, seat: Some(seat), _held: held, reader, shared }
    }

    /// The workspace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program's process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Waits until this has been shown.
    pub fn wait_for(&self, text: &str) {
        let shown = |seen: &[u8]| seen.windows(text.len()).any(|w| w == text.as_bytes());
        let seen = self.shared.seen.lock().expect("no reader panics");
        let waited = self.shared.changed.wait_timeout_while(seen, LONG, |seen| !shown(seen));
        let seen = waited.expect("no reader panics").0.clone();
        assert!(shown(&seen), "{}: waited for {text:?}, got {}", self.line, lossy(&seen));
    }

    /// All that has been shown.
    pub fn seen(&self) -> String {
        lossy(&self.shared.seen.lock().expect("no reader panics"))
    }

    /// Types.
    pub fn types(&self, keys: &str) {
        (&**self.seat()).write_all(keys.as_bytes()).expect("type");
    }

    /// Changes its size.
    pub fn resize(&self, rows: u16, cols: u16) {
        resize(&**self.seat(), rows, cols);
    }

    /// How it treats what is typed and shown.
    pub fn mode(&self) -> Termios {
        tcgetattr(&**self.seat()).expect("ask the terminal")
    }

    /// Reads nothing more, or reads on.
    pub fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Relaxed);
    }

    /// Closes it, as the window around it would.
    pub fn close(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no reader panics");
        }
        self.seat = None;
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_raw(self.pid()).expect("a process has an id"), signal);
    }

    /// Waits for the program's end; the exit code and all that was shown.
    pub fn finish(mut self) -> (ExitStatus, String) {
        (self.ends(), self.seen())
    }

    /// Waits for the program's end, and leaves the terminal to be looked at.
    pub fn ends(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let ended = until(LONG, || child.try_wait().expect("wait").map(drop).ok_or(()));
        if ended.is_err() {
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("wait for the program");
        if let Some(seat) = self.seat.clone().filter(|_| !self.is_paused()) {
            let drained = until(LONG, || self.shared.is_drained(&seat).then_some(()).ok_or(()));
            drained.expect("the reader goes on");
        }
        assert!(ended.is_ok(), "not ended within {LONG:?}: {}\n{}", self.line, self.seen());
        status
    }

    fn is_paused(&self) -> bool {
        self.shared.paused.load(Ordering::Relaxed)
    }

    fn seat(&self) -> &Arc<File> {
        self.seat.as_ref().expect("the terminal is not closed")
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.shared.closed.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// Whether all that was written to the terminal has been seen.
    fn is_drained(&self, seat: &File) -> bool {
        let _seen = self.seen.lock().expect("no reader panics");
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(seat, PollFlags::IN)], Some(&now)) == Ok(0)
    }
}

fn read(mut seat: &File, shared: &Shared) {
    let mut buffer = vec![0; 1 << 12];
    while !shared.closed.load(Ordering::Relaxed) {
        if shared.paused.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
            continue;
        }
        match poll(&mut [PollFd::new(&seat, PollFlags::IN)], Some(&TICK)) {
            Ok(0) | Err(_) => continue,
            Ok(_) => {}
        }
        // Taken first, so that what is in neither place was never written.
        let mut seen = shared.seen.lock().expect("nobody panics with it");
        let Ok(count) = seat.read(&mut buffer) else { return };
        seen.extend_from_slice(&buffer[..count]);
        shared.changed.notify_all();
    }
}

fn resize(terminal: impl std::os::fd::AsFd, rows: u16, cols: u16) {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("set a size");
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
