//! Machines of a real QEMU, without KVM.
//!
//! Needs a kernel, named by `MICROAGENT_KERNEL`, QEMU and busybox in `PATH`, and a built
//! `microagent-vmm`; all is tried on the QEMU that `MICROAGENT_QEMU10` names as well.

// All of it is test code, which clippy sees by the attribute alone.
#[cfg(test)]
mod bench;
#[cfg(test)]
mod devices;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod lifetime;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod timing;
