//! The kernel, whatever kind of file it is.

use std::fs::File;
use std::io;

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{BzImage, Elf, KernelLoader};
use microagent_vmm_protocol::KernelImage;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::{BootError, bzimage, elf, memory_map};
use crate::arch::layout::{CMDLINE_MAX, KERNEL_MIN};

/// Longest kernel: a distribution's with everything built in and debugging information has a
/// quarter of it.
pub(super) const MAX_LEN: u64 = 1 << 30;
/// The highest address of an initramfs for kernels that do not say: what all 64-bit ones do.
const INITRD_MAX: u64 = 0x7fff_ffff;

/// A kernel in guest memory.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) start: Start,
    /// The first address that is not its own.
    pub(super) end: u64,
    /// The highest address that its initramfs may have.
    pub(super) initrd_max: u64,
    /// Longest arguments, without the NUL.
    pub(super) cmdline_max: usize,
}

/// How it is started.
#[derive(Debug)]
pub(super) enum Start {
    /// By its PVH entry.
    Pvh(u64),
    /// By the 64-bit Linux boot protocol.
    Linux64 {
        address: u64,
        /// Its header; all zero of a kernel that has none.
        header: setup_header,
    },
}

/// Reads, checks and copies it.
pub(super) fn load(
    memory: &GuestMemoryMmap,
    file: &mut File,
    image: KernelImage,
) -> Result<Kernel, BootError> {
    let len = length(file, "kernel", MAX_LEN)?;
    let ram_end = memory_map::low_end(memory);
    match image {
        KernelImage::Vmlinux => {
            let plan = elf::plan(file, len, ram_end)?;
            Elf::load(memory, None, file, None).map_err(BootError::Copy)?;
            Ok(plan.into())
        }
        KernelImage::BzImage => {
            let plan = bzimage::plan(file, len, ram_end)?;
            let at = GuestAddress(plan.start);
            BzImage::load(memory, Some(at), file, None).map_err(BootError::Copy)?;
            Ok(plan.into())
        }
    }
}

impl From<elf::Plan> for Kernel {
    fn from(plan: elf::Plan) -> Self {
        let start = match plan.pvh {
            Some(address) => Start::Pvh(address),
            None => Start::Linux64 { address: plan.entry, header: setup_header::default() },
        };
        Self { start, end: plan.end, initrd_max: INITRD_MAX, cmdline_max: CMDLINE_MAX }
    }
}

impl From<bzimage::Plan> for Kernel {
    fn from(plan: bzimage::Plan) -> Self {
        Self {
            initrd_max: u64::from(plan.header.initrd_addr_max),
            cmdline_max: plan.header.cmdline_size as usize,
            end: plan.end,
            start: Start::Linux64 { address: plan.entry, header: plan.header },
        }
    }
}

/// The length of `file`.
///
/// # Errors
/// It is longer than `max`, or cannot be asked.
pub(super) fn length(file: &File, what: &'static str, max: u64) -> Result<u64, BootError> {
    let len = file.metadata().map_err(|source| BootError::Read { what, source })?.len();
    if len > max { Err(BootError::TooLarge { what, len, max }) } else { Ok(len) }
}

/// A part of the kernel in guest memory, between what is there already and the end of RAM.
pub(super) fn place(
    what: &'static str,
    start: u64,
    len: u64,
    ram_end: u64,
) -> Result<u64, BootError> {
    let wrong = |end, why| Err(BootError::Place { what, start, end, why });
    let Some(end) = start.checked_add(len) else {
        return wrong(u64::MAX, "addresses do not go so far");
    };
    if start < KERNEL_MIN {
        return wrong(end, "below 1 MiB are the boot structures");
    }
    if end > ram_end { Err(BootError::KernelMemory { end, ram_end }) } else { Ok(end) }
}

/// A part of the file.
pub(super) fn part(
    what: &'static str,
    offset: u64,
    len: u64,
    file_len: u64,
) -> Result<(), BootError> {
    match offset.checked_add(len) {
        Some(end) if end <= file_len => Ok(()),
        _ => Err(BootError::PastFile { what, offset, len, file_len }),
    }
}

/// For `map_err` of reading the kernel.
pub(super) fn read_error(source: io::Error) -> BootError {
    BootError::Read { what: "kernel", source }
}
