//! Reading layers: decompression on a thread of its own, then the archive.

mod archive;
mod feed;
mod header;
mod member;
mod pax;
mod sparse;

pub(crate) use archive::{Archive, Ending};
pub(crate) use feed::{Feed, Hashing, decompress_all};
pub(crate) use member::{Member, MemberKind, Mtime};
pub(crate) use sparse::SparseMap;
