//! Choosing a backend for a machine.
//!
//! Users say `--supervisor`: a name, a name with options, or a path. A [`Selection`] is
//! what they said, a [`Registry`] is what this program was built with, and
//! [`Registry::choose`] brings the two together with the machine that is asked for.
//!
//! This crate knows no backend; the program registers them. What is no hypervisor of theirs
//! can speak the supervisor protocol: an [`ExecutableBackend`] asks an executable, or a
//! plugin that [`plugin_answer`] loads in a process of its own.

mod choose;
mod executable;
mod executable_machine;
mod identify;
mod plugin;
mod plugin_host;
mod process;
mod program;
mod registry;
mod selection;
mod words;

pub use choose::{Choice, Reason};
pub use executable::ExecutableBackend;
pub use identify::{IDENTIFY_WITHIN, MAX_VERSION_OUTPUT, VERSION_DEADLINE};
pub use plugin::plugin_answer;
pub use plugin_host::PluginHost;
pub use registry::{Entry, Factory, Registry, Wanted};
pub use selection::Selection;
