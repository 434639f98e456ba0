//! `create` gives a machine that is held, or leaves nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use microagent_backend::{ErrorKind, RunDir, State};
use microagent_machine::{Access, Boot, Disk, DiskId, Feature, MachineSpec};

use crate::bench::attached;
use crate::case::case;
use crate::failure::{Failure, Result, refused, require, same};
use crate::{Case, Context, End, Script, Step, traces};

pub(super) const CASES: &[Case] = &[
    case!(T0, [], a_created_machine_is_held),
    case!(T0, [], a_machine_that_cannot_be_built_leaves_nothing),
    case!(T0, [], a_kernel_that_is_none_leaves_nothing),
    case!(T0, [], a_directory_holds_one_machine),
    case!(T0, [], the_run_directory_may_be_deeper_than_a_socket_address),
    case!(T0, [Disk], a_writable_disk_belongs_to_one_machine),
    case!(T0, [Disk, ReadOnlyDisk], a_disk_that_is_read_has_many_readers_and_no_writer),
];

/// How long a held guest is looked at.
const LOOK: Duration = Duration::from_millis(300);

async fn a_created_machine_is_held(context: Context) -> Result {
    let spec = context.spec(&Script::new([Step::say("running")], End::Reset))?;
    let subject = context.make("m", &spec).await?;
    subject.is(State::Created).await?;
    same("wait", subject.machine.wait(LOOK).await?, None)?;
    subject.is(State::Created).await?;
    same("console", subject.said()?, String::new())?;
    let opened = context.backend.open(&subject.dir).await?;
    same("state by another handle", opened.state().await?, State::Created)?;
    subject.destroyed().await
}

/// Ways in which building a machine fails.
fn faults(context: &Context, features: &[Feature]) -> Result<Vec<(&'static str, MachineSpec)>> {
    let good = context.idle()?;
    let nowhere = context.scratch.join("nowhere");
    let with_boot = |change: &dyn Fn(Boot) -> Boot| MachineSpec {
        boot: good.boot.clone().map(change),
        ..good.clone()
    };
    let mut faults = vec![
        ("missing kernel", with_boot(&|b| Boot { kernel: nowhere.clone(), ..b })),
        ("directory as kernel", with_boot(&|b| Boot { kernel: context.scratch.clone(), ..b })),
        ("missing initramfs", with_boot(&|b| Boot { initramfs: nowhere.clone(), ..b })),
    ];
    for (feature, access) in
        [(Feature::Disk, Access::ReadWrite), (Feature::ReadOnlyDisk, Access::ReadOnly)]
    {
        if features.contains(&feature) {
            let id = DiskId::new("lost").map_err(|e| Failure::broken(e.to_string()))?;
            let disks = vec![Disk { id, path: nowhere.clone(), access }];
            faults.push(("missing disk", MachineSpec { disks, ..good.clone() }));
        }
    }
    Ok(faults)
}

async fn a_machine_that_cannot_be_built_leaves_nothing(context: Context) -> Result {
    let features: Vec<_> = context.caps().await?.features.into_iter().collect();
    for (what, spec) in faults(&context, &features)? {
        let dir = context.dir("faulty")?;
        // What is there before, such as a configuration, is not `create`'s.
        fs::write(dir.file("before"), "")?;
        fails_without_trace(&context, what, &spec, &dir).await?;
        fs::remove_dir_all(dir.path())?;
    }
    let good = context.idle()?;
    let missing = RunDir::at(context.scratch.join("no-such-directory"));
    fails_without_trace(&context, "missing run directory", &good, &missing).await?;
    let file = context.scratch.join("a-file");
    fs::write(&file, "")?;
    fails_without_trace(&context, "file as run directory", &good, &RunDir::at(file)).await
}

async fn fails_without_trace(
    context: &Context,
    what: &str,
    spec: &MachineSpec,
    dir: &RunDir,
) -> Result {
    let before = traces::files(&context.scratch);
    let (_life, lifetime) = attached(Vec::new())?;
    if context.backend.create(spec, dir, lifetime).await.is_ok() {
        return Err(Failure::broken(format!("{what}: a machine was made of it")));
    }
    let in_case = |failure: Failure| Failure::broken(format!("{what}: {failure}"));
    traces::no_process(dir.path()).await.map_err(in_case)?;
    let after = traces::files(&context.scratch);
    let changed: Vec<&PathBuf> = before.symmetric_difference(&after).collect();
    require(changed.is_empty(), || format!("{what}: left or removed {changed:?}"))?;
    if dir.path().is_dir() {
        refused(what, context.backend.open(dir).await, &[ErrorKind::NotFound])?;
    }
    Ok(())
}

