//! The host end of a machine's vsock device.

use std::path::{Path, PathBuf};

/// A hybrid vsock socket.
///
/// A host program that connects to [`VsockSocket::path`] and writes `CONNECT <port>\n` is
/// answered `OK <n>\n` and then talks to that port of the guest. What the guest opens to
/// the host (context id 2) at a port arrives at the Unix socket
/// [`VsockSocket::listener_path`] of that port, if somebody listens there.
///
/// The paths can be longer than a Unix socket address allows (107 bytes); who binds or
/// connects goes through a descriptor of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VsockSocket {
    path: PathBuf,
}

impl VsockSocket {
    /// The socket at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where host programs connect to reach the guest.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a host program listens for the guest's connections to `port`.
    pub fn listener_path(&self, port: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!("_{port}"));
        PathBuf::from(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_connections_arrive_beside_the_socket() {
        let socket = VsockSocket::new("/run/m/vsock");
        assert_eq!(socket.listener_path(1024), Path::new("/run/m/vsock_1024"));
    }
}
