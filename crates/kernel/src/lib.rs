//! The catalogue of guest kernels: what a kernel file is, which one a run boots, and whether
//! it is still the one that was installed.
//!
//! [`inspect`] recognises a kernel by its content alone. [`Catalogue`] picks one, installs
//! one, verifies one, and builds one from a source package.
//!
//! Deliberately not here: fetching over a network (the caller hands in a file), and what a
//! kernel is asked to do (its command line belongs to the machine spec and the backends).

mod build;
mod catalogue;
mod digest;
mod elf;
mod error;
mod facts;
mod inspect;
mod install;
mod manifest;
#[cfg(test)]
mod samples;
mod setup_header;
mod stamp;

pub use build::BuildOptions;
pub use catalogue::{Catalogue, Kernel, ListedKernel, Source, VerifyReport};
pub use error::KernelError;
pub use inspect::{KernelFile, inspect};
pub use manifest::Manifest;
