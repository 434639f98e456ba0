//! The workspace's console: a terminal shared by all who connect, with the last of what it showed
//! for those who come later. On it runs the workspace's own command, where that has a terminal,
//! or else a shell.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use microagent_guest_protocol::TtySize;
use microagent_vsock::{Exec, ExecIo, Relay, Sink, sink_to};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc};

use super::output::OutputLog;
use crate::RunError;
use crate::command::{exec_request, with_terminal};
use crate::named::manifest::Manifest;

/// How much of what it showed is kept, in bytes.
const HISTORY: usize = 64 << 10;
/// Pieces of output that a client may be behind; one that is more is let go.
const BEHIND: usize = 256;
/// Pieces of input under way; whoever types more waits.
const AHEAD: usize = 16;
/// How much of a client's input is read at once, in bytes.
const PIECE: usize = 4 << 10;

/// The console of a workspace.
#[derive(Debug)]
pub(super) struct Console {
    directory: PathBuf,
    shell: Mutex<Option<Shell>>,
}

/// A shell that runs.
#[derive(Debug, Clone)]
struct Shell {
    exec: Arc<Exec>,
    input: mpsc::Sender<Vec<u8>>,
    shown: Shown,
}

/// What it shows, kept and passed on.
#[derive(Debug, Clone)]
struct Shown(Arc<Mutex<Screen>>);

#[derive(Debug)]
struct Screen {
    history: VecDeque<u8>,
    viewers: broadcast::Sender<Arc<[u8]>>,
    log: Option<OutputLog>,
}

impl Screen {
    fn new(log: Option<OutputLog>) -> Self {
        let (viewers, _) = broadcast::channel(BEHIND);
        Self { history: VecDeque::new(), viewers, log }
    }
}

/// A client of the console.
#[derive(Debug)]
pub(super) struct Viewer {
    input: mpsc::Sender<Vec<u8>>,
    /// What was shown before.
    pub(super) history: Vec<u8>,
    output: broadcast::Receiver<Arc<[u8]>>,
}

impl Console {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, shell: Mutex::new(None) }
    }

    /// Joins those who see it; the first starts the shell, and whoever joins has its terminal
    /// have this size.
    pub(super) fn join(&self, relay: &Relay, size: TtySize) -> Result<Viewer, RunError> {
        let mut shell = self.shell();
        let there = shell.take().filter(|shell| !shell.input.is_closed());
        let there = match there {
            Some(there) => there,
            None => self.start(relay, size)?,
        };
        there.exec.resize(size);
        let (history, output) = there.shown.see();
        let viewer = Viewer { input: there.input.clone(), history, output };
        *shell = Some(there);
        Ok(viewer)
    }

    /// The terminal of somebody who sees it has another size now.
    pub(super) fn resize(&self, size: TtySize) {
        if let Some(shell) = &*self.shell() {
            shell.exec.resize(size);
        }
    }

    /// The machine that it was in is gone.
    pub(super) fn forget(&self) {
        *self.shell() = None;
    }

    fn start(&self, relay: &Relay, size: TtySize) -> Result<Shell, RunError> {
        let gone = || RunError::NoWorkspace(self.directory.display().to_string());
        let manifest = Manifest::read(&self.directory)?.ok_or_else(gone)?;
        let request = manifest.request()?;
        let argv = vec![request.shell.clone()];
        let hostname = request.guest_hostname();
        let around = request.surroundings();
        let exec =
            exec_request(relay.next_id(), argv, &manifest.defaults, &around, &hostname, true);
        let exec = with_terminal(exec, Some(size));
        Ok(Shell::open(Shown::new(), |io| relay.session().exec(exec, io)))
    }

    /// Has the workspace's command run here, which is started with these streams. What it prints
    /// is kept in the log as well.
    pub(super) fn hold(&self, log: &OutputLog, start: impl FnOnce(ExecIo) -> Exec) -> Arc<Exec> {
        let shown = Shown(Arc::new(Mutex::new(Screen::new(Some(log.clone())))));
        let shell = Shell::open(shown, start);
        let exec = shell.exec.clone();
        *self.shell() = Some(shell);
        exec
    }

    fn shell(&self) -> MutexGuard<'_, Option<Shell>> {
        // No code panics while it holds the lock; if some did, the shell would still be whole.
        self.shell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shell {
    /// Starts it with the streams of a terminal.
    fn open(shown: Shown, start: impl FnOnce(ExecIo) -> Exec) -> Self {
        let (sink, source) = duplex(PIECE);
        let (input, typed) = mpsc::channel(AHEAD);
        let exec = Arc::new(start(ExecIo {
            stdin: Some(Box::new(source)),
            stdout: shown.sink(),
            stderr: Box::new(tokio::io::sink()),
        }));
        tokio::spawn(type_in(typed, sink, exec.clone()));
        Self { exec, input, shown }
    }
}

/// Moves what is typed to the shell, until that ends.
async fn type_in(mut typed: mpsc::Receiver<Vec<u8>>, mut sink: DuplexStream, exec: Arc<Exec>) {
    let typing = async {
        while let Some(bytes) = typed.recv().await {
            if sink.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = typing => {}
        // With its receiver gone, those who see it know that it has ended.
        _ = exec.wait() => {}
    }
}

impl Viewer {
    /// Shows the client what was and is shown, and types what it types, until either is gone.
    pub(super) async fn attend(mut self, stream: UnixStream) -> io::Result<()> {
        let (mut source, mut sink) = stream.into_split();
        sink.write_all(&self.history).await?;
        let mut buffer = vec![0; PIECE];
        loop {
            tokio::select! {
                read = source.read(&mut buffer) => {
                    let read = read?;
                    if read == 0 {
                        return Ok(());
                    }
                    let bytes = buffer.get(..read).unwrap_or_default().to_owned();
                    if self.input.send(bytes).await.is_err() {
                        return Ok(());
                    }
                }
                shown = self.output.recv() => match shown {
                    Ok(bytes) => sink.write_all(&bytes).await?,
                    // Too far behind, or nothing more will come.
                    Err(_) => return Ok(()),
                },
                () = self.input.closed() => {
                    while let Ok(bytes) = self.output.try_recv() {
                        sink.write_all(&bytes).await?;
                    }
                    return Ok(());
                }
            }
        }
    }
}

impl Shown {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Screen::new(None))))
    }

    /// Where to write to it. It never waits: whoever does not look in time misses it.
    fn sink(&self) -> Sink {
        let shown = self.clone();
        sink_to(move |bytes| shown.show(bytes))
    }

    /// What was shown, and whatever comes after exactly that.
    fn see(&self) -> (Vec<u8>, broadcast::Receiver<Arc<[u8]>>) {
        let screen = self.screen();
        (screen.history.iter().copied().collect(), screen.viewers.subscribe())
    }

    fn show(&self, bytes: &[u8]) {
        let mut screen = self.screen();
        screen.history.extend(bytes);
        let surplus = screen.history.len().saturating_sub(HISTORY);
        screen.history.drain(..surplus);
        if let Some(log) = &screen.log {
            log.keep(bytes);
        }
        // An error is that nobody looks.
        let _ = screen.viewers.send(bytes.into());
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_later_sees_the_last_of_it_and_all_that_follows() {
        let shown = Shown::new();
        shown.show(&[b'a'; HISTORY]);
        shown.show(b"bc");
        let (history, mut output) = shown.see();
        assert_eq!((history.len(), &history[HISTORY - 3..]), (HISTORY, &b"abc"[..]));
        shown.show(b"d");
        assert_eq!(&*output.recv().await.unwrap(), b"d");
    }
}
