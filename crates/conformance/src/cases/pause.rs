//! A paused guest stands still.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use microagent_backend::{Exit, Pause, State};
use tokio::time::{Instant, timeout};

use crate::bench::{END_WITHIN, Subject};
use crate::case::case;
use crate::failure::{Failure, Result, require, same};
use crate::{Case, Context, End, Script, Step};

pub(super) const CASES: &[Case] = &[
    case!(T3, [Pause, Console], a_paused_guest_stands_still_and_goes_on),
    case!(T3, [Pause], a_machine_paused_by_one_handle_is_resumed_by_another),
    case!(T3, [Pause], whoever_waits_and_is_not_polled_holds_nobody_up),
];

/// How long what is on its way from guest to console may take.
const SETTLE: Duration = Duration::from_millis(300);
/// How long a paused guest is looked at: many ticks of a running one.
const LOOK: Duration = Duration::from_millis(700);
/// How long a few questions to a monitor may take on a busy host.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

fn part(subject: &Subject) -> Result<&dyn Pause> {
    subject.machine.as_pause().ok_or_else(|| Failure::broken("no such part"))
}

/// Waits until the guest has said more than `len` bytes.
async fn says_more_than(subject: &Subject, len: usize) -> Result {
    let deadline = Instant::now() + END_WITHIN;
    while subject.said()?.len() <= len {
        require(Instant::now() < deadline, || format!("the guest says no more than {len} bytes"))?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn ticking(context: &Context) -> Result<Subject> {
    let spec = context.spec(&Script::new([Step::Ticks(100_000)], End::Never))?;
    let subject = context.make("m", &spec).await?;
    subject.machine.start().await?;
    says_more_than(&subject, 3).await?;
    Ok(subject)
}

async fn a_paused_guest_stands_still_and_goes_on(context: Context) -> Result {
    let subject = ticking(&context).await?;
    part(&subject)?.pause().await?;
    subject.is(State::Paused).await?;
    tokio::time::sleep(SETTLE).await;
    let len = subject.said()?.len();
    tokio::time::sleep(LOOK).await;
    let later = subject.said()?.len();
    require(later == len, || format!("paused, it went on from {len} to {later} bytes"))?;
    part(&subject)?.resume().await?;
    subject.is(State::Running).await?;
    says_more_than(&subject, len).await?;
    subject.destroyed().await
}

async fn a_machine_paused_by_one_handle_is_resumed_by_another(context: Context) -> Result {
    let mut subject = ticking(&context).await?;
    part(&subject)?.pause().await?;
    subject.machine = context.backend.open(&subject.dir).await?;
    subject.is(State::Paused).await?;
    part(&subject)?.resume().await?;
    subject.is(State::Running).await?;
    subject.destroyed().await
}

/// Polls a future once, whoever would wake it.
async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// A `wait` is begun, and polled only between what else is asked, when it has just heard that
/// the guest stands still: whatever it then asks of the monitor, it is left in the middle of.
async fn whoever_waits_and_is_not_polled_holds_nobody_up(context: Context) -> Result {
    let subject = context.make("m", &context.idle()?).await?;
    subject.machine.start().await?;
    let mut end = pin!(subject.machine.wait(END_WITHIN));
    for _ in 0..3 {
        still_waits(end.as_mut()).await?;
        in_time("pause", async { Ok(part(&subject)?.pause().await?) }).await?;
        still_waits(end.as_mut()).await?;
        in_time("state when paused", subject.is(State::Paused)).await?;
        still_waits(end.as_mut()).await?;
        in_time("counters", counters(&subject)).await?;
        in_time("resume", async { Ok(part(&subject)?.resume().await?) }).await?;
        still_waits(end.as_mut()).await?;
        in_time("state when resumed", subject.is(State::Running)).await?;
    }
    in_time("kill", async { Ok(subject.machine.kill().await?) }).await?;
    same("exit", end.await?, Some(Exit::Killed))?;
    subject.destroyed().await
}

/// Polls a wait for a machine's end once, and fails if there is one.
async fn still_waits<F>(end: Pin<&mut F>) -> Result
where
    F: Future<Output = microagent_backend::Result<Option<Exit>>> + ?Sized,
{
    match poll_once(end).await {
        None => Ok(()),
        Some(exit) => Err(Failure::broken(format!("a machine that goes on ended: {:?}", exit?))),
    }
}

async fn in_time(what: &str, asked: impl Future<Output = Result>) -> Result {
    let late = |_| Failure::broken(format!("{what} is not over within {ANSWER_WITHIN:?}"));
    timeout(ANSWER_WITHIN, asked).await.map_err(late)?
}

async fn counters(subject: &Subject) -> Result {
    match subject.machine.as_stats() {
        Some(stats) => Ok(stats.read().await.map(drop)?),
        None => Ok(()),
    }
}
