//! The monitor, run for real on this host's KVM, with guests of a few instructions.
#![allow(clippy::unwrap_used, clippy::panic)] // what fails here fails a test

mod clock;
mod code;
mod confinement;
mod control;
mod devices;
mod fixture;
mod life;
mod processors;
mod tap;
mod virtio;
mod vsock;

use microagent_vmm_protocol::{MonitorDisk, MonitorVsock};

use crate::code::Guest;
use crate::fixture::{Fixture, kvm_is_missing};

/// Adds a disk of zeroes.
fn add_disk(fixture: &mut Fixture, name: &str, len: usize) {
    let path = fixture.path(name);
    std::fs::write(&path, vec![0; len]).unwrap();
    fixture.spec.disks.push(MonitorDisk { id: name.to_owned(), path, read_only: false });
}

/// A vsock device with its socket beside the others.
fn vsock(socket: &str) -> MonitorVsock {
    MonitorVsock { cid: 3, socket: socket.to_owned() }
}
