//! The console device and a hostile driver.
#![no_main]

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libfuzzer_sys::fuzz_target;
use microagent_devices::testing::Buffer;
use microagent_devices::virtio::console::{Console, MAX_WRITE};
use microagent_devices::virtio::device::VirtioDevice;
use microagent_fuzz::{Device, Driven, Input, Request, run};
use vm_memory::{Bytes, GuestAddress};

/// Index of the queue whose buffers the driver fills (virtio 1.2, 5.3.2).
const TX: usize = 1;

/// Counts what is written, and fails now and then.
#[derive(Clone, Default)]
struct Screen {
    written: Arc<AtomicUsize>,
    fails: bool,
}

impl Write for Screen {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        assert!(data.len() <= MAX_WRITE);
        let before = self.written.fetch_add(data.len(), Ordering::Relaxed);
        match self.fails && before.is_multiple_of(3) {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(data.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Device for Screen {
    const QUEUES: usize = 2;

    fn make(input: &mut Input<'_>) -> (Self, Box<dyn VirtioDevice>) {
        let screen = Self { fails: input.byte() & 1 == 1, ..Self::default() };
        let device = Console::new(screen.clone()).expect("a descriptor");
        (screen, Box::new(device))
    }

    fn request(&self, input: &mut Input<'_>) -> Request {
        let len = input.number().min(0x8000) as usize;
        Request { queue: TX, readable: vec![input.byte(); len], writable: 0 }
    }

    fn works(&mut self, Driven { driver, memory, queues }: &mut Driven<'_, '_>) {
        memory.write_slice(b"login: ", GuestAddress(0x8000)).expect("memory");
        let before = self.written.load(Ordering::Relaxed);
        let head = queues[TX].offer(&[Buffer::Readable(0x8000, 7)]);
        driver.kick(TX as u32);
        assert_eq!(queues[TX].take_used(), Some((head, 0)));
        assert_eq!(self.written.load(Ordering::Relaxed), before + 7);
    }
}

fuzz_target!(|data: &[u8]| run::<Screen>(data));
