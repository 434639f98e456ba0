//! The device behind its registers, as a guest of ours reaches it.

use std::cell::{Cell, RefCell};
use std::os::unix::net::UnixStream;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::driver::{MAC, frame, send};
use crate::testing::{Buffer, DriverQueue, MmioDriver, endure};
use crate::virtio::net::{Config, HEADER_LEN, HostEnd, Net};

const DATA: u64 = 0x1_0000;
const LEN: usize = 60;

/// Takes frames until one with this number comes.
fn receive(driver: &MmioDriver, memory: &GuestMemoryMmap, rx: &mut DriverQueue<'_>, number: u8) {
    loop {
        rx.offer(&[Buffer::Writable(DATA, 1600)]);
        driver.kick(0);
        let (_, len) = rx.take_used().expect("a frame is there");
        assert_eq!(len as usize, HEADER_LEN + LEN);
        let mut got = [0; LEN];
        memory.read_slice(&mut got, GuestAddress(DATA + HEADER_LEN as u64)).unwrap();
        if got[..] == frame(LEN, number) {
            return;
        }
    }
}

#[test]
fn bad_drivers() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let device = Net::new(Config { mac: MAC, mtu: None, host: HostEnd::Stream(ours) }).unwrap();
    let (host, number) = (RefCell::new(theirs), Cell::new(0u8));
    // Each time one more than is taken, so that there is something for bad buffers.
    send(&mut host.borrow_mut(), &frame(LEN, 0xff));
    endure(Box::new(device), 2, |driver, memory, queues| {
        let [rx, tx] = queues else { unreachable!("two queues") };
        number.set((number.get() + 1) % 0xff);
        send(&mut host.borrow_mut(), &frame(LEN, number.get()));
        driver.transport().host_ready(0);
        receive(driver, memory, rx, number.get());
        memory.write_slice(&[0; 80], GuestAddress(DATA)).unwrap();
        let head = tx.offer(&[Buffer::Readable(DATA, 72)]);
        driver.kick(1);
        assert_eq!(tx.take_used(), Some((head, 0)));
        assert!(driver.take_interrupts() > 0);
        // Whatever bad frames came before it.
        let mut got = Vec::new();
        let _ = std::io::Read::read_to_end(&mut *host.borrow_mut(), &mut got);
        assert!(got.ends_with(&[0; LEN]));
        send(&mut host.borrow_mut(), &frame(LEN, 0xff));
        driver.transport().host_ready(0);
    });
}
