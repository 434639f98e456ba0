//! A paused guest stands still.

use std::time::Duration;

use microagent_backend::{Pause, State};
use tokio::time::Instant;

use crate::bench::{END_WITHIN, Subject};
use crate::case::case;
use crate::failure::{Failure, Result, require};
use crate::{Case, Context, End, Script, Step};

pub(super) const CASES: &[Case] = &[
    case!(T3, [Pause, Console], a_paused_guest_stands_still_and_goes_on),
    case!(T3, [Pause], a_machine_paused_by_one_handle_is_resumed_by_another),
];

/// How long what is on its way from guest to console may take.
const SETTLE: Duration = Duration::from_millis(300);
/// How long a paused guest is looked at: many ticks of a running one.
const LOOK: Duration = Duration::from_millis(700);

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
