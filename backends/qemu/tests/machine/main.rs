//! Machines of a real QEMU, without KVM.
//!
//! Needs a kernel, named by `MICROAGENT_KERNEL`, QEMU and busybox in `PATH`, and a built
//! `microagent-vmm`; all is tried on the QEMU that `MICROAGENT_QEMU10` names as well.

mod bench;
mod devices;
mod ending;
mod guest;
mod lifetime;
mod refusal;
mod timing;
