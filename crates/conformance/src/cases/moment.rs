//! An operation at the wrong moment is `InvalidState` and changes nothing.

use microagent_backend::{Error, ErrorKind, Machine, State};

use crate::bench::Subject;
use crate::case::case;
use crate::failure::{Failure, Result, refused};
use crate::{Case, Context};

pub(super) const CASES: &[Case] = &[
    case!(T0, [], start_twice_is_invalid_state),
    case!(T0, [], start_after_the_end_is_invalid_state),
    case!(T0, [Pause], pause_before_the_start_is_invalid_state),
    case!(T0, [Pause], pause_twice_is_invalid_state),
    case!(T0, [Pause], resume_of_a_running_machine_is_invalid_state),
    case!(T0, [Pause], pause_after_the_end_is_invalid_state),
    case!(T0, [Pause], start_of_a_paused_machine_is_invalid_state),
];

const WRONG: &[ErrorKind] = &[ErrorKind::InvalidState];

async fn made(context: &Context) -> Result<Subject> {
    context.make("m", &context.idle()?).await
}

async fn started(context: &Context) -> Result<Subject> {
    let subject = made(context).await?;
    subject.machine.start().await?;
    Ok(subject)
}

async fn pause(machine: &dyn Machine) -> Result<std::result::Result<(), Error>> {
    let part = machine.as_pause().ok_or_else(|| Failure::broken("no such part"))?;
    Ok(part.pause().await)
}

async fn resume(machine: &dyn Machine) -> Result<std::result::Result<(), Error>> {
    let part = machine.as_pause().ok_or_else(|| Failure::broken("no such part"))?;
    Ok(part.resume().await)
}

async fn start_twice_is_invalid_state(context: Context) -> Result {
    let subject = started(&context).await?;
    refused("second start", subject.machine.start().await, WRONG)?;
    subject.is(State::Running).await?;
    let opened = context.backend.open(&subject.dir).await?;
    refused("start by another handle", opened.start().await, WRONG)?;
    subject.is(State::Running).await?;
    subject.destroyed().await
}

async fn start_after_the_end_is_invalid_state(context: Context) -> Result {
    let subject = made(&context).await?;
    subject.machine.kill().await?;
    refused("start", subject.machine.start().await, WRONG)?;
    subject.is(State::Stopped).await?;
    subject.destroyed().await
}

async fn pause_before_the_start_is_invalid_state(context: Context) -> Result {
    let subject = made(&context).await?;
    refused("pause", pause(&*subject.machine).await?, WRONG)?;
    refused("resume", resume(&*subject.machine).await?, WRONG)?;
    subject.is(State::Created).await?;
    subject.destroyed().await
}

async fn pause_twice_is_invalid_state(context: Context) -> Result {
    let subject = started(&context).await?;
    pause(&*subject.machine).await??;
    refused("second pause", pause(&*subject.machine).await?, WRONG)?;
    subject.is(State::Paused).await?;
    resume(&*subject.machine).await??;
    subject.is(State::Running).await?;
    subject.destroyed().await
}

async fn resume_of_a_running_machine_is_invalid_state(context: Context) -> Result {
    let subject = started(&context).await?;
    refused("resume", resume(&*subject.machine).await?, WRONG)?;
    subject.is(State::Running).await?;
    subject.destroyed().await
}

async fn pause_after_the_end_is_invalid_state(context: Context) -> Result {
    let subject = started(&context).await?;
    subject.machine.kill().await?;
    refused("pause", pause(&*subject.machine).await?, WRONG)?;
    refused("resume", resume(&*subject.machine).await?, WRONG)?;
    subject.is(State::Stopped).await?;
    subject.destroyed().await
}

async fn start_of_a_paused_machine_is_invalid_state(context: Context) -> Result {
    let subject = started(&context).await?;
    pause(&*subject.machine).await??;
    refused("start", subject.machine.start().await, WRONG)?;
    subject.is(State::Paused).await?;
    subject.destroyed().await
}
