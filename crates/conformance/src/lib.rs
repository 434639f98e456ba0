//! The cases that every backend must pass.
//!
//! A [`Case`] is data: a name, a [`Tier`], the features without which it means nothing, and
//! a function over a [`Context`]. [`run`] judges one case, [`Matrix`] collects verdicts. The
//! cases know no backend: what a guest is to do is said by a [`Script`], and whoever wires a
//! backend gives the [`Guests`] that can do it there ([`BareGuests`] wherever a PVH kernel
//! boots).
//!
//! Every case begins in an empty directory of its own, and whatever it did, a process that
//! still has to do with that directory after it is a failure of the case.

mod bare;
mod bench;
mod case;
mod cases;
mod context;
mod failure;
mod linux;
mod maker;
mod matrix;
mod record;
mod script;
mod traces;

pub use bare::BareGuests;
pub use case::{Case, CaseFuture, Tier, Verdict, run};
pub use cases::cases;
pub use context::Context;
pub use failure::Failure;
pub use linux::LinuxGuests;
pub use maker::{MakeRequest, Maker, make_and_hold};
pub use matrix::Matrix;
pub use record::{Found, Record};
pub use script::{End, Guests, Script, Step};
