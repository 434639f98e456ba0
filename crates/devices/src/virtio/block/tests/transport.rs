//! The device behind its registers, as a guest of ours reaches it.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::driver::{OK, file, pattern};
use crate::testing::{Buffer, DriverQueue, MmioDriver, endure};
use crate::virtio::block::{Block, Config};

const HEADER: u64 = 0x1_0000;
const DATA: u64 = 0x1_1000;

fn works(driver: &MmioDriver, memory: &GuestMemoryMmap, queues: &mut [DriverQueue<'_>]) {
    let mut header = [0; 16];
    header[8] = 3;
    memory.write_slice(&header, GuestAddress(HEADER)).unwrap();
    let head = queues[0].offer(&[Buffer::Readable(HEADER, 16), Buffer::Writable(DATA, 513)]);
    driver.kick(0);
    assert_eq!(queues[0].take_used(), Some((head, 513)));
    assert!(driver.take_interrupts() > 0);
    let mut data = [0; 513];
    memory.read_slice(&mut data, GuestAddress(DATA)).unwrap();
    assert_eq!(data.split_last(), Some((&OK, &pattern()[3 * 512..4 * 512])));
}

#[test]
fn bad_drivers() {
    let config = Config { id: "root".into(), file: file(pattern()), read_only: true };
    endure(Box::new(Block::new(config).unwrap()), 1, works);
}
