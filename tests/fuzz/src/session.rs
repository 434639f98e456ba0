//! A hostile guest: an input as a list of what its driver does to a device behind the
//! memory-mapped transport.

use std::sync::Once;

use microagent_devices::bus::BusDevice;
use microagent_devices::testing::{Buffer, Descriptor, DriverQueue, MmioDriver};
use microagent_devices::virtio::mmio::protocol as p;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::guest::{Guest, Manners};
use crate::{Device, Driven, Input, Request, limit_allocations};

/// How many steps there are at most: no input takes long.
const MAX_STEPS: usize = 256;
/// How much a device may allocate, in bytes: the buffers of a dozen connections.
const MAX_ALLOCATED: usize = 16 << 20;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Drives a device as `data` says, then sees to it that it wrote only what it was given, and
/// that it works again after a reset.
///
/// # Panics
/// If it does not.
pub fn run<D: Device>(data: &[u8]) {
    static LIMIT: Once = Once::new();
    LIMIT.call_once(|| limit_allocations(MAX_ALLOCATED));
    let mut input = Input::new(data);
    let manners = if input.byte() & 1 == 0 { Manners::Tidy } else { Manners::Wild };
    let (host, device) = D::make(&mut input);
    let guest = Guest::new(manners);
    // Copies are cheap, and of the same memory.
    let memory = guest.memory.clone();
    let driver = MmioDriver::new(device, &memory).expect("a descriptor for an interrupt");
    let mut session = Session::<D> {
        queues: queues::<D>(&memory, 8),
        memory: &memory,
        guest,
        host,
        driver: &driver,
        published: vec![0; D::QUEUES],
        next: 0,
    };
    session.bring_up(0, 8);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        session.step(&mut input);
    }
    session.guest.check();
    session.host.check();
    session.bring_up(0, 8);
    assert_eq!(driver.status() & (p::DRIVER_OK | p::NEEDS_RESET), p::DRIVER_OK);
    driver.acknowledge();
    let Session { host, queues, .. } = &mut session;
    host.works(&mut Driven { driver: &driver, memory: &memory, queues });
    host.check();
    assert_eq!(driver.status() & p::NEEDS_RESET, 0);
}

fn queues<D: Device>(memory: &GuestMemoryMmap, size: u16) -> Vec<DriverQueue<'_>> {
    (0..D::QUEUES).map(|index| DriverQueue::new(memory, Guest::queue(index), size)).collect()
}

struct Session<'m, D> {
    queues: Vec<DriverQueue<'m>>,
    memory: &'m GuestMemoryMmap,
    guest: Guest,
    host: D,
    driver: &'m MmioDriver,
    /// How many chains were made available in each queue.
    published: Vec<u16>,
    /// Where the next request is put.
    next: u16,
}

