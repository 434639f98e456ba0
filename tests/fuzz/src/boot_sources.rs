//! The boot parsers of the native monitor, which is a program and no library.

#![allow(dead_code)] // of what is compiled here only the parsers are used

use std::fs::File;

use microagent_vmm_protocol::KernelImage;
use vm_memory::GuestMemoryMmap;

#[path = "../../../backends/kvm/vmm/src/arch/x86_64"]
pub(crate) mod arch {
    //! What the parsers know of the machine.
    pub(crate) mod layout;
}

#[path = "../../../backends/kvm/vmm/src/boot"]
mod boot {
    //! As in the monitor, without what does not read files.
    mod bzimage;
    mod elf;
    mod error;
    mod kernel;
    mod memory_map;

    pub(crate) use error::BootError;

    /// Loads a kernel, and says which addresses it takes: up to its end, and its entry.
    pub(super) fn load(
        memory: &super::GuestMemoryMmap,
        file: &mut super::File,
        image: super::KernelImage,
    ) -> Result<(u64, u64), BootError> {
        let kernel = kernel::load(memory, file, image)?;
        let (kernel::Start::Pvh(entry) | kernel::Start::Linux64 { address: entry, .. }) =
            kernel.start;
        Ok((entry, kernel.end))
    }
}

/// Loads a kernel as the monitor does. Its entry and the first address behind it, or why not,
/// as the user is told.
///
/// # Errors
/// It is no kernel that this memory has room for.
pub fn load_kernel(
    memory: &GuestMemoryMmap,
    file: &mut File,
    image: KernelImage,
) -> Result<(u64, u64), String> {
    boot::load(memory, file, image).map_err(|error| error.to_string())
}
