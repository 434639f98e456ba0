//! The images that the tests run, made once and kept: see each maker.

mod busybox;
mod caller;
mod debian;
mod debian_layers;
mod reference;
mod whiteouts;

pub use busybox::{Busybox, base_layer, busybox};
pub use caller::caller;
pub use debian::{Debian, debian};
pub use whiteouts::{Whiteouts, whiteouts};
