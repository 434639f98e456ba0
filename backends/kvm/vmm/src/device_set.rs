//! The devices of a machine: the only file that knows all kinds of them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use microagent_devices::bus::{Bus, BusDevice, BusError, BusRange};
use microagent_devices::serial::{self, Serial};
use microagent_devices::virtio::block::{self, Block, BlockError};
use microagent_devices::virtio::console::Console;
use microagent_devices::virtio::device::{Counters, VirtioDevice};
use microagent_devices::virtio::mmio::{MmioTransport, protocol};
use microagent_devices::virtio::net::{self, Net, NetError};
use microagent_devices::virtio::rng::Rng;
use microagent_devices::virtio::vsock::{self, VirtioVsock, Vsock, VsockError};
use microagent_vmm_protocol::{
    DeviceStats, MonitorDisk, MonitorNet, MonitorSpec, MonitorVsock, NetKind, VIRTIO_SLOTS,
};
use vmm_sys_util::eventfd::EventFd;

use crate::arch::layout::{COM1_GSI, COM1_PORT, DeviceSlot, VIRTIO_LEN};
use crate::monitor::{DiskFile, IoThread};
use crate::vcpu::Buses;
use crate::vm::{Vm, VmError};

/// Why there are no devices.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceSetError {
    #[error(transparent)]
    Vm(#[from] VmError),
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Vsock(#[from] VsockError),
    #[error("vsock.socket of the specification is {0:?}, expected a file name")]
    Socket(String),
    #[error("cannot make the {device} device")]
    Device {
        device: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot watch device {device}")]
    Watch {
        device: String,
        #[source]
        source: io::Error,
    },
    #[error("{0} virtio devices are asked for, there is room for {VIRTIO_SLOTS}")]
    TooMany(usize),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// What devices are made of.
#[derive(Debug)]
pub(crate) struct HostEnds {
    pub(crate) disks: Vec<DiskFile>,
    pub(crate) console: File,
    pub(crate) vsock: UnixListener,
    pub(crate) net: Option<OwnedFd>,
}

// Two crates, one register file.
const _: () = assert!(VIRTIO_LEN == protocol::LEN);

/// All virtio devices, by their slots.
#[derive(Debug)]
pub(crate) struct DeviceSet {
    devices: Vec<Arc<MmioTransport>>,
}

impl DeviceSet {
    /// Makes what `spec` asks for, lets `io` serve it, and says where vCPUs reach it.
    pub(crate) fn new(
        spec: &MonitorSpec,
        ends: HostEnds,
        vm: &Vm,
        io: &mut IoThread,
    ) -> Result<(Self, Buses), DeviceSetError> {
        let console = ends.console.try_clone().map_err(failed("console"))?;
        let devices = make(spec, ends)?;
        if devices.len() > usize::from(VIRTIO_SLOTS) {
            return Err(DeviceSetError::TooMany(devices.len()));
        }
        let (mut set, mut ranges) = (Self { devices: Vec::new() }, Vec::new());
        for (index, device) in (0..).zip(devices) {
            let slot = DeviceSlot::of(index);
            let transport = attach(device, slot, vm, io)?;
            let range = BusRange { base: slot.base, len: VIRTIO_LEN };
            ranges.push((range, Arc::clone(&transport) as Arc<dyn BusDevice>));
            set.devices.push(transport);
        }
        let com1: Arc<dyn BusDevice> = Arc::new(Serial::new(vm.interrupt(COM1_GSI)?, console));
        let ports = BusRange { base: COM1_PORT.into(), len: serial::LEN };
        Ok((set, Buses { ports: Bus::new([(ports, com1)])?, memory: Bus::new(ranges)? }))
    }

    /// Where the devices are.
    pub(crate) fn slots(&self) -> Vec<DeviceSlot> {
        (0..).zip(&self.devices).map(|(index, _)| DeviceSlot::of(index)).collect()
    }

    /// What the devices counted.
    pub(crate) fn stats(&self) -> Vec<DeviceStats> {
        let stats = self.devices.iter().map(|device| {
            let Counters { chains, bytes_from_guest, bytes_to_guest, malformed } =
                device.counters();
            let name = device.name();
            DeviceStats { name, chains, bytes_from_guest, bytes_to_guest, malformed }
        });
        stats.collect()
    }
}

/// The devices in the order of their slots: disks first, so that their names in the guest do
/// not depend on what else there is.
fn make(spec: &MonitorSpec, ends: HostEnds) -> Result<Vec<Box<dyn VirtioDevice>>, DeviceSetError> {
    let HostEnds { disks, console, vsock, net: net_fd } = ends;
    let mut devices: Vec<Box<dyn VirtioDevice>> = Vec::new();
    for (disk, file) in spec.disks.iter().zip(disks) {
        let MonitorDisk { id, path: _, read_only } = disk;
        let config = block::Config { id: id.clone(), file: file.file, read_only: *read_only };
        devices.push(Box::new(Block::new(config)?));
    }
    if let Some(MonitorVsock { cid, socket }) = &spec.vsock {
        if Path::new(socket).file_name() != Some(socket.as_ref()) {
            return Err(DeviceSetError::Socket(socket.clone()));
        }
        let config = vsock::Config { guest_cid: *cid, socket: socket.clone(), listener: vsock };
        let device = VirtioVsock::new(Vsock::new(config)?).map_err(failed("vsock"))?;
        devices.push(Box::new(device));
    }
    if let (Some(MonitorNet { mac, kind }), Some(fd)) = (&spec.net, net_fd) {
        let host = match kind {
            NetKind::Stream => net::HostEnd::Stream(fd.into()),
            NetKind::Tap => net::HostEnd::Tap(fd),
        };
        devices.push(Box::new(Net::new(net::Config { mac: *mac, mtu: None, host })?));
    }
    if spec.rng {
        devices.push(Box::new(Rng::new().map_err(failed("entropy"))?));
    }
    if spec.virtio_console {
        devices.push(Box::new(Console::new(console).map_err(failed("console"))?));
    }
    Ok(devices)
}

/// Puts a device into its slot.
fn attach(
    device: Box<dyn VirtioDevice>,
    slot: DeviceSlot,
    vm: &Vm,
    io: &mut IoThread,
) -> Result<Arc<MmioTransport>, DeviceSetError> {
    let interrupt = vm.interrupt(slot.gsi)?;
    let transport = Arc::new(MmioTransport::new(device, vm.memory().clone(), interrupt));
    let kicks = (0u32..).take(transport.queue_count());
    let kicks: Vec<EventFd> = kicks
        .map(|queue| vm.notification(slot.base + protocol::QUEUE_NOTIFY, queue))
        .collect::<Result<_, _>>()?;
    io.add(&transport, kicks)
        .map_err(|source| DeviceSetError::Watch { device: transport.name(), source })?;
    Ok(transport)
}

fn failed(device: &'static str) -> impl Fn(io::Error) -> DeviceSetError {
    move |source| DeviceSetError::Device { device, source }
}
