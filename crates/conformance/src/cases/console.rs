//! What the guest says is kept.

use microagent_backend::Exit;

use crate::bare::BareBzImages;
use crate::case::case;
use crate::failure::{Result, same};
use crate::{Case, Context, End, Guests, Script, Step};

pub(super) const CASES: &[Case] = &[
    case!(T1, [Console, BootVmlinux], what_the_guest_says_is_on_the_console),
    case!(T1, [Console, BootBzimage], a_compressed_kernel_boots_too),
    case!(T1, [Console], a_console_can_be_read_by_another_handle),
];

async fn what_the_guest_says_is_on_the_console(context: Context) -> Result {
    let script = Script::new([Step::say("first-words"), Step::say("last-words")], End::Reset);
    let subject = context.make("m", &context.spec(&script)?).await?;
    subject.machine.start().await?;
    subject.exit().await?;
    subject.has_said("first-words")?;
    subject.has_said("last-words")?;
    let end = subject.machine.console().last(3)?;
    same("length of the last 3 bytes", end.len(), 3)?;
    subject.destroyed().await
}

async fn a_compressed_kernel_boots_too(context: Context) -> Result {
    let script = Script::new([Step::say("hello")], End::Reset);
    let mut spec = context.idle()?;
    spec.boot = Some(BareBzImages.boot(&context.scratch, &script)?);
    let subject = context.make("m", &spec).await?;
    subject.machine.start().await?;
    same("exit", subject.exit().await?, Exit::Reset)?;
    subject.has_said("hello")?;
    subject.destroyed().await
}

async fn a_console_can_be_read_by_another_handle(context: Context) -> Result {
    let script = Script::new([Step::say("hello")], End::Reset);
    let subject = context.make("m", &context.spec(&script)?).await?;
    let opened = context.backend.open(&subject.dir).await?;
    subject.machine.start().await?;
    subject.exit().await?;
    same("console", opened.console().last(1 << 20)?, subject.said()?.into_bytes())?;
    subject.has_said("hello")?;
    subject.destroyed().await
}
