//! A real registry on a loopback port.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::time::Duration;

use tempfile::TempDir;

use crate::command::run;
use crate::janitor::attach;
use crate::requirement::{find, missing, tools};
use crate::until;

/// How long it may take to listen.
const START: Duration = Duration::from_secs(30);

/// Path of the registry's program.
const PROGRAM: &str = "MICROAGENT_REGISTRY";

/// Starts the registry and ends it with the pipe.
const SCRIPT: &str = "trap '' INT TERM HUP
\"$1\" serve \"$2\" </dev/null & pid=$!
read _
kill $pid";

/// A registry of its own, which ends when this is dropped or the process ends.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    storage: TempDir,
    _stdin: ChildStdin,
}

impl Registry {
    /// Starts one. `None`, with a visible reason, where the tools are missing.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start() -> Option<Self> {
        if !tools(&["skopeo"]) {
            return None;
        }
        let program = program()?;
        let storage = tempfile::tempdir().expect("make a temporary directory");
        let port = free_port();
        let config = storage.path().join("config.yml");
        let data = storage.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n",
            data.display()
        );
        fs::write(&config, text).expect("write the registry's configuration");
        let stdin = attach(SCRIPT, &[&program, &config]);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        until(START, || TcpStream::connect(address).map(drop)).expect("the registry listens");
        Some(Self { port, storage, _stdin: stdin })
    }

    /// A reference to an image here.
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Copies an image into it: `from` is in skopeo's notation, `name` with a tag.
    ///
    /// # Panics
    /// Where that fails.
    pub fn push(&self, from: &str, name: &str) {
        let to = format!("docker://{}", self.reference(name));
        run(Command::new("skopeo").args(["--insecure-policy", "copy", "-q"]).args([
            "--dest-tls-verify=false",
            from,
            &to,
        ]));
    }

    /// The file in which it keeps a blob.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let sum = digest.trim_start_matches("sha256:");
        let dir = self.storage.path().join("data/docker/registry/v2/blobs/sha256");
        dir.join(&sum[..2]).join(sum).join("data")
    }

    /// Where it keeps everything.
    pub fn storage(&self) -> &Path {
        self.storage.path()
    }
}

/// Debian's registry: named by the environment, where it was only unpacked, or installed.
fn program() -> Option<PathBuf> {
    let named = env::var_os(PROGRAM).filter(|path| !path.is_empty()).map(PathBuf::from);
    let found = named.or_else(|| find("docker-registry"));
    if found.is_none() {
        missing("docker-registry", "it is not installed");
    }
    found
}

/// A port that nobody listens on right now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind a port");
    listener.local_addr().expect("a bound socket has an address").port()
}
