//! What the end-to-end tests of the `microagent` program stand on.
//!
//! The tests in `tests/` run the real program on QEMU in TCG mode, or on the supervisor that
//! `MICROAGENT_TEST_SUPERVISOR` names. Here is what they share:
//! finding the program and the tools around it ([`Setting`]), a state directory of a test's
//! own that must be clean when the test ends ([`Sandbox`]), running the program
//! ([`Invocation`], [`Live`], [`Outcome`]), a host with a network of its own ([`HostNet`]),
//! the images that it runs ([`images`]) with the
//! parts that they are made of ([`oci`], [`elf`]), and a registry to fetch them from
//! ([`Registry`]).
//!
//! A test whose tools are missing prints a line that begins with `SKIP: ` and ends;
//! `MICROAGENT_REQUIRE`, a list of names separated by commas, makes that a failure for the
//! tools named in it, or for any if it holds `all`.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod cache;
mod command;
mod host_net;
mod invocation;
mod janitor;
mod kept;
mod leftovers;
mod live;
mod nginx;
mod outcome;
mod processes;
mod pty;
mod registry;
mod requirement;
mod sandbox;
mod setting;
mod supervisors;
mod wait;

pub mod elf;
pub mod images;
pub mod listing;
pub mod oci;

pub use host_net::HostNet;
pub use invocation::Invocation;
pub use kept::Kept;
pub use leftovers::Leftovers;
pub use live::Live;
pub use nginx::Nginx;
pub use outcome::Outcome;
pub use processes::{Process, mentioning};
pub use pty::Pty;
pub use registry::Registry;
pub use requirement::{find, missing, root, tools};
pub use sandbox::Sandbox;
pub use setting::Setting;
pub use wait::until;
