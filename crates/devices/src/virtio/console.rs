//! The console device (virtio 1.2, 5.3): one port, which the guest writes to. It receives
//! nothing, and has no size; further ports and the emergency write are deliberately absent.

mod device;
#[cfg(test)]
mod tests;

pub use device::{Console, MAX_WRITE};
