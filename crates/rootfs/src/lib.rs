//! From the layers of an OCI image to one ext4 root disk, and cheap writable
//! copies of that disk.
//!
//! [`build`] merges the layers into a tree of metadata held in memory, spools
//! file contents into an unnamed scratch file beside the output, and writes the
//! image in one pass with `mkext4`. Nothing is ever extracted on the host: there
//! is no path to traverse, no owner to need root for, no device node to make.
//! [`build_with_mke2fs`] hands the same merged tree to a `mke2fs` of the user's.
//!
//! Layers are untrusted. Every count, length and depth in them is checked
//! against a named maximum of [`Limits`] before anything is allocated for it,
//! and names that are absolute, climb with `..` or are not in normal form are
//! refused.
//!
//! [`build_bundle`] does the same for an archive or a directory of a user's.
//!
//! [`Ext4`] reads files back out of a disk, and [`Target`] is where they go on the
//! host. Both take a disk, or a guest, at its word in nothing.
//!
//! Deliberately not here: pulling and caching (package `image`), and deciding
//! where disks live (package `workspace`).

mod build;
mod bundle;
mod copies;
mod error;
mod ext4;
mod fault;
mod layer;
mod limits;
mod merge;
mod mke2fs;
mod mount_points;
mod name;
mod reader;
mod request;
mod spool;
mod target;
#[cfg(test)]
mod testing;
mod tree;

// The layers that tests are made of are shared with the tests of the package.
#[cfg(test)]
extern crate self as microagent_rootfs;

pub use build::build;
pub use bundle::{BundleRequest, Owners, build_bundle, build_empty};
pub use copies::{CloneMethod, can_reflink, clone_for_run, make_scratch};
pub use error::{ErrorKind, RootfsError};
pub use limits::Limits;
pub use mke2fs::build_with_mke2fs;
pub use reader::{Ext4, Ext4Facts, Follow, Name, Node, NodeKind, NodeMeta, ReadError, inspect};
pub use request::{BuildReport, BuildRequest, Compression, DiskSize, LayerInput};
pub use target::{Extracted, Target, TargetFile, TargetMeta};
