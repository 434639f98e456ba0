//! Standard input on its way to a command.

use std::sync::Arc;

use tokio::io::AsyncReadExt;

use crate::exec::Source;
use crate::frames::data_frame;
use crate::shared::{Outbox, Running};

/// How much is read and sent at once, in bytes: below the longest data frame.
const CHUNK: usize = 32 << 10;

/// Sends all of `source` as the guest gives credit for it, and then its end. An error of the
/// source is its end.
pub(crate) async fn pump(id: u32, mut source: Source, running: Arc<Running>, outbox: Outbox) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = source.read(&mut buffer).await.unwrap_or_else(|error| {
            tracing::warn!(id, %error, "standard input failed; the command sees its end");
            0
        });
        // Closed when the command has ended.
        let Ok(credit) = running.input.acquire_many(read as u32).await else { return };
        credit.forget();
        let frame = data_frame(id, buffer.get(..read).unwrap_or_default());
        if outbox.flow.send(frame).await.is_err() || read == 0 {
            return;
        }
    }
}
