//! The initramfs that carries the agent and its configuration; pure, no I/O.
//!
//! Two `cpio` archives of the `newc` format, one after the other: the first is the same for
//! every run and holds the agent, the second is this run's and holds the configuration.
//! See `Documentation/driver-api/early-userspace/buffer-format.rst` of Linux.

use crate::{AgentConfig, CONFIG_PATH};

/// Where the agent mounts the root disk before it switches to it; made in the archive.
pub const ROOT_MOUNT: &str = "/root-mount";

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SECRET: u32 = 0o100_600;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// `/dev/console`, which the kernel opens as init's first three files.
const CONSOLE: Device = Device { major: 5, minor: 1 };
/// `/dev/null`, which the agent's runtime opens where there is no console.
const NULL: Device = Device { major: 1, minor: 3 };
/// Archives and the data of files begin at multiples of this.
const ALIGNMENT: usize = 4;
const END: &str = "TRAILER!!!";

/// The part that is the same for every run: `/init` and the directories that it mounts on.
/// Its length is a multiple of 4.
pub fn base(agent: &[u8]) -> Vec<u8> {
    let mut archive = Archive::with_capacity(agent.len() + 2048);
    for directory in ["dev", "proc", "sys", &ROOT_MOUNT[1..]] {
        archive.append(&Entry::new(directory, DIRECTORY));
    }
    archive.append(&Entry { device: CONSOLE, ..Entry::new("dev/console", CHARACTER_DEVICE) });
    archive.append(&Entry { device: NULL, ..Entry::new("dev/null", CHARACTER_DEVICE) });
    archive.append(&Entry { data: agent, ..Entry::new("init", PROGRAM) });
    archive.finish()
}

/// The part of one run, to be put behind [`base`]. It holds the token: what writes it to a
/// file must keep that file to its owner. Its length is a multiple of 4.
pub fn configuration(config: &AgentConfig) -> Vec<u8> {
    let json = serde_json::to_vec(config).expect("plain structs with text keys become JSON");
    let mut archive = Archive::with_capacity(json.len() + 512);
    archive.append(&Entry { data: &json, ..Entry::new(&CONFIG_PATH[1..], SECRET) });
    archive.finish()
}

/// The whole initramfs of a run.
pub fn archive(agent: &[u8], config: &AgentConfig) -> Vec<u8> {
    let mut bytes = base(agent);
    bytes.extend_from_slice(&configuration(config));
    bytes
}

#[derive(Clone, Copy, Default)]
struct Device {
    major: u32,
    minor: u32,
}

struct Entry<'a> {
    /// Relative to the root, without a leading slash.
    name: &'a str,
    mode: u32,
    device: Device,
    data: &'a [u8],
}

impl<'a> Entry<'a> {
    fn new(name: &'a str, mode: u32) -> Self {
        Self { name, mode, device: Device::default(), data: &[] }
    }
}

struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), entries: 0 }
    }

    fn append(&mut self, entry: &Entry<'_>) {
        self.entries += 1;
        let links = if entry.mode == DIRECTORY { 2 } else { 1 };
        let fields = [
            self.entries, // inode number
            entry.mode,
            0, // uid
            0, // gid
            links,
            0, // modified at the epoch: the same inputs give the same bytes
            entry.data.len() as u32,
            0, // device of the archive, major
            0, // and minor
            entry.device.major,
            entry.device.minor,
            entry.name.len() as u32 + 1,
            0, // no checksum in this format
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(entry.name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(entry.data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.append(&Entry::new(END, 0));
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AGENT_PORT, OnDisconnect, PowerOff, RootDisk, Token, VERSION};

    fn config() -> AgentConfig {
        AgentConfig {
            version: VERSION,
            token: Token::new([7; 16]),
            port: AGENT_PORT,
            on_disconnect: OnDisconnect::PowerOff,
            power_off: PowerOff::Reset,
            hostname: "guest".to_owned(),
            network: None,
            root: RootDisk::Plain { disk: "root".to_owned(), grow: false },
            mounts: Vec::new(),
            loopback_ports: Vec::new(),
        }
    }

    struct Found {
        name: String,
        mode: u32,
        device: (u32, u32),
        data: Vec<u8>,
    }

    /// Every entry, read as the kernel reads them.
    fn read(mut bytes: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |n: usize| {
                let digits = std::str::from_utf8(&bytes[6 + 8 * n..14 + 8 * n]).unwrap();
                u32::from_str_radix(digits, 16).unwrap()
            };
            let (size, name_size) = (field(6) as usize, field(11) as usize);
            let name = std::str::from_utf8(&bytes[110..110 + name_size - 1]).unwrap().to_owned();
            let data = (110 + name_size).next_multiple_of(4);
            let (mode, device) = (field(1), (field(9), field(10)));
            found.push(Found { name, mode, device, data: bytes[data..data + size].to_vec() });
            bytes = &bytes[(data + size).next_multiple_of(4)..];
        }
        found
    }

    #[test]
    fn holds_what_the_agent_needs_and_nothing_else() {
        let entries = read(&archive(b"agent", &config()));
        let heads: Vec<_> = entries.iter().map(|e| (&e.name[..], e.mode, e.device)).collect();
        let expect = [
            ("dev", 0o40755, (0, 0)),
            ("proc", 0o40755, (0, 0)),
            ("sys", 0o40755, (0, 0)),
            ("root-mount", 0o40755, (0, 0)),
            ("dev/console", 0o20600, (5, 1)),
            ("dev/null", 0o20600, (1, 3)),
            ("init", 0o100755, (0, 0)),
            (END, 0, (0, 0)),
            ("microagent.json", 0o100600, (0, 0)),
            (END, 0, (0, 0)),
        ];
        assert_eq!(heads, expect);
        assert_eq!(entries[6].data, b"agent");
        assert_eq!(serde_json::from_slice::<AgentConfig>(&entries[8].data).unwrap(), config());
    }

    #[test]
    fn parts_are_aligned_whatever_the_length_of_the_agent() {
        for len in 0..9 {
            assert_eq!(base(&vec![1; len]).len() % 4, 0, "{len}");
        }
        assert_eq!(configuration(&config()).len() % 4, 0);
    }
}
