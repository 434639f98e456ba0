//! The monitor, run for real on this host's KVM, with guests of a few instructions.
#![allow(clippy::unwrap_used, clippy::panic)] // what fails here fails a test

mod code;
mod fixture;
mod life;

use crate::code::Guest;
use crate::fixture::{Fixture, kvm_is_missing};
