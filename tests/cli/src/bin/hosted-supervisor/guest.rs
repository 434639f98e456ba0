//! The guest: says hello to the host, and becomes the agent.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use microagent_guest_protocol::frame::{HEADER_LEN, Header};
use microagent_guest_protocol::{AgentConfig, AgentMessage, CONFIG_PATH, HostMessage, VERSION};

/// The machine's initramfs in its run directory.
pub(crate) const INITRAMFS: &str = "hosted-initramfs";
/// The agent, as it came in the initramfs.
const AGENT: &str = "hosted-agent";

/// Becomes the guest of the machine whose run directory this process works in.
pub(crate) fn run() -> io::Result<()> {
    let initramfs = fs::read(INITRAMFS)?;
    let config = entry(&initramfs, &CONFIG_PATH[1..]).expect("every initramfs has a configuration");
    let config: AgentConfig = serde_json::from_slice(config)?;
    let mut options = fs::OpenOptions::new();
    let agent = entry(&initramfs, "init").expect("every initramfs has an agent");
    options.write(true).create(true).truncate(true).mode(0o700).open(AGENT)?.write_all(agent)?;
    // By its short name: the directory's may be too long for a socket's address.
    let host = hello(UnixStream::connect(format!("vsock_{}", config.port))?, &config)?;
    Err(Command::new(format!("./{AGENT}")).stdin(OwnedFd::from(host)).exec())
}

fn hello(mut host: UnixStream, config: &AgentConfig) -> io::Result<UnixStream> {
    let token = config.token.clone();
    let hello = AgentMessage::Hello { version: VERSION, token, session: 0 };
    host.write_all(&hello.to_frame().map_err(io::Error::other)?)?;
    let mut header = [0; HEADER_LEN];
    host.read_exact(&mut header)?;
    let header = Header::decode(&header).map_err(io::Error::other)?;
    let mut payload = vec![0; header.len];
    host.read_exact(&mut payload)?;
    match HostMessage::parse(&payload).map_err(io::Error::other)? {
        HostMessage::Welcome => Ok(host),
        other => Err(io::Error::other(format!("expected a welcome, got {other:?}"))),
    }
}

/// The data of a file in `newc` archives, one after the other.
fn entry<'a>(mut archives: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    while archives.len() >= 110 {
        let field = |n: usize| {
            let digits = std::str::from_utf8(&archives[6 + 8 * n..14 + 8 * n]).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let (size, name_size) = (field(6)?, field(11)?);
        let data = (110 + name_size).next_multiple_of(4);
        if archives.get(110..110 + name_size - 1)? == wanted.as_bytes() {
            return archives.get(data..data + size);
        }
        archives = archives.get((data + size).next_multiple_of(4)..)?;
    }
    None
}
