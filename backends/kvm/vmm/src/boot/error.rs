//! Why a machine cannot be booted.

use std::io;

use linux_loader::{cmdline, loader};
use vm_memory::GuestMemoryError;

/// Why a machine cannot be booted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    /// Reading a file.
    #[error("cannot read the {what}")]
    Read {
        /// Which.
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// A file is longer than what this monitor takes.
    #[error("the {what} has {len} bytes, the most is {max}")]
    TooLarge {
        /// Which.
        what: &'static str,
        /// Its length.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// The file is not of its kind.
    #[error("the kernel is no {expected}: {why}")]
    NotOfKind {
        /// What it should be.
        expected: &'static str,
        /// What it is or has instead.
        why: String,
    },
    /// Part of the file is where it cannot be.
    #[error(
        "the kernel's {what} (bytes {offset:#x} and {len:#x} more) is not in its file of \
         {file_len:#x} bytes"
    )]
    PastFile {
        /// Which part.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// How long it is.
        len: u64,
        /// How long the file is.
        file_len: u64,
    },
    /// Part of the kernel would be where it must not be.
    #[error("the kernel's {what} would be at {start:#x} to {end:#x}: {why}")]
    Place {
        /// Which part.
        what: &'static str,
        /// Its first address.
        start: u64,
        /// The first address behind it.
        end: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is too little RAM for the kernel.
    #[error(
        "the kernel needs RAM up to {end:#x}, and there is none from {ram_end:#x}: give the \
         machine more memory"
    )]
    KernelMemory {
        /// Where it would end.
        end: u64,
        /// Where RAM ends.
        ram_end: u64,
    },
    /// There is too little RAM for the initramfs.
    #[error(
        "the initramfs of {len} bytes does not fit between {start:#x}, where the kernel ends, \
         and {end:#x}: give the machine more memory"
    )]
    InitramfsMemory {
        /// Its length.
        len: u64,
        /// End of the kernel.
        start: u64,
        /// End of where the kernel looks for it.
        end: u64,
    },
    /// The arguments are too long.
    #[error("the kernel's arguments have {len} bytes, the most is {max}")]
    CmdlineTooLong {
        /// Their length, without the NUL.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The arguments have something in them that no kernel reads.
    #[error("the kernel's arguments cannot be passed on")]
    Cmdline(#[source] cmdline::Error),
    /// A table is too long for its place.
    #[error("the guest's {what} have {len} bytes, the most is {max}")]
    TablesTooLong {
        /// Which.
        what: &'static str,
        /// Their length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Copying the kernel.
    #[error("cannot copy the kernel into guest memory")]
    Copy(#[source] loader::Error),
    /// Writing to guest memory.
    #[error("cannot write the {what} to guest memory at {at:#x}")]
    Write {
        /// What.
        what: &'static str,
        /// Where.
        at: u64,
        #[source]
        source: GuestMemoryError,
    },
}
