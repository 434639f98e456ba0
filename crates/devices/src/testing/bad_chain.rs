//! Chains that no driver in its senses makes.

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Descriptor, DriverQueue};

const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

/// Where memory for buffers is; nothing else may be in the 64 KiB from here on.
const DATA: u64 = 0x8_0000;
/// Where the indirect tables are, in the 4 KiB from here on.
const TABLE: u64 = 0x9_0000;
/// An address at which there is no memory.
const NOWHERE: u64 = 0xff_ffff_0000;

/// A chain, and what is wrong with it. For a guest with 1 MiB of memory that has nothing of its
/// own between 512 KiB and 640 KiB.
#[derive(Debug, Clone, Copy)]
pub struct BadChain {
    /// What is wrong.
    pub what: &'static str,
    /// The queue's table, from its first descriptor on, which is the chain's head.
    pub table: &'static [Descriptor],
    /// An indirect table.
    pub indirect: &'static [Descriptor],
}

impl BadChain {
    /// Makes it available.
    ///
    /// # Panics
    /// If the guest has less than 1 MiB of memory.
    pub fn offer(&self, memory: &GuestMemoryMmap, queue: &mut DriverQueue<'_>) {
        for (index, descriptor) in (0..).zip(self.table) {
            queue.put(index, *descriptor);
        }
        for (index, descriptor) in (0..).zip(self.indirect) {
            memory
                .write_slice(&descriptor.to_bytes(), GuestAddress(TABLE + 16 * index))
                .expect("the guest has memory for an indirect table");
        }
        queue.publish(0);
    }
}

/// One of each kind, each in both directions where that makes a difference.
pub const BAD_CHAINS: &[BadChain] = &[
    direct("nothing at all", &[d(0, 0, 0, 0)]),
    direct("nothing at all to write", &[d(0, 0, WRITE, 0)]),
    direct("a chain that is its own tail", &[d(DATA, 16, NEXT, 0)]),
    direct("a chain that is its own tail, to write", &[d(DATA, 16, NEXT | WRITE, 0)]),
    direct("a loop of empty buffers", &[d(DATA, 0, NEXT, 1), d(DATA, 0, NEXT, 0)]),
    direct("a loop that turns", &[d(DATA, 16, NEXT, 1), d(DATA, 16, NEXT | WRITE, 0)]),
    direct("a next one that is outside the table", &[d(DATA, 64, NEXT, u16::MAX)]),
    direct("a next one that is outside, to write", &[d(DATA, 64, NEXT | WRITE, u16::MAX)]),
    direct("as long as can be", &[d(DATA, u32::MAX, 0, 0)]),
    direct("as long as can be, to write", &[d(DATA, u32::MAX, WRITE, 0)]),
    direct(
        "longer than all memory in sum",
        &[
            d(DATA, u32::MAX, NEXT | WRITE, 1),
            d(DATA, u32::MAX, NEXT | WRITE, 2),
            d(DATA, 2, WRITE, 0),
        ],
    ),
    direct("past the end of memory", &[d(0xf_fff0, 64, 0, 0)]),
    direct("past the end of memory, to write", &[d(0xf_fff0, 64, WRITE, 0)]),
    direct("where no memory is", &[d(NOWHERE, 64, 0, 0)]),
    direct("where no memory is, to write", &[d(NOWHERE, 64, WRITE, 0)]),
    direct("past the end of all addresses", &[d(u64::MAX - 7, 64, 0, 0)]),
    direct("past the end of all addresses, to write", &[d(u64::MAX - 7, 64, WRITE, 0)]),
    direct("to write before to read", &[d(DATA, 64, WRITE | NEXT, 1), d(DATA + 64, 64, 0, 0)]),
    direct("an indirect table that is none", &[d(TABLE, 0, INDIRECT, 0)]),
    direct("an indirect table of half a descriptor", &[d(TABLE, 24, INDIRECT, 0)]),
    direct("an indirect table that is too long", &[d(TABLE, 16 << 16, INDIRECT, 0)]),
    direct("an indirect table where no memory is", &[d(NOWHERE, 16, INDIRECT, 0)]),
    direct("an indirect table past all addresses", &[d(u64::MAX - 15, 32, INDIRECT, 0)]),
    BadChain {
        what: "an indirect table in an indirect table",
        table: &[d(TABLE, 32, INDIRECT, 0)],
        indirect: &[d(DATA, 64, NEXT, 1), d(TABLE, 32, INDIRECT, 0)],
    },
    BadChain {
        what: "an indirect table that is itself",
        table: &[d(TABLE, 16, INDIRECT, 0)],
        indirect: &[d(TABLE, 16, INDIRECT, 0)],
    },
    BadChain {
        what: "an indirect table that goes on outside",
        table: &[d(TABLE, 16, INDIRECT | NEXT, 1), d(DATA, 64, WRITE, 0)],
        indirect: &[d(DATA, 64, NEXT | WRITE, 7)],
    },
    BadChain {
        what: "a loop in an indirect table",
        table: &[d(TABLE, 32, INDIRECT, 0)],
        indirect: &[d(DATA, 64, NEXT | WRITE, 1), d(DATA, 64, NEXT | WRITE, 0)],
    },
];

const fn direct(what: &'static str, table: &'static [Descriptor]) -> BadChain {
    BadChain { what, table, indirect: &[] }
}

const fn d(address: u64, len: u32, flags: u16, next: u16) -> Descriptor {
    Descriptor { address, len, flags, next }
}
