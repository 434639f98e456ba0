//! The run flow, workspaces and the state directory.
//!
//! [`named`] are workspaces that last.
//!
//! [`run()`] brings a request from an image to the result of a command: it calls on images,
//! root disks, kernels, the supervisor and vsock, and asks of backends only what they can
//! do, never which they are.

mod artifacts;
mod attach;
mod attend;
mod base_disk;
mod command;
mod config;
mod directory;
mod ending;
mod error;
mod events;
mod footprint;
mod interrupt;
mod lock;
mod mediation;
mod name;
pub mod named;
mod network;
mod origin;
mod outputs;
mod phases;
mod plan;
mod progress;
mod request;
mod resolver;
mod resources;
mod rootfs_build;
mod run;
mod state_dir;
mod volumes;

pub use artifacts::{Artifact, Destination, artifacts, get_artifacts};
pub use attach::{
    DiskRequest, DiskSource, InvalidMountPoint, MountPoint, check_disks, check_names, check_unused,
};
pub use base_disk::prune_bases;
pub use command::CommandRequest;
pub use config::{Config, ConfigError};
pub use ending::{
    CommandResult, EXIT_FAILED, EXIT_TIMEOUT, Ending, ReportedImage, ReportedResources, RunReport,
    signal_code,
};
pub use error::RunError;
pub use footprint::{Footprint, ProcessFootprint};
pub use interrupt::{Interrupt, Interrupts};
pub use mediation::{
    InvalidMediation, MediationRequest, ReportedMediation, ReportedMediationState,
};
pub use microagent_guest_protocol::{ExitStatus, TtySize};
pub use microagent_rootfs::Owners;
pub use microagent_vsock::{Need, Sink, sink_to};
pub use name::{InvalidName, Name};
pub use network::Network;
pub use origin::Origin;
pub use outputs::{OutputRequest, ReportedOutput, check_outputs};
pub use phases::{Phase, Phases};
pub use plan::ordinary_machine;
pub use progress::{ForImages, Progress};
pub use request::{Leave, RunIo, RunRequest, Tools};
pub use resources::{DEFAULT_CPUS, DEFAULT_MEMORY, LEAST_MEMORY, PROFILES, Profile, Resources};
pub use rootfs_build::{RootfsBuilt, RootfsRequest, build_rootfs};
pub use run::{DryRun, dry_run, run};
pub use state_dir::StateDir;
pub use volumes::{
    DEFAULT_VOLUME, TRANSPORTS, Volume, create_volume, inspect_volume, remove_volume, volumes,
};
