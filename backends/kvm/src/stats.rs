//! What the monitor counts, checked.

use std::time::Duration;

use microagent_backend::{DeviceStats, Error, ErrorKind, MachineStats, Result, VcpuStats};
use microagent_vmm_protocol::{MAX_VCPUS, MonitorStats, VIRTIO_SLOTS};

use crate::limits::MAX_DEVICE_NAME;

/// The monitor's counters as any machine's.
///
/// # Errors
/// `Protocol` for more vCPUs or devices than a machine can have, and names that are none.
pub(crate) fn machine_stats(stats: MonitorStats) -> Result<MachineStats> {
    let MonitorStats { vcpus, devices, start_us } = stats;
    let wrong = |what: String| {
        Err(Error::new(ErrorKind::Protocol, format!("the monitor counts for {what}")))
    };
    if vcpus.len() > usize::from(MAX_VCPUS) {
        return wrong(format!("{} vCPUs, the most is {MAX_VCPUS}", vcpus.len()));
    }
    if devices.len() > usize::from(VIRTIO_SLOTS) {
        return wrong(format!("{} devices, the most is {VIRTIO_SLOTS}", devices.len()));
    }
    if let Some(device) = devices.iter().find(|device| !is_name(&device.name)) {
        let start: String = device.name.chars().take(MAX_DEVICE_NAME).collect();
        return wrong(format!("a device with the name {start:?}"));
    }
    Ok(MachineStats {
        vcpus: vcpus.into_iter().map(vcpu).collect(),
        devices: devices.into_iter().map(device).collect(),
        start: start_us.map(Duration::from_micros),
    })
}

fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b":-_".contains(&byte);
    (1..=MAX_DEVICE_NAME).contains(&text.len()) && text.bytes().all(known)
}

fn vcpu(vcpu: microagent_vmm_protocol::VcpuStats) -> VcpuStats {
    let microagent_vmm_protocol::VcpuStats { exits, io, mmio } = vcpu;
    VcpuStats { exits, io, mmio }
}

fn device(device: microagent_vmm_protocol::DeviceStats) -> DeviceStats {
    let microagent_vmm_protocol::DeviceStats {
        name,
        chains,
        bytes_from_guest,
        bytes_to_guest,
        malformed,
    } = device;
    DeviceStats { name, requests: chains, bytes_from_guest, bytes_to_guest, malformed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(vcpus: usize, devices: usize, name: &str) -> MonitorStats {
        let vcpu = microagent_vmm_protocol::VcpuStats { exits: Some(3), io: 1, mmio: 2 };
        let device =
            microagent_vmm_protocol::DeviceStats { name: name.into(), ..Default::default() };
        MonitorStats {
            vcpus: vec![vcpu; vcpus],
            devices: vec![device; devices],
            start_us: Some(1500),
        }
    }

    #[test]
    fn counters_keep_their_meaning() {
        let got = machine_stats(stats(1, 1, "block:root")).unwrap();
        assert_eq!(got.vcpus, [VcpuStats { exits: Some(3), io: 1, mmio: 2 }]);
        assert_eq!(got.devices[0].name, "block:root");
        assert_eq!(got.start, Some(Duration::from_micros(1500)));
    }

    #[test]
    fn nonsense_is_refused() {
        let check = |stats, expect: &str| {
            let error = machine_stats(stats).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Protocol);
            assert_eq!(error.message, format!("the monitor counts for {expect}"));
        };
        check(stats(33, 0, ""), "33 vCPUs, the most is 32");
        check(stats(1, 20, "d"), "20 devices, the most is 19");
        check(stats(1, 1, "a\nb"), "a device with the name \"a\\nb\"");
        check(stats(1, 1, ""), "a device with the name \"\"");
    }
}
