//! The block device: a file of the host as a disk of the guest.
//!
//! Every request is done at once, by system calls straight from and to the guest's memory: a
//! file in the host's page cache is reached sooner so than by handing requests to threads.
//! Not here: several queues, geometry, zones, a write cache that the driver can switch (it is
//! written through for a driver that does not flush), and disks that change their size.

mod config;
mod device;
mod disk;
mod metrics;
mod protocol;
mod request;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigSpace};
pub use device::{Block, BlockError};
pub use metrics::Metrics;
pub use protocol::{HEADER_LEN, ID_LEN, SECTOR, SEGMENT_LEN};
pub use request::{Clear, Disk, Refusal, Request, Segment, Shape, parse, parse_segment};
