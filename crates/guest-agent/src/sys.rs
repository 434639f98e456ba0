//! What neither the standard library nor rustix offers as a safe call. The only modules of
//! this package with `unsafe` in them.

pub(crate) mod ioctl;
pub(crate) mod port;
pub(crate) mod process;
