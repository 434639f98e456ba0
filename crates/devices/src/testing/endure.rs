//! What every device has to endure.

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::GuestMemoryMmap;

use super::{BAD_CHAINS, DriverQueue, MmioDriver, memory};
use crate::virtio::device::VirtioDevice;
use crate::virtio::mmio::protocol::NEEDS_RESET;

/// How long the queues are, in descriptors.
const SIZE: u16 = 8;
/// Where the first is, and how far it is to the next.
const QUEUES: u64 = 0x1000;

/// Puts every one of [`BAD_CHAINS`], and rings that are broken, before `device`, into each of
/// its first `count` queues. It must give back the chain or ask for a reset, and work again
/// after a reset, which `works` finds out; that is called with a device that was just brought
/// up on the given queues, in a guest with 1 MiB of memory.
///
/// # Panics
/// If the device does not endure it.
pub fn endure(
    device: Box<dyn VirtioDevice>,
    count: usize,
    works: impl Fn(&MmioDriver, &GuestMemoryMmap, &mut [DriverQueue<'_>]),
) {
    let memory = memory(0x10_0000);
    let driver = MmioDriver::new(device, &memory).expect("a descriptor for an interrupt");
    let places = (0..count as u64).map(|index| QUEUES * (1 + index));
    let mut queues: Vec<_> = places.map(|at| DriverQueue::new(&memory, at, SIZE)).collect();
    for queue in 0..count {
        for chain in BAD_CHAINS {
            bring_up(&driver, &mut queues);
            chain.offer(&memory, &mut queues[queue]);
            kick(&driver, queue);
            if let Some((head, _)) = queues[queue].take_used() {
                assert_eq!(head, 0, "queue {queue}: {}", chain.what);
            }
            works_after(&driver, &memory, &mut queues, &works);
        }
        for index in [SIZE + 1, 0x8000, u16::MAX] {
            bring_up(&driver, &mut queues);
            queues[queue].set_available(index);
            kick(&driver, queue);
            assert!(queues[queue].take_used().is_none());
            works_after(&driver, &memory, &mut queues, &works);
        }
        for head in [SIZE, u16::MAX] {
            bring_up(&driver, &mut queues);
            queues[queue].publish(head);
            kick(&driver, queue);
            assert!(queues[queue].take_used().is_none(), "queue {queue}: head {head}");
            works_after(&driver, &memory, &mut queues, &works);
        }
    }
}

fn bring_up(driver: &MmioDriver, queues: &mut [DriverQueue<'_>]) {
    driver.reset();
    for queue in &mut *queues {
        queue.renew();
    }
    let features = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX;
    let queues: Vec<_> = queues.iter().collect();
    assert!(driver.bring_up(features, &queues), "status {:#x}", driver.status());
}

/// Kicks twice, by both ways, and tells the device of whatever it wants to hear of.
fn kick(driver: &MmioDriver, queue: usize) {
    driver.kick(queue as u32);
    driver.transport().queue_kicked(queue);
    driver.transport().host_ready(0);
}

fn works_after(
    driver: &MmioDriver,
    memory: &GuestMemoryMmap,
    queues: &mut [DriverQueue<'_>],
    works: impl Fn(&MmioDriver, &GuestMemoryMmap, &mut [DriverQueue<'_>]),
) {
    bring_up(driver, queues);
    driver.acknowledge();
    works(driver, memory, queues);
    assert_eq!(driver.status() & NEEDS_RESET, 0);
}
