//! Guests that use their devices.

use std::fs;

use microagent_backend::State;
use microagent_machine::{Access, DiskId, MachineSpec};

use crate::bench::Subject;
use crate::case::case;
use crate::failure::{Failure, Result, require};
use crate::{Case, Context, End, Script, Step};

pub(super) const CASES: &[Case] = &[
    case!(T2, [Disk], what_the_guest_writes_is_in_the_image),
    case!(T2, [ReadOnlyDisk], a_read_only_disk_is_read_and_refuses_writes),
    case!(T2, [Disk, ReadOnlyDisk], disks_are_told_apart_by_their_names),
    case!(T2, [MultipleVcpus], every_vcpu_runs),
    case!(T2, [Rng], the_source_of_entropy_gives),
];

fn id(text: &str) -> Result<DiskId> {
    DiskId::new(text).map_err(|e| Failure::broken(e.to_string()))
}

/// Runs steps to the guest's end, on a machine that `change` adds devices to.
async fn run(
    context: &Context,
    steps: Vec<Step>,
    change: impl FnOnce(&mut MachineSpec) -> Result,
) -> Result<Subject> {
    let mut spec = context.device_spec(&Script { steps, end: End::PowerOff })?;
    change(&mut spec)?;
    let subject = context.make("m", &spec).await?;
    subject.machine.start().await?;
    subject.exit().await?;
    subject.is(State::Stopped).await?;
    Ok(subject)
}

async fn what_the_guest_writes_is_in_the_image(context: Context) -> Result {
    let disk = context.disk("data", Access::ReadWrite, "as-it-was")?;
    let path = disk.path.clone();
    let steps = vec![Step::Write { disk: id("data")?, text: "by-the-guest".to_owned() }];
    let subject = run(&context, steps, |spec| {
        spec.disks.push(disk);
        Ok(())
    })
    .await?;
    let image = fs::read(path)?;
    require(image.starts_with(b"by-the-guest"), || {
        format!("the image begins with {:?}", String::from_utf8_lossy(&image[..12]))
    })?;
    subject.destroyed().await
}

async fn a_read_only_disk_is_read_and_refuses_writes(context: Context) -> Result {
    let disk = context.disk("fixed", Access::ReadOnly, "as-it-was\n")?;
    let path = disk.path.clone();
    let before = fs::read(&path)?;
    let steps = vec![
        Step::Read { disk: id("fixed")? },
        Step::Write { disk: id("fixed")?, text: "by-the-guest".to_owned() },
    ];
    let subject = run(&context, steps, |spec| {
        spec.disks.push(disk);
        Ok(())
    })
    .await?;
    subject.has_said("as-it-was")?;
    subject.has_said("refused")?;
    require(fs::read(path)? == before, || "the image has changed".to_owned())?;
    subject.destroyed().await
}

async fn disks_are_told_apart_by_their_names(context: Context) -> Result {
    let names = ["zulu", "alpha", "mike"];
    let steps = names.map(|name| Ok(Step::Read { disk: id(name)? }));
    let steps = steps.into_iter().collect::<Result<Vec<_>>>()?;
    let subject = run(&context, steps, |spec| {
        for (n, name) in names.iter().enumerate() {
            let access = if n == 1 { Access::ReadWrite } else { Access::ReadOnly };
            spec.disks.push(context.disk(name, access, &format!("this-is-{name}\n"))?);
        }
        Ok(())
    })
    .await?;
    let said = subject.said()?;
    let places = names.map(|name| said.find(&format!("this-is-{name}")));
    require(places.iter().all(Option::is_some) && places.is_sorted(), || {
        format!("disks were read as {said:?}")
    })?;
    subject.destroyed().await
}

async fn every_vcpu_runs(context: Context) -> Result {
    let subject = run(&context, vec![Step::CountCpus], |spec| {
        spec.vcpus = 2;
        Ok(())
    })
    .await?;
    subject.has_said("cpus=2")?;
    subject.destroyed().await
}

async fn the_source_of_entropy_gives(context: Context) -> Result {
    let subject = run(&context, vec![Step::TryRng], |spec| {
        spec.rng = true;
        Ok(())
    })
    .await?;
    subject.has_said("rng=yes")?;
    subject.destroyed().await
}
