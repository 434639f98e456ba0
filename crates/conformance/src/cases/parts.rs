//! Parts that a machine may have and may lack: counters, a power button. A backend that lacks
//! one says nothing of it, so there is nothing to judge.

use microagent_backend::ErrorKind;
use microagent_machine::{Access, DiskId};

use crate::case::case;
use crate::failure::{Failure, Result, refused, require};
use crate::{Case, Context, End, Script, Step};

pub(super) const CASES: &[Case] = &[
    case!(T3, [Disk], what_a_disk_was_asked_for_is_counted),
    case!(T3, [], counters_end_with_the_machine),
    case!(T3, [], a_power_button_is_there_while_the_guest_runs),
];

async fn what_a_disk_was_asked_for_is_counted(context: Context) -> Result {
    let disk = context.disk("data", Access::ReadWrite, "as-it-was\n")?;
    let id = DiskId::new("data").map_err(|e| Failure::broken(e.to_string()))?;
    let steps = [Step::Read { disk: id }, Step::say("done")];
    let mut spec = context.device_spec(&Script::new(steps, End::Never))?;
    spec.disks.push(disk);
    let subject = context.make("m", &spec).await?;
    let Some(stats) = subject.machine.as_stats() else { return subject.destroyed().await };
    stats.read().await?;
    subject.machine.start().await?;
    subject.says("done").await?;
    let devices = stats.read().await?.devices;
    let disk = devices.iter().find(|device| device.name == "block:data");
    let counted = disk.is_some_and(|d| d.requests > 0 && d.bytes_to_guest >= 512);
    require(counted, || format!("a disk that was read is counted as {devices:?}"))?;
    subject.destroyed().await
}

async fn counters_end_with_the_machine(context: Context) -> Result {
    let subject = context.make("m", &context.idle()?).await?;
    let Some(stats) = subject.machine.as_stats() else { return subject.destroyed().await };
    stats.read().await?;
    subject.machine.start().await?;
    stats.read().await?;
    subject.machine.kill().await?;
    refused("counters", stats.read().await, &[ErrorKind::InvalidState])?;
    subject.destroyed().await
}

async fn a_power_button_is_there_while_the_guest_runs(context: Context) -> Result {
    let subject = context.make("m", &context.idle()?).await?;
    let Some(button) = subject.machine.as_power_button() else {
        return subject.destroyed().await;
    };
    refused("before the start", button.press().await, &[ErrorKind::InvalidState])?;
    subject.machine.start().await?;
    button.press().await?;
    subject.machine.kill().await?;
    refused("after the end", button.press().await, &[ErrorKind::InvalidState])?;
    subject.destroyed().await
}
