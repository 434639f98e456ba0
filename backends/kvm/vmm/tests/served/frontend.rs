//! A vhost-user frontend and the driver of its guest.

use std::fs::File;
use std::os::fd::AsRawFd;

use microagent_devices::testing::{Buffer, DriverQueue};
use rustix::fs::MemfdFlags;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend as Session, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use crate::server::Server;

const MEMORY: usize = 0x10_0000;
const QUEUES: [u64; 2] = [0x1000, 0x8000];
const SIZE: u16 = 32;
const RX_BASE: u64 = 0x2_0000;
const RX_BUFFER: u32 = 4096;
const TX_BASE: u64 = 0x8_0000;
/// Where the frontend says that it has the guest's memory.
const HERE: u64 = 0x7000_0000_0000;
/// How long anything here may take, in milliseconds.
const PATIENCE: i32 = 20_000;
/// The queues of vsock and of a network alike.
const QUEUE_RX: usize = 0;
const QUEUE_TX: usize = 1;

/// Guest memory that can be handed to another process.
pub(crate) fn shared_memory() -> GuestMemoryMmap {
    let file = File::from(rustix::fs::memfd_create(c"guest", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(MEMORY as u64).unwrap();
    let range = (GuestAddress(0), MEMORY, Some(FileOffset::new(file, 0)));
    GuestMemoryMmap::from_ranges_with_files([range]).unwrap()
}

/// A frontend and its guest.
pub(crate) struct Frontend<'m> {
    memory: &'m GuestMemoryMmap,
    session: Session,
    queues: [DriverQueue<'m>; 2],
    kicks: [EventFd; 2],
    calls: [EventFd; 2],
    bases: [u16; 2],
}

impl<'m> Frontend<'m> {
    /// A frontend that has said who it is and where its guest's memory is.
    pub(crate) fn connect(server: &Server, memory: &'m GuestMemoryMmap) -> Self {
        let mut session = Session::from_stream(server.frontend(), 2);
        session.set_owner().unwrap();
        let features = session.get_features().unwrap();
        let extra = session.get_protocol_features().unwrap();
        assert!(extra.contains(VhostUserProtocolFeatures::CONFIG | VhostUserProtocolFeatures::MQ));
        session.set_protocol_features(extra).unwrap();
        session.set_features(features).unwrap();
        let eventfds = || [0; 2].map(|_| EventFd::new(0).unwrap());
        let mut frontend = Self {
            memory,
            session,
            queues: QUEUES.map(|base| DriverQueue::new(memory, base, SIZE)),
            kicks: eventfds(),
            calls: eventfds(),
            bases: [0; 2],
        };
        frontend.share_memory();
        frontend
    }

    /// Says where its guest's memory is, as it does again when there is more.
    pub(crate) fn share_memory(&mut self) {
        let region = self.memory.iter().next().unwrap();
        let table = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: MEMORY as u64,
            userspace_addr: HERE,
            mmap_offset: 0,
            mmap_handle: region.file_offset().unwrap().file().as_raw_fd(),
        };
        self.session.set_mem_table(&[table]).unwrap();
    }

    /// What the device says about itself.
    pub(crate) fn config(&mut self) -> Vec<u8> {
        self.session.get_config(0, 8, VhostUserConfigFlags::empty(), &[0; 8]).unwrap().1
    }

    /// What happens when the guest's driver is ready.
    pub(crate) fn start(&mut self) {
        for n in 0..u64::from(SIZE) / 2 {
            let address = RX_BASE + n * u64::from(RX_BUFFER);
            self.queues[QUEUE_RX].offer(&[Buffer::Writable(address, RX_BUFFER)]);
        }
        self.resume();
    }

    /// What happens when the guest was reset and its driver is ready again.
    pub(crate) fn start_anew(&mut self) {
        self.memory.write_slice(&[0; 0xf000], GuestAddress(0x1000)).unwrap();
        self.queues = QUEUES.map(|base| DriverQueue::new(self.memory, base, SIZE));
        self.bases = [0; 2];
        self.start();
    }

    /// What happens when the machine is stopped.
    pub(crate) fn pause(&mut self) {
        for index in [QUEUE_RX, QUEUE_TX] {
            self.session.set_vring_enable(index, false).unwrap();
            self.bases[index] = self.session.get_vring_base(index).unwrap() as u16;
        }
    }

    /// What happens when it goes on.
    pub(crate) fn resume(&mut self) {
        for index in [QUEUE_RX, QUEUE_TX] {
            let [table, available, used] = self.queues[index].addresses();
            let place = VringConfigData {
                queue_max_size: SIZE,
                queue_size: SIZE,
                flags: 0,
                desc_table_addr: HERE + table,
                used_ring_addr: HERE + used,
                avail_ring_addr: HERE + available,
                log_addr: None,
            };
            self.session.set_vring_num(index, SIZE).unwrap();
            self.session.set_vring_addr(index, &place).unwrap();
            self.session.set_vring_base(index, self.bases[index]).unwrap();
            self.session.set_vring_call(index, &self.calls[index]).unwrap();
            self.session.set_vring_kick(index, &self.kicks[index]).unwrap();
            self.session.set_vring_enable(index, true).unwrap();
        }
    }

    /// Has the device send this.
    pub(crate) fn transmit(&mut self, packet: &[u8]) {
        self.memory.write_slice(packet, GuestAddress(TX_BASE)).unwrap();
        self.queues[QUEUE_TX].offer(&[Buffer::Readable(TX_BASE, packet.len() as u32)]);
        self.kicks[QUEUE_TX].write(1).unwrap();
        self.wait_used(QUEUE_TX);
    }

    /// Says that there is more to send than there can be.
    pub(crate) fn break_queue(&mut self) {
        self.queues[QUEUE_TX].set_available(0x7fff);
        self.kicks[QUEUE_TX].write(1).unwrap();
    }

    /// What the device received next.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let (head, len) = self.wait_used(QUEUE_RX);
        let mut bytes = vec![0; len as usize];
        let address = RX_BASE + u64::from(head) * u64::from(RX_BUFFER);
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    /// Waits until the device is done with a chain.
    fn wait_used(&mut self, index: usize) -> (u16, u32) {
        loop {
            if let Some(used) = self.queues[index].take_used() {
                return used;
            }
            let epoll = Epoll::new().unwrap();
            let event = EpollEvent::new(EventSet::IN, 0);
            epoll.ctl(ControlOperation::Add, self.calls[index].as_raw_fd(), event).unwrap();
            let heard = epoll.wait(PATIENCE, &mut [EpollEvent::default()]).unwrap();
            assert_eq!(heard, 1, "nothing was heard of the device");
            self.calls[index].read().unwrap();
        }
    }
}
