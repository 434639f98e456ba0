//! Reading layers: decompression on a thread of its own, then the archive.

mod archive;
mod feed;
mod header;
mod member;
mod pack;
mod pax;
mod sparse;

pub(crate) use archive::{Archive, Ending};
pub(crate) use feed::{Feed, Hashing, Producer, decompress_all};
pub(crate) use member::{Member, MemberKind, Mtime};
pub(crate) use pack::pack;
pub(crate) use sparse::SparseMap;

use crate::Owners;
use crate::fault::Fault;

/// What the archives are, which are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Layers of an image: their whiteouts hide what is below.
    Layers,
    /// Files as they are.
    Bundle(Owners),
}
