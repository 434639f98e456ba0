//! What the fuzz targets share: bytes as instructions, a hostile driver of a virtio device, and
//! the monitor's boot parsers, which no library has.
//!
//! Each target is a program of `fuzz_targets`; what was found worth keeping is in `corpus`, a
//! folder for each. `ci/fuzz` builds and runs them.

mod allocations;
mod boot_sources;
mod device;
mod files;
mod guest;
mod input;
mod session;

// The boot parsers are compiled here as they stand in the monitor, and name this.
pub(crate) use boot_sources::arch;

pub use allocations::limit_allocations;
pub use boot_sources::load_kernel;
pub use device::{Device, Driven, Request};
pub use files::{memory_file, path_of};
pub use guest::{Guest, SIZE};
pub use input::Input;
pub use microagent_vmm_protocol::KernelImage;
pub use session::run;
