//! The directories over which every guest mounts something before its first program runs.
//!
//! They are part of the disk, as any container engine has them, so that no guest has to write
//! to its root for them.

use crate::RootfsError;
use crate::tree::{LayerIndex, ROOT, Tree};

const NAMES: [&[u8]; 3] = [b"dev", b"proc", b"sys"];

/// Makes those that an image of `layers` layers does not have; whatever it has there stays.
pub(crate) fn add(tree: &mut Tree<'_>, layers: LayerIndex) -> Result<(), RootfsError> {
    for name in NAMES {
        if tree.lookup(ROOT, name).is_none() {
            let made = tree.make_directories(&[name], layers);
            made.map_err(|fault| fault.of_layer("mount points"))?;
        }
    }
    Ok(())
}
