//! Making OCI images, good ones and bad ones.

mod blob;
mod config;
mod entry;
mod giant;
mod layer;
mod layout;

pub use blob::{Blob, Compression, digest_of};
pub use config::Config;
pub use entry::Entry;
pub use giant::{ADDRESS_SPACE, empty_files, zeros};
pub use layer::Layer;
pub use layout::Layout;
