//! The images that the tests run, made once and kept: see each maker.

mod busybox;
mod debian;
mod debian_layers;
mod reference;
mod whiteouts;

pub use busybox::{Busybox, base_layer, busybox};
pub use debian::{Debian, debian};
pub use whiteouts::{Whiteouts, whiteouts};
