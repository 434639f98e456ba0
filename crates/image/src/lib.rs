//! From an OCI reference or a local archive to verified layers and a configuration.
//!
//! A [`Source`] says where an image is, [`Store::resolve`] brings it into a directory of
//! blobs that are named by their digests, and the [`Image`] that comes back lists what a
//! root disk is built from. Nothing enters the store before its digest was checked, and an
//! image that is in it is found again without the network.
//!
//! What is deliberately not here: layers are neither decompressed nor read. That their
//! uncompressed bytes match the image's `diff_ids` is checked by whoever unpacks them.

mod aside;
mod compression;
mod config;
mod digest;
mod document;
mod error;
mod image;
mod limits;
mod options;
mod origin;
mod platform;
mod progress;
mod reference;
mod resolve;
mod select;
mod source;
mod store;

pub use compression::Compression;
pub use config::ImageConfig;
pub use digest::{Digest, InvalidDigest};
pub use error::{ErrorKind, ImageError};
pub use image::{Image, Layer};
pub use options::{PullPolicy, ResolveOptions};
pub use platform::Platform;
pub use progress::{NoProgress, Progress};
pub use reference::Reference;
pub use source::Source;
pub use store::{Hold, ImageRecord, PruneScope, Report, Store};

/// What the fallible operations of this crate return.
pub type Result<T, E = ImageError> = std::result::Result<T, E>;
