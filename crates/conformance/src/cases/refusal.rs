//! What is not declared is refused, and what is declared is offered.

use microagent_backend::{ErrorKind, Lifetime};
use microagent_machine::{Access, Boot, Cid, Feature, KernelFormat, MachineSpec, UserNet, Vsock};

use crate::bench::attached;
use crate::case::case;
use crate::failure::{Result, refused, require};
use crate::{Case, Context, traces};

pub(super) const CASES: &[Case] = &[
    case!(T0, [], what_is_not_declared_is_refused),
    case!(T0, [], what_is_declared_is_offered),
    case!(T0, [], two_disks_of_one_name_are_refused),
    case!(T0, [], a_machine_without_kernel_is_refused),
];

/// How a feature is asked for.
enum Wish {
    /// By the spec.
    Spec(MachineSpec),
    /// By the lifetime.
    Detached(MachineSpec),
    /// By a part of the machine.
    Pause(MachineSpec),
}

/// A machine that wants `feature` and as little else as can be.
fn wish(context: &Context, feature: Feature) -> Result<Wish> {
    let mut spec = context.idle()?;
    match feature {
        Feature::BootVmlinux => boot(&mut spec, KernelFormat::Vmlinux),
        Feature::BootBzimage => boot(&mut spec, KernelFormat::BzImage),
        Feature::Disk => spec.disks.push(context.disk("rw", Access::ReadWrite, "")?),
        Feature::ReadOnlyDisk => spec.disks.push(context.disk("ro", Access::ReadOnly, "")?),
        Feature::Vsock => spec.vsock = Some(Vsock { cid: Cid::GUEST }),
        Feature::Rng => spec.rng = true,
        Feature::UserNet => spec.net = Some(UserNet::default()),
        Feature::MultipleVcpus => spec.vcpus = 2,
        Feature::Console => (),
        Feature::Pause => return Ok(Wish::Pause(spec)),
        Feature::Detached => return Ok(Wish::Detached(spec)),
        other => {
            return require(false, || format!("no case knows how to ask for {other}"))
                .map(|()| Wish::Spec(spec));
        }
    }
    Ok(Wish::Spec(spec))
}

fn boot(spec: &mut MachineSpec, format: KernelFormat) {
    spec.boot = spec.boot.take().map(|boot| Boot { format, ..boot });
}

async fn what_is_not_declared_is_refused(context: Context) -> Result {
    let caps = context.caps().await?;
    for feature in Feature::ALL.iter().filter(|feature| !caps.features.contains(feature)) {
        let dir = context.dir(feature.name())?;
        let (life, lifetime) = attached(Vec::new())?;
        let (spec, lifetime) = match wish(&context, *feature)? {
            Wish::Spec(spec) => (spec, lifetime),
            Wish::Detached(spec) => (spec, Lifetime::Detached),
            Wish::Pause(spec) => {
                let machine = context.backend.create(&spec, &dir, lifetime).await?;
                require(machine.as_pause().is_none(), || "can pause undeclared".to_owned())?;
                machine.destroy().await?;
                continue;
            }
        };
        let made = context.backend.create(&spec, &dir, lifetime).await;
        refused(feature.name(), made, &[ErrorKind::Unsupported])?;
        let left = traces::files(dir.path());
        require(left.is_empty(), || format!("files left behind: {left:?}"))?;
        traces::no_process(dir.path()).await?;
        drop(life);
    }
    Ok(())
}

async fn what_is_declared_is_offered(context: Context) -> Result {
    // Other kinds of kernels cannot be made up; the cases that boot them do.
    let judged = |feature: &&Feature| **feature != Feature::BootBzimage;
    for feature in context.caps().await?.features.iter().filter(judged) {
        let name = feature.name();
        let subject = match wish(&context, *feature)? {
            Wish::Spec(spec) => context.make(name, &spec).await?,
            Wish::Detached(spec) => context.make_detached(name, &spec).await?,
            Wish::Pause(spec) => {
                let subject = context.make(name, &spec).await?;
                let pause = subject.machine.as_pause();
                require(pause.is_some(), || "declares pause and has no such part".to_owned())?;
                subject
            }
        };
        subject.destroyed().await?;
    }
    Ok(())
}

async fn two_disks_of_one_name_are_refused(context: Context) -> Result {
    let caps = context.caps().await?;
    if !caps.features.contains(&Feature::ReadOnlyDisk) || caps.limits.disks < 2 {
        return Ok(());
    }
    let mut spec = context.idle()?;
    let disk = context.disk("twice", Access::ReadOnly, "")?;
    spec.disks = vec![disk.clone(), disk];
    let (_life, lifetime) = attached(Vec::new())?;
    let made = context.backend.create(&spec, &context.dir("m")?, lifetime).await;
    refused("two disks of one name", made, &[ErrorKind::Usage]).map(drop)
}

async fn a_machine_without_kernel_is_refused(context: Context) -> Result {
    let mut spec = context.idle()?;
    spec.boot = None;
    let dir = context.dir("m")?;
    let (_life, lifetime) = attached(Vec::new())?;
    let made = context.backend.create(&spec, &dir, lifetime).await;
    refused("no kernel", made, &[ErrorKind::Usage]).map(drop)
}
