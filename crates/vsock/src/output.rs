//! One output of a command on its way to a sink.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use microagent_guest_protocol::{HostMessage, Stream, WINDOW};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, watch};

use crate::SessionError;
use crate::exec::{BrokenSink, Sink};
use crate::shared::Outbox;

/// Credit is given back in pieces of at least this, not for every few bytes.
const CREDIT: u32 = WINDOW / 4;

/// Received bytes that the sink has not taken: at most [`WINDOW`].
#[derive(Debug, Default)]
pub(crate) struct Output {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Received and not given back as credit.
    under_way: u32,
    ended: bool,
}

impl Output {
    /// Takes what the guest sent, if it had the credit for it.
    pub(crate) fn push(&self, bytes: &[u8]) -> Result<(), SessionError> {
        let mut queue = self.queue();
        if queue.ended {
            return Err(SessionError::Protocol("output after its end".to_owned()));
        }
        let under_way =
            u32::try_from(bytes.len()).ok().and_then(|n| queue.under_way.checked_add(n));
        let under_way = under_way.filter(|bytes| *bytes <= WINDOW);
        queue.under_way = under_way.ok_or_else(|| {
            SessionError::Protocol("more output than it had credit for".to_owned())
        })?;
        queue.bytes.extend_from_slice(bytes);
        drop(queue);
        self.changed.notify_one();
        Ok(())
    }

    /// Nothing more will come. More than one end is as good as one.
    pub(crate) fn end(&self) {
        self.queue().ended = true;
        self.changed.notify_one();
    }

    /// All there is, as soon as there is any; none at the end.
    async fn take(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut queue = self.queue();
                if !queue.bytes.is_empty() {
                    return Some(std::mem::take(&mut queue.bytes));
                }
                if queue.ended {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn give_back(&self, bytes: u32) {
        let mut queue = self.queue();
        queue.under_way = queue.under_way.saturating_sub(bytes);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds the lock; if some did, the queue would still be whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that moves an output to its sink.
pub(crate) struct Pump {
    pub(crate) id: u32,
    pub(crate) stream: Stream,
    pub(crate) output: Arc<Output>,
    pub(crate) outbox: Outbox,
    /// Where a failed sink is reported.
    pub(crate) broken: watch::Sender<Option<BrokenSink>>,
}

impl Pump {
    /// Moves everything up to the end of the output, flushes, and gives the sink back. After
    /// an error of the sink the rest is thrown away.
    pub(crate) async fn run(self, sink: &mut Sink) {
        let mut sound = true;
        let mut owed = 0;
        while let Some(bytes) = self.output.take().await {
            if sound && let Err(error) = write(sink, &bytes).await {
                sound = false;
                self.report(error);
            }
            owed += u32::try_from(bytes.len()).unwrap_or(WINDOW);
            if owed >= CREDIT {
                self.credit(owed).await;
                owed = 0;
            }
        }
    }

    async fn credit(&self, bytes: u32) {
        let credit = HostMessage::Credit { id: self.id, stream: self.stream, bytes };
        let Ok(frame) = credit.to_frame() else { return };
        let Ok(place) = self.outbox.flow.reserve().await else { return };
        // Before the guest can know of it.
        self.output.give_back(bytes);
        place.send(frame);
    }

    fn report(&self, error: io::Error) {
        tracing::debug!(id = self.id, stream = ?self.stream, %error, "a sink failed");
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            if first {
                *broken = Some(BrokenSink { stream: self.stream, error: Arc::new(error) });
            }
            first
        });
    }
}

/// Flushed with every write: output is streamed, not collected.
async fn write(sink: &mut Sink, bytes: &[u8]) -> io::Result<()> {
    sink.write_all(bytes).await?;
    sink.flush().await
}
