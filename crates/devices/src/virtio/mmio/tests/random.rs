//! Registers accessed at random, over queues whose memory is random too.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::{prop_oneof, proptest};

use super::fixture::VERSION_1;
use crate::bus::BusDevice;
use crate::testing::{Buffer, DriverQueue, MmioDriver, memory};
use crate::virtio::mmio::protocol as p;
use crate::virtio::rng::Rng;
use vm_memory::{Bytes, GuestAddress};

/// What a hostile guest does.
#[derive(Debug, Clone)]
enum Step {
    Write(u64, Vec<u8>),
    Read(u64, usize),
    Kick,
    Host,
    BringUp,
    Scribble(u64, Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    // Mostly small numbers: they mean something.
    let value = prop_oneof![0..16u32, 0..0x1_0000u32, any::<u32>()];
    prop_oneof![
        8 => (0..p::LEN / 4, value)
            .prop_map(|(register, value)| Step::Write(register * 4, value.to_le_bytes().into())),
        2 => (0..p::LEN, vec(any::<u8>(), 1..9)).prop_map(|(at, data)| Step::Write(at, data)),
        2 => (0..p::LEN, 1..9usize).prop_map(|(at, len)| Step::Read(at, len)),
        2 => proptest::prelude::Just(Step::Kick),
        1 => proptest::prelude::Just(Step::Host),
        2 => proptest::prelude::Just(Step::BringUp),
        4 => (0..0x200u64, vec(any::<u8>(), 1..33)).prop_map(|(at, data)| Step::Scribble(at, data)),
    ]
}

proptest! {
    #[test]
    fn nothing_breaks_the_device(steps in vec(step(), 0..64)) {
        let memory = memory(0x1_0000);
        let driver = MmioDriver::new(Box::new(Rng::new().unwrap()), &memory).unwrap();
        let mut queue = DriverQueue::new(&memory, 0x1000, 8);
        for step in steps {
            match step {
                Step::Write(at, data) => driver.transport().write(at, &data),
                Step::Read(at, len) => driver.transport().read(at, &mut vec![0; len]),
                Step::Kick => driver.transport().queue_kicked(0),
                Step::Host => driver.transport().host_ready(0),
                Step::BringUp => {
                    driver.bring_up(VERSION_1, &[&queue]);
                },
                Step::Scribble(at, data) => {
                    memory.write_slice(&data, GuestAddress(0x1000 + at)).unwrap();
                }
            }
        }
        queue.renew();
        driver.reset();
        driver.acknowledge();
        assert!(driver.bring_up(VERSION_1, &[&queue]));
        let head = queue.offer(&[Buffer::Writable(0x8000, 64)]);
        driver.kick(0);
        assert_eq!(queue.take_used(), Some((head, 64)));
        assert_eq!(driver.acknowledge(), p::INTERRUPT_USED);
    }
}
