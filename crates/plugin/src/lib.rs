//! A [`Backend`](microagent_backend::Backend) as a supervisor of its own: an executable or a
//! plugin.
//!
//! [`serve`] is the whole of an executable, [`export_plugin!`] the whole of a plugin; both
//! come to [`answer`], which is the supervisor protocol spoken by a backend. The other end,
//! which starts executables and loads plugins, is in `microagent-supervisor`.

mod answer;
mod export;
mod life;
mod serve;

pub use answer::answer;
pub use export::{Buffer, Plugin, SYMBOL, TABLE_VERSION, Table};
pub use microagent_backend::{Backend, Result};
pub use serve::{reply, serve};
