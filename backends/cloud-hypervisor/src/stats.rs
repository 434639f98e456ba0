//! What Cloud Hypervisor counts, as any machine's.
//!
//! It counts for disks and little else: nothing for vCPUs, nor for vsock and entropy.

use std::collections::BTreeMap;

use microagent_backend::{DeviceStats, Error, ErrorKind, MachineStats, Result};

use crate::api::Counters;
use crate::limits::{MAX_DEVICE_NAME, MAX_DEVICES};
use crate::translate::DISK;

/// Its counters as any machine's.
///
/// # Errors
/// `Protocol` for more devices than a machine can have, and names that are none.
pub(crate) fn machine_stats(counters: &Counters) -> Result<MachineStats> {
    let Counters(devices) = counters;
    let wrong = |what: String| {
        Err(Error::new(ErrorKind::Protocol, format!("cloud-hypervisor counts for {what}")))
    };
    if devices.len() > MAX_DEVICES {
        return wrong(format!("{} devices, the most is {MAX_DEVICES}", devices.len()));
    }
    if let Some(name) = devices.keys().find(|name| !is_name(name)) {
        let start: String = name.chars().take(MAX_DEVICE_NAME).collect();
        return wrong(format!("a device with the name {start:?}"));
    }
    let devices = devices.iter().map(|(name, counters)| device(name, counters)).collect();
    Ok(MachineStats { vcpus: Vec::new(), devices, start: None })
}

fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b":-_".contains(&byte);
    (1..=MAX_DEVICE_NAME).contains(&text.len()) && text.bytes().all(known)
}

/// Counters that wrap are Cloud Hypervisor's; what it does not count is 0.
fn device(name: &str, counters: &BTreeMap<String, u64>) -> DeviceStats {
    let count = |name: &str| counters.get(name).copied().unwrap_or_default();
    DeviceStats {
        name: match name.strip_prefix(DISK) {
            Some(id) => format!("block:{id}"),
            None => name.to_owned(),
        },
        requests: count("read_ops").wrapping_add(count("write_ops")),
        bytes_from_guest: count("write_bytes"),
        bytes_to_guest: count("read_bytes"),
        malformed: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(json: &str) -> Counters {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn disks_are_called_by_their_ids() {
        let counters = counters(
            r#"{"block-root": {"read_bytes": 4096, "read_ops": 2, "write_bytes": 512,
            "write_ops": 1, "read_latency_min": 18446744073709551615}}"#,
        );
        let expect = DeviceStats {
            name: "block:root".into(),
            requests: 3,
            bytes_from_guest: 512,
            bytes_to_guest: 4096,
            malformed: 0,
        };
        assert_eq!(machine_stats(&counters).unwrap().devices, [expect]);
    }

    #[test]
    fn nonsense_is_refused() {
        let check = |json: &str, expect: &str| {
            let error = machine_stats(&counters(json)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Protocol);
            assert_eq!(error.message, format!("cloud-hypervisor counts for {expect}"));
        };
        check(r#"{"a\nb": {}}"#, "a device with the name \"a\\nb\"");
        check(r#"{"": {}}"#, "a device with the name \"\"");
        let many: Vec<_> = (0..33).map(|n| format!("\"d{n}\": {{}}")).collect();
        check(&format!("{{{}}}", many.join(",")), "33 devices, the most is 32");
    }
}
