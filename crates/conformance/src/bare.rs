//! Guests of a few dozen machine instructions, for backends that run real machine code.
//!
//! They know the first serial port and nothing else, so they boot in milliseconds even
//! without hardware acceleration, and no kernel needs to be built for them.

mod bzimage;
mod code;
mod elf;

use std::fs;
use std::path::Path;

use microagent_machine::{Boot, DeviceArguments, KernelFormat};

use crate::{Failure, Guests, Script};

/// Guests of a few dozen machine instructions, as ELF files with a PVH note.
#[derive(Debug, Clone, Copy)]
pub struct BareGuests {
    turns_per_tick: u32,
}

impl BareGuests {
    /// For whatever runs code at a speed that one could live with.
    pub fn new() -> Self {
        Self { turns_per_tick: code::TURNS_PER_TICK }
    }

    /// For what interprets each instruction.
    pub fn interpreted() -> Self {
        Self { turns_per_tick: code::TURNS_PER_TICK_INTERPRETED }
    }
}

impl Default for BareGuests {
    fn default() -> Self {
        Self::new()
    }
}

impl Guests for BareGuests {
    fn boot(&self, dir: &Path, script: &Script) -> Result<Boot, Failure> {
        boot(dir, &elf::elf(script, self.turns_per_tick)?, KernelFormat::Vmlinux)
    }
}

/// The same in the form of compressed Linux kernels. It is short of room: a few words.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BareBzImages;

impl Guests for BareBzImages {
    fn boot(&self, dir: &Path, script: &Script) -> Result<Boot, Failure> {
        boot(dir, &bzimage::bzimage(script)?, KernelFormat::BzImage)
    }
}

fn boot(dir: &Path, file: &[u8], format: KernelFormat) -> Result<Boot, Failure> {
    let (kernel, initramfs) = (dir.join("bare-kernel"), dir.join("bare-initramfs"));
    fs::write(&kernel, file)?;
    // Nobody reads it.
    fs::write(&initramfs, [0; 512])?;
    let (cmdline, device_arguments) = (String::new(), DeviceArguments::Unknown);
    Ok(Boot { kernel, format, initramfs, cmdline, device_arguments })
}
