//! Signals that are passed on to a run.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// The signals that a terminal, a service manager or a user sends to end a program.
const FORWARDED: [SignalKind; 4] =
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];

/// How many may wait to be looked at; more of them say nothing new.
const BACKLOG: usize = 16;

/// Takes these signals from now on and hands them over by number.
pub(crate) fn forward() -> std::io::Result<mpsc::Receiver<i32>> {
    Ok(forward_with()?.1)
}

/// The same, with where others tell of what is as good as a signal.
pub(crate) fn forward_with() -> std::io::Result<(mpsc::Sender<i32>, mpsc::Receiver<i32>)> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    for kind in FORWARDED {
        let mut stream = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                // A full channel holds enough of them.
                let _ = sender.try_send(kind.as_raw_value());
            }
        });
    }
    Ok((sender, receiver))
}
