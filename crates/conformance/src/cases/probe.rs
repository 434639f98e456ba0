//! What a backend says of itself.

use microagent_machine::{Arch, Feature};

use crate::case::case;
use crate::failure::{Result, require, same};
use crate::{Case, Context, traces};

pub(super) const CASES: &[Case] =
    &[case!(T0, [], probe_is_repeatable_and_leaves_nothing), case!(T0, [], probe_makes_sense)];

async fn probe_is_repeatable_and_leaves_nothing(context: Context) -> Result {
    let first = context.caps().await?;
    for _ in 0..3 {
        same("a later probe", context.caps().await?, first.clone())?;
    }
    let left = traces::files(&context.scratch);
    require(left.is_empty(), || format!("files left behind: {left:?}"))
}

async fn probe_makes_sense(context: Context) -> Result {
    let caps = context.caps().await?;
    same("name", caps.backend.as_str(), context.backend.name())?;
    require(!caps.version.is_empty(), || "no version".to_owned())?;
    require(!caps.acceleration.evidence().is_empty(), || "no evidence".to_owned())?;
    require(caps.architectures.contains(&Arch::HOST), || {
        format!("guests of {:?} only", caps.architectures)
    })?;
    require(caps.limits.vcpus > 0 && caps.limits.memory.0 > 0, || {
        format!("limits are {:?}", caps.limits)
    })?;
    let several = caps.features.contains(&Feature::MultipleVcpus);
    same("multiple-vcpus", several, caps.limits.vcpus > 1)?;
    let disks = [Feature::Disk, Feature::ReadOnlyDisk].map(|f| caps.features.contains(&f));
    same("disks and their limit", disks.contains(&true), caps.limits.disks > 0)
}
