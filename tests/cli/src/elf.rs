//! Programs and kernels that are small enough to be written by hand.

mod kernel;
mod program32;

pub use kernel::{hanging_kernel, resetting_kernel};
pub use program32::i386_exit;
