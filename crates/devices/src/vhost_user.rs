//! Devices as vhost-user servers: for a hypervisor that has the guest but not the device.

pub mod net;
pub mod vsock;