/// A backend may see at once that a file is no kernel, or only when it boots.
async fn a_kernel_that_is_none_leaves_nothing(context: Context) -> Result {
    let kernel = context.scratch.join("kernel");
    fs::write(&kernel, "not a kernel\n".repeat(100))?;
    let mut spec = context.idle()?;
    spec.boot = spec.boot.map(|boot| Boot { kernel, ..boot });
    let dir = context.dir("m")?;
    let (_life, lifetime) = attached(Vec::new())?;
    let made = context.backend.create(&spec, &dir, lifetime).await;
    if let Ok(machine) = made {
        same("state", machine.state().await?, State::Created)?;
        machine.destroy().await?;
    }
    let left = traces::files(dir.path());
    require(left.is_empty(), || format!("files left behind: {left:?}"))?;
    traces::no_process(dir.path()).await
}

async fn a_directory_holds_one_machine(context: Context) -> Result {
    let spec = context.idle()?;
    let first = context.make("m", &spec).await?;
    let (_life, lifetime) = attached(Vec::new())?;
    let second = context.backend.create(&spec, &first.dir, lifetime).await;
    refused("a second machine", second, &[ErrorKind::Conflict, ErrorKind::InvalidState])?;
    first.is(State::Created).await?;
    first.machine.start().await?;
    first.is(State::Running).await?;
    first.destroyed().await
}

async fn the_run_directory_may_be_deeper_than_a_socket_address(context: Context) -> Result {
    // The longest address of a Unix socket is 107 bytes.
    let deep = Path::new(&"deep".repeat(20)).join("er".repeat(40));
    fs::create_dir_all(context.scratch.join(&deep))?;
    let name = deep.join("m");
    let subject = context.make(&name.to_string_lossy(), &context.idle()?).await?;
    subject.machine.start().await?;
    subject.is(State::Running).await?;
    let opened = context.backend.open(&subject.dir).await?;
    same("state by another handle", opened.state().await?, State::Running)?;
    subject.destroyed().await
}

async fn a_writable_disk_belongs_to_one_machine(context: Context) -> Result {
    let mut spec = context.idle()?;
    spec.disks.push(context.disk("own", Access::ReadWrite, "")?);
    let first = context.make("first", &spec).await?;
    let dir = context.dir("second")?;
    let (_life, lifetime) = attached(Vec::new())?;
    let made = context.backend.create(&spec, &dir, lifetime).await;
    refused("a disk of another machine", made, &[ErrorKind::Conflict])?;
    traces::no_process(dir.path()).await?;
    first.destroyed().await?;
    let third = context.make("third", &spec).await?;
    third.destroyed().await
}

async fn a_disk_that_is_read_has_many_readers_and_no_writer(context: Context) -> Result {
    let disk = context.disk("shared", Access::ReadOnly, "")?;
    let idle = context.idle()?;
    let with =
        |access| MachineSpec { disks: vec![Disk { access, ..disk.clone() }], ..idle.clone() };
    let (reading, writing) = (with(Access::ReadOnly), with(Access::ReadWrite));
    let in_use = async |name: &str, spec: &MachineSpec| {
        let (_life, lifetime) = attached(Vec::new())?;
        let made = context.backend.create(spec, &context.dir(name)?, lifetime).await;
        refused(name, made, &[ErrorKind::Conflict]).map(drop)
    };
    let first = context.make("first", &reading).await?;
    let second = context.make("second", &reading).await?;
    first.machine.start().await?;
    in_use("writer-beside-readers", &writing).await?;
    first.destroyed().await?;
    in_use("writer-beside-a-reader", &writing).await?;
    second.destroyed().await?;
    let writer = context.make("writer", &writing).await?;
    in_use("reader-beside-a-writer", &reading).await?;
    writer.destroyed().await
}
