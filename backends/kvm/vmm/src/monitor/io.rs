//! The thread that all devices run on.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use microagent_devices::virtio::mmio::MmioTransport;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::ending::Ending;
use super::gate::Gate;

/// How many events are taken at once.
const BATCH: usize = 32;
/// How often events are looked for before the thread is held: what a guest was told is done,
/// such as its last words, shall be done; a host program that talks on shall not hold it up.
const TURNS_BEFORE_HELD: usize = 64;
/// Stands for [`Wake`] among the events.
const WAKE: u64 = u64::MAX;

/// Everything that the thread waits for.
#[derive(Debug)]
pub(crate) struct IoThread {
    epoll: Epoll,
    sources: Vec<Source>,
    wake: Wake,
}

/// Something that happens to a device.
#[derive(Debug)]
struct Source {
    device: Arc<MmioTransport>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The guest has put buffers into a queue. Watched for as long as it exists.
    Kick { queue: usize, _event: EventFd },
    /// Something happened to a descriptor, by its number.
    Host { event: usize },
}

/// Makes the thread look whether it is to be held.
#[derive(Debug, Clone)]
pub(crate) struct Wake(Arc<EventFd>);

impl Wake {
    pub(crate) fn wake(&self) {
        // Fails only where 2^64 wakes are pending.
        let _ = self.0.write(1);
    }
}

impl IoThread {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let wake = Wake(Arc::new(EventFd::new(EFD_NONBLOCK | libc::EFD_CLOEXEC)?));
        watch(&epoll, wake.0.as_raw_fd(), EventSet::IN, WAKE)?;
        Ok(Self { epoll, sources: Vec::new(), wake })
    }

    /// What makes it look whether it is to be held.
    pub(crate) fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Serves `device` from now on; `kicks` has an event for each of its queues.
    pub(crate) fn add(
        &mut self,
        device: &Arc<MmioTransport>,
        kicks: Vec<EventFd>,
    ) -> io::Result<()> {
        for (queue, event) in kicks.into_iter().enumerate() {
            self.watch(event.as_raw_fd(), EventSet::IN)?;
            let what = What::Kick { queue, _event: event };
            self.sources.push(Source { device: Arc::clone(device), what });
        }
        device.each_host_event(|event, fd| {
            // Hang-ups and errors are told whether they are asked for or not.
            self.watch(fd.as_raw_fd(), EventSet::IN | EventSet::OUT)?;
            self.sources.push(Source { device: Arc::clone(device), what: What::Host { event } });
            Ok(())
        })
    }

    fn watch(&self, fd: RawFd, events: EventSet) -> io::Result<()> {
        watch(&self.epoll, fd, events, self.sources.len() as u64)
    }

    /// Runs in this thread for good, held wherever `gate` is closed and it was woken. A machine
    /// that has ended, as `ending` says, waits for what its devices owe the host.
    pub(crate) fn run(self, gate: &Gate, ending: &Ending) -> io::Error {
        gate.pass();
        loop {
            match self.serve(-1) {
                Ok(Served { woken: false, .. }) => {}
                Ok(Served { woken: true, .. }) => {
                    if gate.is_closed() {
                        self.finish();
                        if ending.end().is_some() {
                            self.pay();
                        }
                        gate.pass();
                    }
                }
                Err(error) => return error,
            }
        }
    }

    /// Does what there is to do already.
    fn finish(&self) {
        for _ in 0..TURNS_BEFORE_HELD {
            if !matches!(self.serve(0), Ok(Served { any: true, .. })) {
                return;
            }
        }
    }

    /// Goes on until the host has taken what the guest gave its devices. Whoever waits for this
    /// thread at the gate says for how long.
    fn pay(&self) {
        let owes = |source: &Source| source.device.owes_host();
        while self.sources.iter().any(owes) && self.serve(-1).is_ok() {}
    }

    /// Waits for events, for `timeout` milliseconds or for good, and serves them.
    fn serve(&self, timeout: i32) -> io::Result<Served> {
        let mut events = [EpollEvent::default(); BATCH];
        let count = match self.epoll.wait(timeout, &mut events) {
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => return Err(e),
        };
        let mut woken = false;
        for event in &events[..count] {
            match usize::try_from(event.data()).ok().and_then(|at| self.sources.get(at)) {
                Some(source) => source.serve(),
                None => {
                    let _ = self.wake.0.read();
                    woken = true;
                }
            }
        }
        Ok(Served { any: count > 0, woken })
    }
}

/// What came of waiting.
struct Served {
    /// Whether there was anything.
    any: bool,
    /// Whether somebody wants the thread to look.
    woken: bool,
}

impl Source {
    fn serve(&self) {
        match &self.what {
            What::Kick { queue, .. } => {
                // Every write of the guest is told, read or not, and so nothing reads: the count
                // overflows after 2^64 of them.
                self.device.queue_kicked(*queue);
            }
            What::Host { event } => self.device.host_ready(*event),
        }
    }
}

fn watch(epoll: &Epoll, fd: RawFd, events: EventSet, data: u64) -> io::Result<()> {
    let event = EpollEvent::new(events | EventSet::EDGE_TRIGGERED, data);
    epoll.ctl(ControlOperation::Add, fd, event)
}
