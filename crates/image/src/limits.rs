//! The bounds on everything that an image, an archive or a registry may ask for.

use std::time::Duration;

/// Bytes of a manifest or an index; registries refuse larger ones too.
pub(crate) const MANIFEST_BYTES: u64 = 4 << 20;
/// Bytes of an image's configuration.
pub(crate) const CONFIG_BYTES: u64 = 8 << 20;
/// Layers of one image; container engines stop at 127.
pub(crate) const LAYERS: usize = 512;
/// Bytes of one layer as it is stored.
pub(crate) const LAYER_BYTES: u64 = 64 << 30;
/// Indexes that are opened while one platform is looked for.
pub(crate) const NESTED_INDEXES: usize = 16;
/// Bytes of the store's own index file.
pub(crate) const STORE_INDEX_BYTES: u64 = 16 << 20;
/// Members of a local archive.
pub(crate) const ARCHIVE_MEMBERS: usize = 100_000;
/// Bytes of a member's name or link target.
pub(crate) const ARCHIVE_NAME_BYTES: u64 = 4096;
/// Bytes of one member's extended header.
pub(crate) const ARCHIVE_EXTENSION_BYTES: u64 = 1 << 20;
/// Links that are followed from one name to a member's content.
pub(crate) const ARCHIVE_LINKS: usize = 8;
/// Bytes of a file with credentials.
pub(crate) const CREDENTIALS_BYTES: u64 = 1 << 20;
/// Names that an error lists.
pub(crate) const LISTED_NAMES: usize = 16;

/// Layers that are downloaded at once.
pub(crate) const PARALLEL_LAYERS: usize = 4;
/// How often a blob is asked for again after the transport failed.
pub(crate) const BLOB_RETRIES: usize = 2;

/// How long a connection may take to come up.
pub(crate) const CONNECT: Duration = Duration::from_secs(30);
/// How long a registry may send nothing.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// How long a registry's answer without a blob may take in all: a token or a manifest.
pub(crate) const ANSWER: Duration = Duration::from_secs(120);
/// How long it may take to find out whether a registry on this host speaks TLS.
pub(crate) const TLS_PROBE: Duration = Duration::from_secs(5);
/// How long a credential helper may take; some ask their user.
pub(crate) const CREDENTIALS: Duration = Duration::from_secs(60);
/// How long another process may hold a lock while it downloads the same blob.
pub(crate) const LOCK: Duration = Duration::from_secs(600);
/// How long `prune` waits for commands that use the store.
pub(crate) const PRUNE_LOCK: Duration = Duration::from_secs(30);
/// How old the recorded time of last use may grow before it is written again: the warm
/// path writes nothing within this time.
pub(crate) const LAST_USED_GRAIN: Duration = Duration::from_secs(24 * 3600);