impl<'m, D: Device> Session<'m, D> {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0 => {
                let (without, size) = (input.byte(), 1 << (input.byte() % 5));
                self.bring_up(without, size);
            }
            1 | 2 => self.request(input),
            3 => self.chain(input),
            4 => self.write_buffer(input),
            5 => {
                let (queue, index) = (self.queue(input), input.byte());
                let descriptor = self.descriptor(input);
                if u16::from(index) < self.queues[queue].size() {
                    self.queues[queue].put(index.into(), descriptor);
                }
            }
            6 => {
                let at = Guest::table(input.byte());
                let bytes = self.descriptor(input).to_bytes();
                self.guest.put(at, &bytes);
            }
            7 => {
                let (queue, head) = (self.queue(input), input.byte());
                self.queues[queue].publish(head.into());
                self.published[queue] = self.published[queue].wrapping_add(1);
            }
            8 | 9 => self.kick(input),
            10 => self.settle(input),
            11 => self.host.host(input),
            12 => self.write_register(input),
            13 => self.read_register(input),
            14 => self.scribble(input),
            _ => {
                let queue = self.queue(input);
                while self.queues[queue].take_used().is_some() {}
                self.driver.acknowledge();
            }
        }
    }

    fn queue(&self, input: &mut Input<'_>) -> usize {
        usize::from(input.byte()) % self.queues.len()
    }

    /// Starts anew, with empty queues, and without some of the features.
    fn bring_up(&mut self, without: u8, size: u16) {
        self.driver.reset();
        self.queues = queues::<D>(self.memory, size);
        self.queues.iter_mut().for_each(DriverQueue::renew);
        self.published.fill(0);
        let features = self.driver.offered();
        let features = match without % 8 {
            0 => features,
            1 => features & !(1 << 29),
            2 => features & !(1 << 28),
            3 => features & !0xffff,
            4 => features & !0x00ff,
            5 => features & !0xff00,
            6 => features & (1 << 32),
            _ => !features,
        };
        let queues: Vec<_> = self.queues.iter().collect();
        self.driver.bring_up(features, &queues);
    }

    /// A request in its places, each in pieces.
    fn request(&mut self, input: &mut Input<'_>) {
        let Request { queue, readable, writable } = self.host.request(input);
        let piece = u32::from(input.byte() >> 2) * 8;
        let start = self.guest.buffer(self.next);
        self.next = self.next.wrapping_add(readable.len() as u16).next_multiple_of(16) & 0x7fff;
        self.guest.put(start, &readable);
        let readable = pieces(start, readable.len() as u32, piece);
        let start = self.guest.buffer(self.next);
        self.next = self.next.wrapping_add(writable.min(0x1000) as u16) & 0x7fff;
        let writable = pieces(start, writable, piece);
        let mut chain: Vec<_> = readable.map(|(at, len)| Buffer::Readable(at, len)).collect();
        chain.extend(writable.map(|(at, len)| Buffer::Writable(at, len)));
        self.offer(queue, &chain);
        if input.byte() & 1 == 0 {
            self.driver.kick(queue as u32);
            self.used_is_sane();
        }
    }

    /// A chain of any buffers.
    fn chain(&mut self, input: &mut Input<'_>) {
        let queue = self.queue(input);
        let count = 1 + input.byte() % 8;
        let buffers = (0..count).map(|_| {
            let (kind, at, len) = (input.byte(), input.u16(), input.number());
            let at = self.guest.buffer(at);
            if kind & 1 == 0 { Buffer::Readable(at, len) } else { Buffer::Writable(at, len) }
        });
        let buffers: Vec<_> = buffers.collect();
        self.offer(queue, &buffers);
    }

    fn offer(&mut self, queue: usize, chain: &[Buffer]) {
        for buffer in chain {
            if let Buffer::Writable(at, len) = *buffer {
                self.guest.give(at, len);
            }
        }
        self.queues[queue].offer(chain);
        self.published[queue] = self.published[queue].wrapping_add(1);
    }

    fn write_buffer(&mut self, input: &mut Input<'_>) {
        let at = self.guest.buffer(input.u16());
        let len = usize::from(input.byte());
        self.guest.put(at, input.take(len));
    }

    /// A descriptor that says anything, but for what a tidy guest never says.
    fn descriptor(&mut self, input: &mut Input<'_>) -> Descriptor {
        let (flags, len, next) = (u16::from(input.byte()), input.number(), input.byte().into());
        let descriptor = match self.guest.manners {
            Manners::Wild if flags & 0x80 != 0 => {
                Descriptor { address: input.u64(), len, flags: input.u16(), next: input.u16() }
            }
            _ if flags & INDIRECT != 0 => {
                let address = Guest::table(input.byte());
                Descriptor { address, len, flags: flags & (INDIRECT | NEXT), next }
            }
            _ => {
                let address = self.guest.buffer(input.u16());
                Descriptor { address, len, flags: flags & (NEXT | WRITE), next }
            }
        };
        if descriptor.flags & WRITE != 0 {
            self.guest.give(descriptor.address, len);
        }
        descriptor
    }

    fn kick(&mut self, input: &mut Input<'_>) {
        let queue = input.byte();
        match queue & 0x80 {
            0 => self.driver.kick(u32::from(queue) % (D::QUEUES as u32 + 1)),
            _ => self.driver.transport().queue_kicked(usize::from(queue) % (D::QUEUES + 1)),
        }
        self.used_is_sane();
    }

    /// The thread that devices run on tells the device of the host.
    fn settle(&mut self, input: &mut Input<'_>) {
        self.driver.transport().host_ready(usize::from(input.byte() % 3));
        self.used_is_sane();
    }

    fn write_register(&mut self, input: &mut Input<'_>) {
        let offset = u64::from(input.byte()) * 4;
        // It moves a queue to where it may be anything.
        let moves =
            offset == p::QUEUE_NUM || (p::QUEUE_DESC_LOW..=p::QUEUE_DEVICE_HIGH).contains(&offset);
        match self.guest.manners {
            Manners::Tidy if moves => {}
            Manners::Wild if input.byte() & 7 == 7 => {
                let (odd, len) = (u64::from(input.byte() & 3), usize::from(input.byte() & 15));
                self.driver.transport().write(offset + odd, input.take(len.max(1)));
            }
            _ => self.driver.write(offset, input.number()),
        }
    }

    fn read_register(&mut self, input: &mut Input<'_>) {
        let (offset, len) = (u64::from(input.u16() & 0x3ff), usize::from(input.byte() & 15));
        self.driver.transport().read(offset, &mut vec![0; len]);
    }

    /// Writes anything anywhere.
    fn scribble(&mut self, input: &mut Input<'_>) {
        if self.guest.manners == Manners::Tidy {
            return self.write_buffer(input);
        }
        let (at, len) = (u64::from(input.u16() & 0x7fff), usize::from(input.byte() & 63));
        self.guest.put(at, input.take(len));
    }

    /// No device gives back more chains than it was given.
    fn used_is_sane(&self) {
        if self.guest.manners == Manners::Wild {
            return;
        }
        for (queue, published) in self.queues.iter().zip(&self.published) {
            let [_, _, used] = queue.addresses();
            let used: u16 = self.memory.read_obj(GuestAddress(used + 2)).expect("a queue");
            assert!(used <= *published, "{used} chains given back of {published}");
        }
    }
}

/// A range in pieces of `piece` bytes, at most four; 0 is one piece.
fn pieces(start: u64, len: u32, piece: u32) -> impl Iterator<Item = (u64, u32)> {
    let piece = if piece == 0 { len } else { piece };
    let mut at = 0;
    (1..=4).map_while(move |number| {
        let left = len - at;
        let now = if number == 4 { left } else { left.min(piece) };
        let range = (start + u64::from(at), now);
        at += now;
        (now > 0).then_some(range)
    })
}
