//! What a machine is asked to be: plain data, and the features that it needs.
//!
//! Nothing here knows a hypervisor, opens a file or runs a program. A [`MachineSpec`] is
//! made by the layers above the contract and read by every backend, so a field that only
//! one backend could understand does not belong in it.

mod disk;
mod feature;
mod net;
mod spec;
mod units;

pub use disk::{Access, Disk, DiskId, InvalidDiskId};
pub use feature::Feature;
pub use net::{InvalidPublish, Protocol, Publish, UserNet};
pub use spec::{Arch, Boot, DeviceArguments, KernelFormat, MachineSpec, Vsock};
pub use units::{Cid, InvalidCid, MiB};
