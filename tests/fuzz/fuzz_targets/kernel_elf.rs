//! An uncompressed kernel as the monitor loads it: whatever is accepted is within the guest's memory and
//! above what the monitor puts below 1 MiB.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use microagent_fuzz::{KernelImage, limit_allocations, load_kernel, memory_file};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const MIB: u64 = 1 << 20;
const RAM: u64 = 4 * MIB;

static MEMORY: LazyLock<GuestMemoryMmap> = LazyLock::new(|| {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM as usize)]).expect("memory for a guest")
});

fuzz_target!(init: limit_allocations(1 << 20), |data: &[u8]| {
    let memory = &*MEMORY;
    if let Ok((entry, end)) = load_kernel(memory, &mut memory_file(data), KernelImage::Vmlinux) {
        assert!((MIB..end).contains(&entry), "{entry:#x}, {end:#x}");
        assert!(end <= RAM);
    }
    let mut below = [0; 0x1000];
    for page in 0..MIB / 0x1000 {
        memory.read_slice(&mut below, GuestAddress(page * 0x1000)).expect("memory");
        assert!(below == [0; 0x1000], "written to below 1 MiB");
    }
});
