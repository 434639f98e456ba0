//! Talking to Cloud Hypervisor: HTTP on a Unix socket.
//!
//! Each request has a connection of its own, and a handle has one request in flight: nothing is
//! kept that could break, be in the middle of a reply, or be waited for. A connection is taken
//! by the listener's backlog even before Cloud Hypervisor runs, so that nobody has to try
//! again. What it replies is bounded in length and in time, and none of it is trusted.

mod client;
mod counters;
mod exchange;
mod info;

pub(crate) use client::Client;
pub(crate) use counters::Counters;
pub(crate) use info::Info;
