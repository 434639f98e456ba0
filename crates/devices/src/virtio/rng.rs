//! The entropy device (virtio 1.2, 5.4): it fills what it is given with random bytes.

mod device;
#[cfg(test)]
mod tests;

pub use device::{MAX_REQUEST, Rng};
