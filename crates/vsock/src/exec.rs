//! A command in the guest.

use std::fmt;
use std::io;
use std::sync::Arc;

use microagent_guest_protocol::{ExitStatus, HostMessage, Stream, TtySize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::SessionError;
use crate::input;
use crate::output::{Output, Pump};
use crate::shared::{Progress, Running, Shared};

/// Where a command's standard input comes from.
pub type Source = Box<dyn AsyncRead + Send + Unpin>;
/// Where an output of a command goes.
pub type Sink = Box<dyn AsyncWrite + Send + Unpin>;

/// The host's side of a command's streams.
pub struct ExecIo {
    /// Sent if the request asks for standard input; without it, the command then sees the
    /// end at once.
    pub stdin: Option<Source>,
    /// Takes standard output; with a terminal, both outputs.
    pub stdout: Sink,
    /// Takes standard error.
    pub stderr: Sink,
}

/// A sink that failed, as standard output does when `head` has seen enough. The rest of that
/// output is thrown away; whether the command should go on is up to who started it.
#[derive(Debug, Clone)]
pub struct BrokenSink {
    /// Which output.
    pub stream: Stream,
    /// How.
    pub error: Arc<io::Error>,
}

/// A command that was asked for.
///
/// Dropping it does not end the command; its output is then no more taken, and it stops when
/// it has written more than fits under way.
#[derive(Debug)]
pub struct Exec {
    id: u32,
    shared: Arc<Shared>,
    running: Arc<Running>,
    input: Option<AbortHandle>,
    stdout: Pumping,
    stderr: Pumping,
    broken: watch::Receiver<Option<BrokenSink>>,
}

/// What is asked for under an id.
pub(crate) struct Asked {
    pub(crate) id: u32,
    /// Whether standard input will be sent.
    pub(crate) input: bool,
    pub(crate) message: HostMessage,
}

/// A running [`Pump`].
struct Pumping {
    task: Option<JoinHandle<Sink>>,
    stop: watch::Sender<bool>,
    done: watch::Receiver<bool>,
}

impl Exec {
    pub(crate) fn start(shared: &Arc<Shared>, asked: Asked, io: ExecIo) -> Self {
        let Asked { id, input: wants_input, message } = asked;
        let running = Arc::new(Running::new());
        let asked = shared.add(id, &running).and_then(|()| shared.outbox.send(&message));
        if let Err(error) = asked {
            running.end(Progress::Lost(error));
        }
        let (broken_sender, broken) = watch::channel(None);
        let pump = |stream, output: &Arc<Output>| Pump {
            id,
            stream,
            output: output.clone(),
            outbox: shared.outbox.clone(),
            broken: broken_sender.clone(),
        };
        let stdout = Pumping::start(pump(Stream::Stdout, &running.stdout), io.stdout);
        let stderr = Pumping::start(pump(Stream::Stderr, &running.stderr), io.stderr);
        let input = wants_input.then(|| {
            let source = io.stdin.unwrap_or_else(|| Box::new(tokio::io::empty()));
            let outbox = shared.outbox.clone();
            tokio::spawn(input::pump(id, source, running.clone(), outbox)).abort_handle()
        });
        Self { id, shared: shared.clone(), running, input, stdout, stderr, broken }
    }

    /// Waits until the command runs, and gives its process id in the guest; none if it could
    /// not be started, which [`Exec::wait`] explains.
    ///
    /// # Errors
    /// How the session ended, if it did before.
    pub async fn started(&self) -> Result<Option<u32>, SessionError> {
        let mut progress = self.running.progress.subscribe();
        let progress = progress.wait_for(|progress| !matches!(progress, Progress::Starting)).await;
        match progress.map_err(|_| SessionError::Lost)?.clone() {
            Progress::Started(pid) => Ok(Some(pid)),
            Progress::Starting | Progress::Exited(_) => Ok(None),
            Progress::Lost(error) => Err(error),
        }
    }

    /// Waits until the command has ended and its sinks have taken all its output. To be
    /// called as often as one likes; dropping the future loses nothing.
    ///
    /// # Errors
    /// How the session ended, if it did before; the sinks have then taken what had come.
    pub async fn wait(&self) -> Result<ExitStatus, SessionError> {
        let mut progress = self.running.progress.subscribe();
        let over =
            |progress: &Progress| matches!(progress, Progress::Exited(_) | Progress::Lost(_));
        let progress = progress.wait_for(over).await.map_err(|_| SessionError::Lost)?.clone();
        if let Some(input) = &self.input {
            input.abort();
        }
        self.stdout.done().await;
        self.stderr.done().await;
        match progress {
            Progress::Exited(status) => Ok(status),
            Progress::Lost(error) => Err(error),
            Progress::Starting | Progress::Started(_) => Err(SessionError::Lost),
        }
    }

    /// Waits until one of the sinks has failed; forever if none does.
    pub async fn broken(&self) -> BrokenSink {
        let mut broken = self.broken.clone();
        let failed = broken.wait_for(Option::is_some).await.ok().and_then(|broken| broken.clone());
        match failed {
            Some(broken) => broken,
            None => std::future::pending().await,
        }
    }

    /// Sends a signal to the command's process group; without effect once it has ended.
    /// `signal` is a number of Linux on the guest's architecture.
    pub fn signal(&self, signal: i32) {
        self.tell(&HostMessage::Signal { id: self.id, signal });
    }

    /// Tells the command the new size of its terminal.
    pub fn resize(&self, size: TtySize) {
        self.tell(&HostMessage::Resize { id: self.id, size });
    }

    /// Gives back standard output and standard error. What they have not taken yet is thrown
    /// away: [`Exec::wait`] first, unless the command is given up.
    pub async fn into_sinks(mut self) -> (Sink, Sink) {
        (self.stdout.stop().await, self.stderr.stop().await)
    }

    fn tell(&self, message: &HostMessage) {
        // Numbers only: they fit into a frame.
        let _ = self.shared.outbox.send(message);
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        if let Some(input) = &self.input {
            input.abort();
        }
        for pumping in [&self.stdout, &self.stderr] {
            pumping.stop.send_replace(true);
        }
    }
}

impl Pumping {
    fn start(pump: Pump, mut sink: Sink) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let (finished, done) = watch::channel(false);
        let task = tokio::spawn(async move {
            tokio::select! {
                // The output first: what can be written is, even if it shall stop.
                biased;
                () = pump.run(&mut sink) => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
            finished.send_replace(true);
            sink
        });
        Self { task: Some(task), stop, done }
    }

    async fn done(&self) {
        // An error means that the task is gone, so nothing more is written either.
        let _ = self.done.clone().wait_for(|done| *done).await;
    }

    async fn stop(&mut self) -> Sink {
        self.stop.send_replace(true);
        let sink = match self.task.take() {
            Some(task) => task.await.ok(),
            None => None,
        };
        // Only a sink that panicked is lost.
        sink.unwrap_or_else(|| Box::new(tokio::io::sink()))
    }
}

impl fmt::Debug for Pumping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pumping").field("done", &*self.done.borrow()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ExecIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecIo").field("stdin", &self.stdin.is_some()).finish_non_exhaustive()
    }
}
