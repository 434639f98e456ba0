//! How much of the host's memory a machine takes beyond what its guest has.
//!
//! Read from `/proc/<pid>/smaps` of every process of the machine. Shared pages count in
//! proportion (PSS), so that what two machines share is not counted twice. What the kernel
//! itself holds for a machine, its page tables for one, is not in it.

use std::fs;
use std::io;

use microagent_backend::{Machine, ProcessIsolation};
use microagent_machine::MiB;
use serde::{Deserialize, Serialize};

/// Where the part of guest memory below 4 GiB ends on x86, in KiB: what lies behind is for
/// devices, and memory goes on at 4 GiB.
const LOW_END: u64 = 3 << 20;

/// What the processes of a machine take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footprint {
    /// One entry for each process.
    pub processes: Vec<ProcessFootprint>,
    /// Whether the guest's memory was recognised, in whole, among what they map. Where it was
    /// not, `beyond_guest_kib` may hold some of it.
    pub guest_found: bool,
}

/// What one process takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessFootprint {
    /// What it is: `monitor`, `guard`, `vsock`.
    pub role: String,
    /// Proportional set size of all but the guest's memory, in KiB.
    pub beyond_guest_kib: u64,
    /// Proportional set size of the guest's memory, in KiB.
    pub guest_kib: u64,
}

/// What a map of a process's memory adds up to, in KiB.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    beyond_guest: u64,
    guest: u64,
    guest_mapped: u64,
}

impl Footprint {
    /// All of it but the guest's memory, in KiB.
    pub fn beyond_guest_kib(&self) -> u64 {
        self.processes.iter().map(|process| process.beyond_guest_kib).sum()
    }

    /// The guest's memory that is there, in KiB.
    pub fn guest_kib(&self) -> u64 {
        self.processes.iter().map(|process| process.guest_kib).sum()
    }
}

/// Looks at the processes of a machine that has `memory`; `None`, with the reason in the log,
/// where that cannot be done.
pub(crate) async fn of_machine(machine: &dyn Machine, memory: MiB) -> Option<Footprint> {
    let isolation = match machine.isolation().await {
        Ok(isolation) => isolation,
        Err(error) => {
            tracing::warn!(%error, "cannot find the machine's processes to measure them");
            return None;
        }
    };
    let mut footprint = Footprint { processes: Vec::new(), guest_found: false };
    for ProcessIsolation { role, pid, .. } in isolation.processes {
        let sums = match read(pid, memory) {
            Ok(sums) => sums,
            Err(error) => {
                tracing::warn!(%error, role, pid, "cannot measure a process");
                return None;
            }
        };
        footprint.guest_found |= sums.guest_mapped >= u64::from(memory.0) << 10;
        footprint.processes.push(ProcessFootprint {
            role,
            beyond_guest_kib: sums.beyond_guest,
            guest_kib: sums.guest,
        });
    }
    Some(footprint)
}

/// Proportional set size of this process, in KiB.
pub(crate) fn of_this_process() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    text.lines().find_map(pss)
}

fn read(pid: u32, memory: MiB) -> io::Result<Sums> {
    Ok(add_up(&fs::read_to_string(format!("/proc/{pid}/smaps"))?, memory))
}

/// Adds up what `smaps` says (proc_pid_smaps(5)): a line for each mapping, followed by lines
/// about it.
fn add_up(smaps: &str, memory: MiB) -> Sums {
    let mut sums = Sums::default();
    let mut guest = false;
    for line in smaps.lines() {
        match (Mapping::parse(line), pss(line)) {
            (Some(mapping), _) => {
                guest = mapping.holds_guest(memory);
                sums.guest_mapped += if guest { mapping.kib } else { 0 };
            }
            (None, Some(kib)) if guest => sums.guest += kib,
            (None, Some(kib)) => sums.beyond_guest += kib,
            (None, None) => {}
        }
    }
    sums
}

