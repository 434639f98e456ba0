//! The servers of devices, run for real, with this test in the place of a hypervisor and its guest.
#![allow(clippy::unwrap_used, clippy::panic)] // what fails here fails a test

mod frontend;
mod net;
mod server;
mod vsock;
