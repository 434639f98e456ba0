//! A host with a network of its own: namespaces in which nothing is reached but what a test
//! starts there.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::requirement::tools;
use crate::{missing, until};

/// How long the servers of a test may take to listen.
const START: Duration = Duration::from_secs(30);

/// Makes the network, starts what the test wants, and ends with the pipe. As process 1 of its
/// namespace it takes the servers along, however it ends.
const SCRIPT: &str = "set -e
trap '' INT TERM HUP
ip link set lo up
ip addr add \"$1\"/32 dev lo
[ ! -e /etc/resolv.conf ] || mount --bind \"$2\" /etc/resolv.conf
cd \"$3\"
eval \"$4\"
echo ready
read _ || :";

/// A host of a test's own, with the loopback and one address more. It goes with its servers
/// when this is dropped or the process ends.
#[derive(Debug)]
pub struct HostNet {
    holder: Child,
    files: TempDir,
}

impl HostNet {
    /// The address of the host that is not its loopback.
    pub const ADDRESS: &'static str = "198.51.100.1";

    /// A host whose programs ask these name servers, and on which these lines of shell have
    /// started servers, each with `&` and in [`HostNet::files`]. `None`, with a visible reason,
    /// where that cannot be.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start(nameservers: &[&str], servers: &str) -> Option<Self> {
        if !tools(&["passt", "unshare", "nsenter", "ip"]) {
            return None;
        }
        let files = tempfile::tempdir().expect("make a temporary directory");
        let resolver = files.path().join("resolv.conf");
        let lines: String = nameservers.iter().map(|one| format!("nameserver {one}\n")).collect();
        fs::write(&resolver, lines).expect("write a file of the test");
        let served = files.path().join("served");
        fs::create_dir(&served).expect("make a directory of the test");
        let mut holder = Command::new("unshare");
        holder.args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"]);
        holder.args(["--kill-child", "sh", "-c", SCRIPT, "host", Self::ADDRESS]);
        holder.args([&resolver, &served]).arg(servers);
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut holder = holder.spawn().expect("start unshare");
        let mut line = String::new();
        let said = holder.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        if line != "ready\n" {
            let _ = holder.wait();
            missing("namespaces", &format!("no host of its own: {said:?}"));
            return None;
        }
        Some(Self { holder, files })
    }

    /// Where the servers are started.
    pub fn files(&self) -> std::path::PathBuf {
        self.files.path().join("served")
    }

    /// Words that have the program after them run on this host.
    pub fn enter(&self) -> Vec<OsString> {
        let pid = self.holder.id().to_string();
        let words = ["nsenter", "-t", &pid, "-U", "-n", "-m", "--preserve-credentials", "--"];
        words.map(OsString::from).into()
    }

    /// Runs a program on this host; what it printed, or how it failed.
    ///
    /// # Errors
    /// Its exit status and what it said.
    pub fn run(&self, words: &[&str]) -> Result<String, String> {
        let enter = self.enter();
        let output = Command::new(&enter[0]).args(&enter[1..]).args(words).output();
        let output = output.expect("start nsenter");
        let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
        match output.status.success() {
            true => Ok(out.into_owned()),
            false => Err(format!("{}: {out}{err}", output.status)),
        }
    }

    /// Waits until somebody listens at this port: `protocol` is `tcp`, `tcp6` or `udp`.
    ///
    /// # Panics
    /// Where nobody does.
    pub fn listens(&self, protocol: &str, port: u16) {
        let table = format!("/proc/{}/net/{protocol}", self.holder.id());
        // Connected sockets have another state, which is the fourth word.
        let state = if protocol.starts_with("tcp") { "0A" } else { "07" };
        let listening = until(START, || {
            let text = fs::read_to_string(&table).unwrap_or_default();
            let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let found = lines.any(|words| {
                words.get(1).is_some_and(|local| local.ends_with(&format!(":{port:04X}")))
                    && words.get(3) == Some(&state)
            });
            if found { Ok(()) } else { Err(text) }
        });
        listening.unwrap_or_else(|text| panic!("nobody listens at {protocol} {port}:\n{text}"));
    }
}

impl Drop for HostNet {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
