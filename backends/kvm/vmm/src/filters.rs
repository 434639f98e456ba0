//! The seccomp filters of this program: `seccomp/<arch>.json`, compiled by `build.rs`.
//!
//! A call that is not allowed fails with `EPERM` instead of ending the process: a C library
//! newer than the filter can then do without it, while one that was smuggled in gains as
//! little either way.

use std::io;

use microagent_confine::Filter;

const GUARD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guard.bpf"));
const VSOCK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vsock.bpf"));

/// For a guard whose child runs.
pub(crate) fn guard() -> io::Result<()> {
    install(GUARD)
}

/// For a vsock server all of whose threads run.
pub(crate) fn vsock() -> io::Result<()> {
    install(VSOCK)
}

fn install(filter: &[u8]) -> io::Result<()> {
    match Filter::from_bytes(filter).map_err(io::Error::other)? {
        Some(filter) => filter.install(),
        None => {
            tracing::warn!("no system call filter was written for this kind of machine");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_for_each_process_here() {
        for filter in [GUARD, VSOCK] {
            let present = Filter::from_bytes(filter).unwrap().is_some();
            assert_eq!(present, cfg!(target_arch = "x86_64"));
        }
    }
}
