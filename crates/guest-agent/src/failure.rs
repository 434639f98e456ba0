//! What can prevent a guest from being set up.

use std::io;

use microagent_guest_protocol::VERSION;

/// Why there is no machine to run commands in. Each text names what is missing, with the
/// kernel option where a kernel without it is the likely reason.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("read the configuration {path}: {error}")]
    NoConfiguration { path: &'static str, error: io::Error },
    #[error("configuration of version {found}, this agent has version {VERSION}")]
    ConfigurationVersion { found: u64 },
    #[error("configuration: {0}")]
    Configuration(serde_json::Error),
    #[error("connect to the host: {missing}: {error}")]
    Connect { missing: &'static str, error: io::Error },
    #[error("the host refused this agent: {0}")]
    Refused(String),
    #[error("the host did not answer within {0} s")]
    NoAnswer(u64),
    #[error("session with the host: {0}")]
    Session(#[from] crate::link::LinkError),
    #[error(
        "no disk with serial number '{serial}' (there are: {found}); a kernel needs \
         CONFIG_VIRTIO_BLK and the driver of its bus, CONFIG_VIRTIO_MMIO or CONFIG_VIRTIO_PCI"
    )]
    NoDisk { serial: String, found: String },
    #[error(
        "no network device with address {mac}; a kernel needs CONFIG_VIRTIO_NET and the driver of \
         its bus, CONFIG_VIRTIO_MMIO or CONFIG_VIRTIO_PCI"
    )]
    NoNetworkDevice { mac: String },
    #[error("device-mapper, {step}: {error}{hint}")]
    Mapper { step: &'static str, error: io::Error, hint: &'static str },
    #[error("mount {what} on {target}: {error}{hint}")]
    Mount { what: String, target: String, error: io::Error, hint: &'static str },
    #[error("{action} {path}: {error}")]
    Path { action: &'static str, path: String, error: io::Error },
    #[error("grow the root file system to {blocks} blocks: {error}")]
    Grow { blocks: u64, error: io::Error },
    #[error("{action}: {error}")]
    System { action: &'static str, error: io::Error },
}

impl SetupError {
    /// For `map_err` on what is done to a path.
    pub(crate) fn path<E: Into<io::Error>>(
        action: &'static str,
        path: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |error| Self::Path { action, path, error: error.into() }
    }

    /// For `map_err` on what has no path.
    pub(crate) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System { action, error: error.into() }
    }
}
