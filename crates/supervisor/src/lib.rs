//! Choosing a backend for a machine.
//!
//! Users say `--supervisor`: a name, a name with options, or a path. A [`Selection`] is
//! what they said, a [`Registry`] is what this program was built with, and
//! [`Registry::choose`] brings the two together with the machine that is asked for.
//!
//! This crate knows no backend; the program registers them. Supervisor executables and
//! plugins are not here yet.

mod choose;
mod identify;
mod registry;
mod selection;

pub use choose::{Choice, Reason};
pub use identify::{MAX_VERSION_OUTPUT, VERSION_DEADLINE};
pub use registry::{Entry, Factory, Registry, Wanted};
pub use selection::Selection;