fn pss(line: &str) -> Option<u64> {
    line.strip_prefix("Pss:")?.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The first line of what is said of a mapping.
#[derive(Debug)]
struct Mapping<'a> {
    kib: u64,
    executable: bool,
    name: &'a str,
}

impl<'a> Mapping<'a> {
    /// `start-end permissions offset device inode name`; `None` for any other line.
    fn parse(line: &'a str) -> Option<Self> {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        let kib = address(end)?.checked_sub(address(start)?)? >> 10;
        let (permissions, rest) = rest.split_once(' ')?;
        let mut fields = rest.splitn(4, ' ');
        let name = fields.nth(3).unwrap_or_default().trim();
        Some(Self { kib, executable: permissions.contains('x'), name })
    }

    /// Whether this is memory of the guest: a file of memory, which is how it is shared with
    /// another process, or a nameless mapping exactly as long as the guest's memory or as
    /// either part of it. What a translator writes its code to is none.
    fn holds_guest(&self, memory: MiB) -> bool {
        let memory = u64::from(memory.0) << 10;
        let parts = [memory.min(LOW_END), memory.saturating_sub(LOW_END), memory];
        !self.executable
            && (self.name.starts_with("/memfd:")
                || (self.name.is_empty() && self.kib > 0 && parts.contains(&self.kib)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map of these mappings, each with the KiB of it that are there.
    fn smaps(mappings: &[(&str, u64)]) -> String {
        let about = |(line, pss): &(&str, u64)| {
            format!("{line}\nSize: 4096 kB\nPss:  {pss:>10} kB\nPss_Dirty: 7 kB\nVmFlags: rd wr\n")
        };
        mappings.iter().map(about).collect()
    }

    fn check(mappings: &[(&str, u64)], mib: u32, expect: (u64, u64, u64)) {
        let Sums { beyond_guest, guest, guest_mapped } = add_up(&smaps(mappings), MiB(mib));
        assert_eq!((beyond_guest, guest, guest_mapped >> 10), expect, "{mappings:?}");
    }

    #[test]
    fn shared_memory_is_the_guests() {
        let guest = "7f0000000000-7f0008000000 rw-s 00000000 00:01 1055  /memfd:memory (deleted)";
        let program = "55d0c0000000-55d0c0400000 r-xp 0004b000 fe:00 12   /usr/bin/a monitor";
        let heap = "55d0c1000000-55d0c1100000 rw-p 00000000 00:00 0     [heap]";
        check(&[(program, 900), (guest, 5000), (heap, 100)], 128, (1000, 5000, 128));
    }

    #[test]
    fn a_nameless_mapping_is_the_guests_by_its_length() {
        let exact = "7f0000000000-7f0008000000 rw-p 00000000 00:00 0 ";
        let longer = "7f0010000000-7f0018001000 rw-p 00000000 00:00 0 ";
        let code = "7f0020000000-7f0028000000 rwxp 00000000 00:00 0 ";
        check(&[(exact, 3), (longer, 20), (code, 100)], 128, (120, 3, 128));
        let low = "7f0000000000-7f00c0000000 rw-p 00000000 00:00 0 ";
        let high = "7f0100000000-7f0140000000 rw-p 00000000 00:00 0 ";
        check(&[(low, 1), (high, 2)], 4096, (0, 3, 4096));
        check(&[(high, 2)], 3072, (2, 0, 0));
    }

    #[test]
    fn what_is_no_map_adds_up_to_nothing() {
        check(&[("", 0)], 128, (0, 0, 0));
        assert_eq!(add_up("Pss: much kB\n\0\n-\n1-0 r\n", MiB(1)), Sums::default());
    }

    #[test]
    fn this_process_takes_some() {
        let sums = read(std::process::id(), MiB(1 << 20)).unwrap();
        assert!(sums.beyond_guest > 0 && sums.guest == 0, "{sums:?}");
    }
}
