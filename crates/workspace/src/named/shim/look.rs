//! What a machine takes of the host, and what its console says.

use std::fs;

use microagent_backend::Machine;
use microagent_machine::MiB;

use super::Seen;
use crate::footprint;
use crate::named::outcome::Usage;

/// How much of the console is shown, in bytes.
const CONSOLE_SHOWN: u64 = 1 << 20;

/// In what times in `/proc/<pid>/stat` are counted, per second: `USER_HZ` of Linux.
const USER_HZ: u64 = 100;

/// Looks at a machine whose guest has so much memory.
pub(super) async fn look(machine: &dyn Machine, memory: MiB) -> Seen {
    let processes = machine.isolation().await.map(|found| found.processes).unwrap_or_default();
    let cpu_ms = processes.iter().filter_map(|process| cpu_time(process.pid)).sum();
    let counters = match machine.as_stats() {
        Some(stats) => stats.read().await.ok(),
        None => None,
    };
    let memory = footprint::of_machine(machine, memory).await;
    let shim_kib = footprint::of_this_process();
    let usage = Usage { memory, cpu_ms, shim_kib, counters };
    Seen { usage, console: machine.console().last(CONSOLE_SHOWN).unwrap_or_default() }
}

/// Processor time of a process and all its threads, in milliseconds.
fn cpu_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; what follows the last one does not.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut times = rest.split(' ').skip(11).map_while(|text| text.parse::<u64>().ok());
    Some((times.next()? + times.next()?) * 1000 / USER_HZ)
}
