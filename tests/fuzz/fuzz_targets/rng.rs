//! The entropy device and a hostile driver.
#![no_main]

use libfuzzer_sys::fuzz_target;
use microagent_devices::testing::Buffer;
use microagent_devices::virtio::device::VirtioDevice;
use microagent_devices::virtio::rng::Rng;
use microagent_fuzz::{Device, Driven, Input, Request, run};

struct Entropy;

impl Device for Entropy {
    const QUEUES: usize = 1;

    fn make(_input: &mut Input<'_>) -> (Self, Box<dyn VirtioDevice>) {
        (Self, Box::new(Rng::new().expect("a descriptor")))
    }

    fn request(&self, input: &mut Input<'_>) -> Request {
        Request { queue: 0, readable: Vec::new(), writable: input.number() }
    }

    fn works(&mut self, Driven { driver, queues, .. }: &mut Driven<'_, '_>) {
        let head = queues[0].offer(&[Buffer::Writable(0x8000, 64)]);
        driver.kick(0);
        assert_eq!(queues[0].take_used(), Some((head, 64)));
    }
}

fuzz_target!(|data: &[u8]| run::<Entropy>(data));
