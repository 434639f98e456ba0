//! The user's terminal: raw while a command has it, and as it was before on every way out.
//!
//! [`take`] and [`give_back`] change it; what it was before is kept in one place of the
//! process, so that a panic and a signal find it too. Only `kill -9` leaves it raw.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, Once, PoisonError, TryLockError};
use std::task::{Context, Poll, ready};

use microagent_workspace::{TtySize, signal_code};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// What the terminal was like, while it is raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Signals that end a program and are not passed on to a command: SIGALRM, SIGUSR1, SIGUSR2,
/// SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGXCPU. Their numbers are those of Linux on x86_64.
const ENDING: [i32; 8] = [14, 10, 12, 26, 27, 29, 30, 24];
/// `SIGTSTP`, by which a terminal or a user stops a program.
const STOP: i32 = 20;

/// Makes the terminal on standard input raw: every key goes to who reads it, as it is.
pub(crate) fn take() -> io::Result<()> {
    restore_on_panic();
    let stdin = io::stdin();
    let mut kept = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    let mode = tcgetattr(&stdin)?;
    let mut raw = mode.clone();
    raw.make_raw();
    // First: from here on every way out restores it.
    kept.get_or_insert(mode);
    // Not after a flush: what was typed ahead is the command's.
    Ok(tcsetattr(&stdin, OptionalActions::Now, &raw)?)
}

/// Makes the terminal what it was before [`take`], if it was taken.
pub(crate) fn give_back() {
    let kept = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    restore(kept);
}

/// Whether it is raw now, so that a line needs a return at its end.
pub(crate) fn is_taken() -> bool {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// The size of the terminal on standard output or else on standard input, as it changes;
/// zero where there is none.
pub(crate) fn sizes() -> io::Result<watch::Receiver<TtySize>> {
    let (sender, receiver) = watch::channel(size());
    let mut changes = signal(SignalKind::window_change())?;
    tokio::spawn(async move {
        while changes.recv().await.is_some() {
            sender.send_if_modified(|known| {
                let now = size();
                std::mem::replace(known, now) != now
            });
        }
    });
    Ok(receiver)
}

fn size() -> TtySize {
    let found = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin()));
    found.map_or(TtySize { rows: 0, cols: 0 }, |size| TtySize {
        rows: size.ws_row,
        cols: size.ws_col,
    })
}

/// From now on, signals that end or stop this program give the terminal back first. Where
/// something would be left running by that, they are passed on instead.
pub(crate) fn mind_signals(instead: Option<&mpsc::Sender<i32>>) -> io::Result<()> {
    for number in ENDING {
        let mut stream = signal(SignalKind::from_raw(number))?;
        let instead = instead.cloned();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                match &instead {
                    // A full channel holds enough signals.
                    Some(instead) => _ = instead.try_send(number),
                    None => {
                        give_back();
                        // As the signal itself would have it. The machine goes with the process.
                        std::process::exit(signal_code(number).into());
                    }
                }
            }
        });
    }
    let mut stops = signal(SignalKind::from_raw(STOP))?;
    tokio::spawn(async move {
        while stops.recv().await.is_some() {
            let taken = is_taken();
            give_back();
            let _ = kill_process(getpid(), Signal::STOP);
            // Here it goes on, with a terminal that is as the shell left it.
            if taken {
                let _ = take();
            }
        }
    });
    Ok(())
}

fn restore(mode: Option<Termios>) {
    if let Some(mode) = mode {
        // Fails for a terminal that is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &mode);
    }
}

fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Whoever panics may hold it.
            match BEFORE.try_lock() {
                Ok(mut kept) => restore(kept.take()),
                Err(TryLockError::Poisoned(kept)) => restore(kept.into_inner().take()),
                Err(TryLockError::WouldBlock) => {}
            }
            next(info);
        }));
    });
}

/// Standard input of a terminal, whose end is that the terminal was closed: a raw one has no
/// other.
#[derive(Debug)]
pub(crate) struct Keys<R> {
    pub(crate) source: R,
    /// Where that is told, as the signal that it is.
    pub(crate) signals: mpsc::Sender<i32>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Keys<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.source).poll_read(cx, buf));
        if read.is_err() || buf.filled().len() == before {
            // A full channel holds enough signals.
            let _ = self.signals.try_send(SignalKind::hangup().as_raw_value());
        }
        Poll::Ready(read)
    }
}
