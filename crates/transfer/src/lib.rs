//! Trees of files as the records of `microagent_guest_protocol::transfer`: sent from where they
//! are, and made where they go.
//!
//! What [`place`] makes is made of the word of whoever sent it: it is for a guest, whose host is
//! trusted. What a guest sends to a host is made by `microagent_rootfs::Target`.

mod place;
mod send;

pub use place::place;
pub use send::send_tree;
