//! `wait`, `kill` and `destroy`.

use std::time::{Duration, Instant};

use microagent_backend::{ErrorKind, Exit, RunDir, State};

use crate::case::case;
use crate::failure::{Result, refused, require, same};
use crate::{Case, Context};

pub(super) const CASES: &[Case] = &[
    case!(T0, [], wait_keeps_its_deadline),
    case!(T0, [], wait_by_two_handles_tells_both),
    case!(T0, [], kill_is_idempotent),
    case!(T0, [], kill_ends_a_machine_in_every_state),
    case!(T0, [], destroy_is_idempotent_and_leaves_nothing),
    case!(T0, [], destroy_leaves_nothing_in_every_state),
    case!(T0, [], nothing_is_found_where_nothing_is),
];

/// How much later than its deadline `wait` may return on a busy host.
const LATE: Duration = Duration::from_secs(3);

async fn wait_keeps_its_deadline(context: Context) -> Result {
    for (state, subject) in context.one_in_each_state().await? {
        for within in [0, 1, 300].map(Duration::from_millis) {
            let begun = Instant::now();
            let exit = subject.machine.wait(within).await?;
            same(&format!("wait for a {state:?} machine"), exit, None)?;
            let took = begun.elapsed();
            require(took >= within && took < within + LATE, || {
                format!("wait({within:?}) for a {state:?} machine took {took:?}")
            })?;
        }
        subject.destroyed().await?;
    }
    Ok(())
}

async fn wait_by_two_handles_tells_both(context: Context) -> Result {
    let subject = context.make("m", &context.idle()?).await?;
    let other = context.backend.open(&subject.dir).await?;
    subject.machine.start().await?;
    let killed = async {
        tokio::task::yield_now().await;
        subject.machine.kill().await
    };
    let (exit, seen, killed) =
        tokio::join!(subject.exit(), other.wait(crate::bench::END_WITHIN), killed);
    killed?;
    same("exit", exit?, Exit::Killed)?;
    same("exit by another handle", seen?, Some(Exit::Killed))?;
    subject.destroyed().await
}

async fn kill_is_idempotent(context: Context) -> Result {
    let subject = context.make("m", &context.idle()?).await?;
    subject.machine.start().await?;
    for _ in 0..3 {
        subject.machine.kill().await?;
        subject.is(State::Stopped).await?;
        same("exit", subject.exit().await?, Exit::Killed)?;
    }
    let opened = context.backend.open(&subject.dir).await?;
    opened.kill().await?;
    same("exit by another handle", opened.wait(LATE).await?, Some(Exit::Killed))?;
    subject.destroyed().await
}

async fn kill_ends_a_machine_in_every_state(context: Context) -> Result {
    for (state, subject) in context.one_in_each_state().await? {
        subject.machine.kill().await?;
        subject.is(State::Stopped).await?;
        same(&format!("exit of a {state:?} machine"), subject.exit().await?, Exit::Killed)?;
        subject.destroyed().await?;
    }
    Ok(())
}

async fn destroy_is_idempotent_and_leaves_nothing(context: Context) -> Result {
    let subject = context.make("m", &context.idle()?).await?;
    let other = context.backend.open(&subject.dir).await?;
    subject.machine.start().await?;
    subject.destroyed().await?;
    subject.destroyed().await?;
    other.destroy().await?;
    subject.is(State::Stopped).await?;
    refused("open", context.backend.open(&subject.dir).await, &[ErrorKind::NotFound])?;
    subject.is_gone().await
}

async fn destroy_leaves_nothing_in_every_state(context: Context) -> Result {
    for (_, subject) in context.one_in_each_state().await? {
        subject.destroyed().await?;
        refused("open", context.backend.open(&subject.dir).await, &[ErrorKind::NotFound])?;
    }
    let ended = context.make("ended", &context.idle()?).await?;
    ended.machine.kill().await?;
    ended.destroyed().await?;
    refused("open", context.backend.open(&ended.dir).await, &[ErrorKind::NotFound]).map(drop)
}

async fn nothing_is_found_where_nothing_is(context: Context) -> Result {
    let missing = RunDir::at(context.scratch.join("missing"));
    refused("open", context.backend.open(&missing).await, &[ErrorKind::NotFound])?;
    let empty = context.dir("empty")?;
    refused("open", context.backend.open(&empty).await, &[ErrorKind::NotFound]).map(drop)
}
