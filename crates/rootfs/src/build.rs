//! A root disk from layers, with the built-in writer.

use std::fs::File;

use crate::ext4::{self, Demand, Geometry, Identity, Plan, SMALLEST_MIB};
use crate::merge::merge;
use crate::spool::{BLOCK, Spool};
use crate::tree::{LayerIndex, Tree};
use crate::{BuildReport, BuildRequest, DiskSize, Limits, RootfsError, mount_points};

/// Layouts that are tried: the estimate is right or nearly so, and a second
/// one knows the exact figures.
const ATTEMPTS: usize = 4;

/// Merges the layers of `request` and writes them to `out` as one ext4 image.
///
/// `out` is an open, writable regular file; what it holds is replaced, and on
/// failure it is left in no particular state. It is not synced. The same layers,
/// size and identity give the same bytes. `progress` is told, on this thread,
/// how many bytes of the layers' files were read so far, all layers together.
///
/// Blocks for as long as it takes; scratch space of the size of the
/// uncompressed layers is used on the file system that holds `out`, and freed
/// on return, whatever happens.
///
/// # Errors
/// See [`RootfsError`]: damaged or hostile layers, a size that is too small,
/// something ext4 or the writer cannot express, or I/O.
pub fn build(
    request: &BuildRequest<'_>,
    out: &File,
    progress: &dyn Fn(u64),
) -> Result<BuildReport, RootfsError> {
    let mut spool = Spool::beside(out)?;
    let mut tree = merge(request.layers, &request.limits, &mut spool, progress)?;
    mount_points::add(&mut tree, request.layers.len() as LayerIndex)?;
    let BuildRequest { layers: _, size, identity, ref limits } = *request;
    finish(&tree, spool, &Wanted { size, identity, limits }, out)
}

/// What a disk is to be, whatever is in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) size: DiskSize,
    pub(crate) identity: &'a str,
    pub(crate) limits: &'a Limits,
}

/// Writes a merged tree, whose contents are in `spool`.
pub(crate) fn finish(
    tree: &Tree<'_>,
    spool: Spool,
    wanted: &Wanted<'_>,
    out: &File,
) -> Result<BuildReport, RootfsError> {
    let identity = Identity::of(wanted.identity);
    let spool = spool.into_file().map_err(RootfsError::io("writing scratch space"))?;
    let mut demand = Demand::of(tree);
    demand.within(wanted.limits)?;
    let (plan, geometry) = metadata(wanted.size, tree, &mut demand, &identity, out)?;
    let content_bytes = plan.write_contents(tree, &spool, out)?;
    Ok(BuildReport {
        size_bytes: geometry.disk_blocks * BLOCK,
        inodes: demand.inodes,
        content_bytes,
        minimum_mib: Geometry::minimum_for(&demand)?.mib(),
    })
}

/// Finds the size, lays the disk out and writes its metadata. `demand` is
/// replaced by what was measured.
fn metadata(
    size: DiskSize,
    tree: &Tree<'_>,
    demand: &mut Demand,
    identity: &Identity,
    out: &File,
) -> Result<(Plan, Geometry), RootfsError> {
    let mut geometry = choose(size, demand)?;
    for _ in 0..ATTEMPTS {
        let Some(plan) = ext4::plan(tree, &geometry, identity)? else { break };
        truncate(out, geometry.disk_blocks * BLOCK)?;
        let free = plan.write_metadata(out)?;
        *demand = demand.measured(&geometry, free);
        let better = choose(size, demand)?;
        if better == geometry {
            return Ok((plan, geometry));
        }
        geometry = better;
    }
    Err(too_small(&geometry, tree, demand, identity)?)
}

fn choose(size: DiskSize, demand: &Demand) -> Result<Geometry, RootfsError> {
    match size {
        DiskSize::Default => Geometry::default_for(demand),
        DiskSize::MiB(mib) => {
            if u64::from(mib) < SMALLEST_MIB {
                let minimum_mib = Geometry::minimum_for(demand)?.mib();
                return Err(RootfsError::TooSmall { asked_mib: mib.into(), minimum_mib });
            }
            Geometry::of_mib(mib.into(), demand)
        }
    }
}

/// The error for a tree that does not fit `asked`, with a size that does.
fn too_small(
    asked: &Geometry,
    tree: &Tree<'_>,
    demand: &Demand,
    identity: &Identity,
) -> Result<RootfsError, RootfsError> {
    let mut minimum_mib = Geometry::minimum_for(demand)?.mib().max(asked.mib() + 1);
    while ext4::plan(tree, &Geometry::of_mib(minimum_mib, demand)?, identity)?.is_none() {
        minimum_mib += 1 + minimum_mib / 100;
    }
    Ok(RootfsError::TooSmall { asked_mib: asked.mib(), minimum_mib })
}

/// One hole of `length` bytes.
fn truncate(out: &File, length: u64) -> Result<(), RootfsError> {
    let resize = || {
        out.set_len(0)?;
        out.set_len(length)
    };
    resize().map_err(RootfsError::io(format!("making a root disk of {} MiB", length >> 20)))
}
