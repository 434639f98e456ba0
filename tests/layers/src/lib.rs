//! Reading `ci/layers.toml`, `cargo metadata` and the source tree, for the tests beside it.
//!
//! The tests themselves: `edges` (who uses whom), `trees` (what must not be far below),
//! `unsafety` (where `unsafe` is written), `style` (what of the style can be counted) and `size`
//! (how large a program may be).

mod layers;
mod sources;
mod workspace;

pub use layers::{Layers, Never, UnsafePlace};
pub use sources::{Source, sources};
pub use workspace::{Workspace, root, short_name};
