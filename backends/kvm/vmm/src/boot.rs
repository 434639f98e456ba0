//! From files to a guest that only has to be started: kernel, initramfs, arguments, and the
//! tables that tell it of the machine.
//!
//! The kernel's file is not trusted. Each module reads what it reads into plain data first
//! ([`elf::plan`], [`bzimage::plan`]), and only what was found to be in order is copied.
//! Not here: registers, which are [`crate::arch::x86_64::regs`].

mod bzimage;
mod cmdline;
mod elf;
mod error;
mod initrd;
mod kernel;
mod memory_map;
mod params;
mod pvh;
mod tables;

use std::fs::File;

use microagent_vmm_protocol::{Announcement, KernelImage};
use vm_memory::GuestMemoryMmap;

pub(crate) use crate::arch::layout::DeviceSlot;
pub(crate) use error::BootError;

/// What is to be booted.
#[derive(Debug)]
pub(crate) struct Images<'a> {
    /// The kernel.
    pub(crate) kernel: &'a mut File,
    /// What kind of file it is.
    pub(crate) image: KernelImage,
    /// The initramfs; an empty file is none.
    pub(crate) initramfs: &'a mut File,
}

/// What was copied, and where it is.
#[derive(Debug)]
pub(crate) struct Copied {
    kernel: kernel::Kernel,
    initramfs: Option<initrd::Initramfs>,
}

/// What it is to be told.
#[derive(Debug)]
pub(crate) struct BootRequest<'a> {
    /// Arguments of whoever wants the machine. They come after those that are made here, so
    /// that where Linux lets the last of a name win, they win.
    pub(crate) cmdline: &'a str,
    /// How the guest learns of processors and devices.
    pub(crate) announcement: Announcement,
    /// How many processors there are.
    pub(crate) vcpus: u8,
    /// The virtio devices.
    pub(crate) devices: &'a [DeviceSlot],
}

/// Where and how the boot processor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Physical address of the first instruction.
    pub(crate) address: u64,
    /// What state the processor is to be in.
    pub(crate) protocol: Protocol,
}

/// What a kernel expects of whoever starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Protected mode without paging.
    Pvh {
        /// Address of `struct hvm_start_info`, for `ebx`.
        start_info: u64,
    },
    /// Long mode, memory mapped to itself.
    Linux64 {
        /// Address of `struct boot_params`, for `rsi`.
        boot_params: u64,
    },
}

/// Copies kernel and initramfs into `memory`, which is as
/// [`memory_regions`](crate::arch::layout::memory_regions) has it and all zero. Nothing else of
/// the machine has to be there yet.
pub(crate) fn copy(memory: &GuestMemoryMmap, images: Images<'_>) -> Result<Copied, BootError> {
    let Images { kernel, image, initramfs } = images;
    let kernel = kernel::load(memory, kernel, image)?;
    let initramfs = initrd::load(memory, initramfs, &kernel)?;
    Ok(Copied { kernel, initramfs })
}

/// Writes arguments and tables for what was copied into `memory`.
pub(crate) fn tell(
    memory: &GuestMemoryMmap,
    Copied { kernel, initramfs }: Copied,
    request: &BootRequest<'_>,
) -> Result<Entry, BootError> {
    let cmdline = cmdline::build(request.cmdline, request.announcement, request.devices)?;
    cmdline::write(memory, &cmdline, kernel.cmdline_max)?;
    let root_pointer = tables::write(memory, request)?;
    let facts = Facts { initramfs, root_pointer };
    match kernel.start {
        kernel::Start::Pvh(address) => {
            let start_info = pvh::write(memory, &facts)?;
            Ok(Entry { address, protocol: Protocol::Pvh { start_info } })
        }
        kernel::Start::Linux64 { address, header } => {
            let boot_params = params::write(memory, header, &facts)?;
            Ok(Entry { address, protocol: Protocol::Linux64 { boot_params } })
        }
    }
}

/// What a kernel is told beside its arguments and memory.
#[derive(Debug, Clone, Copy)]
struct Facts {
    initramfs: Option<initrd::Initramfs>,
    /// Address of ACPI's root pointer, if there is one.
    root_pointer: Option<u64>,
}

#[cfg(test)]
mod tests;
