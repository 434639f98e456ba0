//! The seccomp filters of this program: `seccomp/<arch>.json`, compiled by `build.rs`.
//!
//! A call that the guard, the gateway or the server of a device may not make fails with `EPERM`
//! instead of ending the process: a C library newer than the filter can then do without it, while
//! one that was smuggled in gains as little either way. The threads of a monitor run what a guest
//! says, so there it ends the machine: whoever got that far shall not try again.

use std::io;

use microagent_confine::Filter;

/// A filter of its own for each kind of process or thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// A hypervisor, from before it begins: what none of them needs. Most filter themselves
    /// further, some not in every thread.
    Child,
    /// A guard whose child runs.
    Guard,
    /// A gateway whose passt runs.
    Gateway,
    /// A server of a vsock device, all of whose threads run.
    Vsock,
    /// A server of a network device, all of whose threads run.
    Net,
    /// The thread of a monitor that takes requests.
    Monitor,
    /// A thread that runs a vCPU.
    Vcpu,
    /// The thread that runs devices.
    Io,
}

/// For every thread of this process.
pub(crate) fn install(class: Class) -> io::Result<()> {
    filter(class)?.map_or(Ok(()), |filter| filter.install())
}

/// For this thread alone.
pub(crate) fn install_on_this_thread(class: Class) -> io::Result<()> {
    filter(class)?.map_or(Ok(()), |filter| filter.install_on_this_thread())
}

pub(crate) fn filter(class: Class) -> io::Result<Option<Filter>> {
    let filter = Filter::from_bytes(bytes(class)).map_err(io::Error::other)?;
    if filter.is_none() {
        tracing::warn!("no system call filter was written for this kind of machine");
    }
    Ok(filter)
}

fn bytes(class: Class) -> &'static [u8] {
    match class {
        Class::Child => include_bytes!(concat!(env!("OUT_DIR"), "/child.bpf")),
        Class::Guard => include_bytes!(concat!(env!("OUT_DIR"), "/guard.bpf")),
        Class::Gateway => include_bytes!(concat!(env!("OUT_DIR"), "/gateway.bpf")),
        Class::Vsock => include_bytes!(concat!(env!("OUT_DIR"), "/vsock.bpf")),
        Class::Net => include_bytes!(concat!(env!("OUT_DIR"), "/net.bpf")),
        Class::Monitor => include_bytes!(concat!(env!("OUT_DIR"), "/monitor.bpf")),
        Class::Vcpu => include_bytes!(concat!(env!("OUT_DIR"), "/vcpu.bpf")),
        Class::Io => include_bytes!(concat!(env!("OUT_DIR"), "/io.bpf")),
    }
}

#[cfg(test)]
mod tests;
