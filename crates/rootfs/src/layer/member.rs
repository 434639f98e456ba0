//! One member of a layer's archive, all headers resolved.

use super::sparse::SparseMap;

/// Modification time: seconds since 1970 and nanoseconds.
pub(crate) type Mtime = (i64, u32);

/// A member, without its content.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: MemberKind,
    /// Permission bits, set-id and sticky bits included.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Mtime,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    /// Content of `size` bytes follows.
    File {
        size: u64,
    },
    /// The content of the segments follows.
    Sparse(SparseMap),
    Directory,
    Symlink {
        target: Vec<u8>,
    },
    HardLink {
        target: Vec<u8>,
    },
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}
