//! Guests that end by themselves, and never begin again.

use microagent_backend::{ErrorKind, Exit, PowerOff, State};

use crate::case::case;
use crate::failure::{Result, refused, same};
use crate::{Case, Context, End, Script, Step};

pub(super) const CASES: &[Case] = &[
    case!(T1, [], a_guest_that_resets_boots_once),
    case!(T1, [], guests_that_reset_at_once_boot_once_each),
    case!(T1, [], a_guest_that_panics_is_told_from_one_that_resets),
    case!(T1, [], a_guest_that_powers_off_ends),
    case!(T1, [Detached], an_end_can_be_read_later_by_another_handle),
];

/// Runs a guest to its end; its exit, and how often it said that it began.
async fn ended(context: &Context, end: End) -> Result<(Exit, usize)> {
    let spec = context.spec(&Script::new([Step::say("begun")], end))?;
    let subject = context.make("m", &spec).await?;
    subject.machine.start().await?;
    let exit = subject.exit().await?;
    subject.is(State::Stopped).await?;
    refused("start", subject.machine.start().await, &[ErrorKind::InvalidState])?;
    let begun = subject.said()?.matches("begun").count();
    subject.destroyed().await?;
    Ok((exit, begun))
}

async fn a_guest_that_resets_boots_once(context: Context) -> Result {
    same("exit and boots", ended(&context, End::Reset).await?, (Exit::Reset, 1))
}

/// How many guests try to be faster than whoever has to end them.
const GUESTS: usize = 5;

async fn guests_that_reset_at_once_boot_once_each(context: Context) -> Result {
    let spec = context.spec(&Script::new([Step::say("begun")], End::Reset))?;
    for n in 0..GUESTS {
        let subject = context.make(&format!("m{n}"), &spec).await?;
        subject.machine.start().await?;
        same("exit", subject.exit().await?, Exit::Reset)?;
        same("boots", subject.said()?.matches("begun").count(), 1)?;
        subject.destroyed().await?;
    }
    Ok(())
}

async fn a_guest_that_panics_is_told_from_one_that_resets(context: Context) -> Result {
    same("exit and boots", ended(&context, End::Panic).await?, (Exit::Panic, 1))
}

async fn a_guest_that_powers_off_ends(context: Context) -> Result {
    let expect = match context.caps().await?.power_off {
        PowerOff::Reset => Exit::Reset,
        PowerOff::Acpi | PowerOff::ExitPort => Exit::PowerOff,
    };
    same("exit and boots", ended(&context, End::PowerOff).await?, (expect, 1))
}

async fn an_end_can_be_read_later_by_another_handle(context: Context) -> Result {
    let spec = context.spec(&Script::new([], End::Panic))?;
    let mut subject = context.make_detached("m", &spec).await?;
    subject.machine.start().await?;
    same("exit", subject.exit().await?, Exit::Panic)?;
    subject.machine = context.backend.open(&subject.dir).await?;
    subject.is(State::Stopped).await?;
    same("exit by another handle", subject.exit().await?, Exit::Panic)?;
    subject.destroyed().await
}
