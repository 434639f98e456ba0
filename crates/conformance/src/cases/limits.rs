//! The limit itself can be had, and one more is refused with both numbers.

use microagent_backend::{Capabilities, ErrorKind, State, admit};
use microagent_machine::{Access, Cid, DiskId, Feature, MachineSpec, MiB, Vsock};

use crate::bench::attached;
use crate::case::case;
use crate::failure::{Failure, Result, refused, require};
use crate::{Case, Context, End, Script, Step, traces};

pub(super) const CASES: &[Case] = &[
    case!(T0, [], one_vcpu_too_many_is_refused),
    case!(T0, [], no_vcpu_at_all_is_refused),
    case!(T0, [], one_mib_too_many_is_refused),
    case!(T0, [], as_many_disks_as_declared_can_be_had),
    case!(T0, [], one_disk_too_many_is_refused),
    case!(T2, [Disk], a_guest_uses_as_many_disks_as_declared),
];

/// Fails unless `spec`, which asks for one more than `limit`, is refused with both.
async fn too_many(context: &Context, spec: &MachineSpec, limit: u64) -> Result {
    let dir = context.dir("m")?;
    let (_life, lifetime) = attached(Vec::new())?;
    let made = context.backend.create(spec, &dir, lifetime).await;
    let error = refused("one too many", made, &[ErrorKind::Unsupported, ErrorKind::Exhausted])?;
    let text = format!("{} {}", error.message, error.hint.unwrap_or_default());
    for number in [limit, limit + 1] {
        let named = text.split(|c: char| !c.is_ascii_digit()).any(|n| n == number.to_string());
        require(named, || format!("'{text}' does not name {number}"))?;
    }
    traces::no_process(dir.path()).await
}

fn admitted(spec: &MachineSpec, caps: &Capabilities) -> Result {
    let rejections = admit(spec, caps);
    require(rejections.is_empty(), || format!("the limit itself is refused: {rejections:?}"))
}

async fn one_vcpu_too_many_is_refused(context: Context) -> Result {
    let caps = context.caps().await?;
    let mut spec = context.idle()?;
    spec.vcpus = caps.limits.vcpus;
    admitted(&spec, &caps)?;
    spec.vcpus += 1;
    too_many(&context, &spec, caps.limits.vcpus.into()).await
}

async fn no_vcpu_at_all_is_refused(context: Context) -> Result {
    let mut spec = context.idle()?;
    spec.vcpus = 0;
    let (_life, lifetime) = attached(Vec::new())?;
    let made = context.backend.create(&spec, &context.dir("m")?, lifetime).await;
    refused("no vCPU", made, &[ErrorKind::Unsupported, ErrorKind::Usage]).map(drop)
}

async fn one_mib_too_many_is_refused(context: Context) -> Result {
    let caps = context.caps().await?;
    let mut spec = context.idle()?;
    spec.memory = caps.limits.memory;
    admitted(&spec, &caps)?;
    spec.memory = MiB(spec.memory.0 + 1);
    too_many(&context, &spec, caps.limits.memory.0.into()).await
}

/// A machine with `count` disks, of whatever kind there is; `None` if there is none.
fn with_disks(context: &Context, caps: &Capabilities, count: u32) -> Result<Option<MachineSpec>> {
    let kinds = [(Feature::ReadOnlyDisk, Access::ReadOnly), (Feature::Disk, Access::ReadWrite)];
    let kind = kinds.iter().find(|(feature, _)| caps.features.contains(feature));
    let Some((_, access)) = kind else { return Ok(None) };
    let mut spec = context.idle()?;
    for n in 0..count {
        spec.disks.push(context.disk(&format!("d{n}"), *access, "")?);
    }
    Ok(Some(spec))
}

async fn as_many_disks_as_declared_can_be_had(context: Context) -> Result {
    let caps = context.caps().await?;
    let limit = caps.limits.disks_for(&context.idle()?);
    let Some(spec) = with_disks(&context, &caps, limit)? else { return Ok(()) };
    admitted(&spec, &caps)?;
    let subject = context.make("m", &spec).await?;
    // Some build their devices only now.
    subject.machine.start().await?;
    subject.is(State::Running).await?;
    subject.destroyed().await
}

async fn one_disk_too_many_is_refused(context: Context) -> Result {
    let caps = context.caps().await?;
    let limit = caps.limits.disks_for(&context.idle()?);
    let Some(spec) = with_disks(&context, &caps, limit + 1)? else { return Ok(()) };
    too_many(&context, &spec, limit.into()).await
}

/// Beside all other devices that there are: they share slots with disks.
async fn a_guest_uses_as_many_disks_as_declared(context: Context) -> Result {
    let caps = context.caps().await?;
    let mut other = context.idle()?;
    other.rng = caps.features.contains(&Feature::Rng);
    other.vsock = caps.features.contains(&Feature::Vsock).then_some(Vsock { cid: Cid::GUEST });
    let limit = caps.limits.disks_for(&other);
    let names: Vec<_> = (0..limit).map(|n| format!("d{n}")).collect();
    let mut steps = Vec::new();
    for name in &names {
        let disk = DiskId::new(name).map_err(|e| Failure::broken(e.to_string()))?;
        steps.push(Step::Read { disk });
    }
    let mut spec = context.device_spec(&Script::new(steps, End::PowerOff))?;
    (spec.rng, spec.vsock) = (other.rng, other.vsock);
    for name in &names {
        spec.disks.push(context.disk(name, Access::ReadWrite, &format!("this-is-{name}\n"))?);
    }
    admitted(&spec, &caps)?;
    let subject = context.make("m", &spec).await?;
    subject.machine.start().await?;
    subject.exit().await?;
    let said = subject.said()?;
    for name in &names {
        let told = said.lines().any(|line| line.trim_end() == format!("this-is-{name}"));
        require(told, || format!("{name} of {limit} disks was not read: {said:?}"))?;
    }
    subject.destroyed().await
}
