//! A real web server on a loopback port.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ChildStdin;
use std::time::Duration;

use tempfile::TempDir;

use crate::janitor::attach;
use crate::registry::free_port;
use crate::requirement::{find, missing};
use crate::until;

/// How long it may take to listen.
const START: Duration = Duration::from_secs(30);

/// Path of its program.
const PROGRAM: &str = "MICROAGENT_NGINX";

/// Starts the server, says so by a file, and ends it with the pipe.
const SCRIPT: &str = "trap '' INT TERM HUP
\"$1\" -e stderr -p \"$2\" -c nginx.conf </dev/null & pid=$!
read _
kill $pid
wait $pid
: >\"$2/gone\"";

/// A server of its own, which ends when this is dropped or the process ends.
#[derive(Debug)]
pub struct Nginx {
    port: u16,
    folder: TempDir,
    stdin: Option<ChildStdin>,
}

impl Nginx {
    /// Starts one that serves these files, each a name and a content. `None`, with a visible
    /// reason, where the program is missing.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start(files: &[(&str, &str)]) -> Option<Self> {
        let program = program()?;
        let folder = tempfile::tempdir().expect("make a temporary directory");
        fs::create_dir(folder.path().join("www")).expect("make a directory");
        for (name, content) in files {
            fs::write(folder.path().join("www").join(name), content).expect("write a file");
        }
        let port = free_port();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path temporary/{what};"))
            .join(" ");
        fs::create_dir(folder.path().join("temporary")).expect("make a directory");
        let text = format!(
            "daemon off; master_process off; pid nginx.pid; events {{ worker_connections 512; }}\n\
             http {{ access_log off; {temporary}\n\
             server {{ listen 127.0.0.1:{port}; root www; }} }}\n"
        );
        fs::write(folder.path().join("nginx.conf"), text).expect("write the configuration");
        let stdin = Some(attach(SCRIPT, &[&program, folder.path()]));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        until(START, || TcpStream::connect(address).map(drop)).expect("the server listens");
        Some(Self { port, folder, stdin })
    }

    /// `127.0.0.1:` and its port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it, and waits until it is gone.
    ///
    /// # Panics
    /// Where it does not go.
    pub fn end(mut self) {
        self.stdin = None;
        let gone = self.folder.path().join("gone");
        let look = || if gone.exists() { Ok(()) } else { Err("it is still there") };
        until(START, look).expect("the server ends");
    }
}

/// Debian's server: named by the environment, where it was only unpacked, or installed.
fn program() -> Option<PathBuf> {
    let named = env::var_os(PROGRAM).filter(|path| !path.is_empty()).map(PathBuf::from);
    let found = named.or_else(|| find("nginx"));
    if found.is_none() {
        missing("nginx", "it is not installed");
    }
    found
}
