//! What a vCPU leaves KVM for.

use std::sync::atomic::{AtomicU64, Ordering};

use kvm_ioctls::{VcpuExit, VcpuFd};
use microagent_devices::bus::Bus;
use vmm_sys_util::errno;

use super::run_page::RunPage;
use crate::arch::layout::{EXIT_PORT, KEYBOARD_PORT, KEYBOARD_RESET};

/// `KVM_INTERNAL_ERROR_EMULATION`: an instruction that KVM had to interpret and could not.
const EMULATION: u32 = 1;
/// The first word that tells of such an instruction says that its bytes follow.
const HAS_INSTRUCTION: u64 = 1;

/// Where accesses of vCPUs go.
#[derive(Debug)]
pub(crate) struct Buses {
    /// By port.
    pub(crate) ports: Bus,
    /// By address.
    pub(crate) memory: Bus,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The guest powered it off.
    PowerOff,
    /// The guest wanted a reset, or brought its processor down.
    Reset,
    /// It cannot go on; why, in one line.
    Failed(String),
}

/// How often a vCPU came to this process.
#[derive(Debug, Default)]
pub(crate) struct Exits {
    /// For a port.
    pub(crate) io: AtomicU64,
    /// For a device's memory.
    pub(crate) mmio: AtomicU64,
}

/// What is to be done after an exit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Run on.
    Run,
    /// Somebody wants something: see whether the vCPU is to be held.
    Look,
    /// The machine has ended.
    End(End),
}

/// Lets the vCPU run until it exits, and does what the exit asks for.
pub(crate) fn run_once(fd: &mut VcpuFd, page: &RunPage, buses: &Buses, exits: &Exits) -> Next {
    let failure = match fd.run() {
        Ok(VcpuExit::IoOut(port, data)) => {
            exits.io.fetch_add(1, Ordering::Relaxed);
            return write_port(buses, port, data.chunks(page.port_access_len()));
        }
        Ok(VcpuExit::IoIn(port, data)) => {
            exits.io.fetch_add(1, Ordering::Relaxed);
            for data in data.chunks_mut(page.port_access_len()) {
                buses.ports.read(port.into(), data);
            }
            return Next::Run;
        }
        Ok(VcpuExit::MmioRead(address, data)) => {
            exits.mmio.fetch_add(1, Ordering::Relaxed);
            buses.memory.read(address, data);
            return Next::Run;
        }
        Ok(VcpuExit::MmioWrite(address, data)) => {
            exits.mmio.fetch_add(1, Ordering::Relaxed);
            buses.memory.write(address, data);
            return Next::Run;
        }
        Ok(VcpuExit::Shutdown) => return Next::End(End::Reset),
        Ok(VcpuExit::Intr) => return Next::Look,
        // KVM gives EAGAIN for a vCPU that another one has just started.
        Err(error) if [libc::EINTR, libc::EAGAIN].contains(&error.errno()) => return Next::Look,
        Ok(VcpuExit::InternalError) => internal_error(page),
        Ok(VcpuExit::FailEntry(reason, _)) => {
            format!("the processor refuses the guest's state (reason {reason:#x})")
        }
        Ok(other) => format!("unexpected exit {other:?}"),
        Err(error) => format!("cannot run: {}", errno::Error::new(error.errno())),
    };
    Next::End(End::Failed(match fd.get_regs() {
        Ok(registers) => format!("{failure}, at rip {:#x}", registers.rip),
        Err(_) => failure,
    }))
}

fn write_port<'d>(buses: &Buses, port: u16, accesses: impl Iterator<Item = &'d [u8]>) -> Next {
    for data in accesses {
        match (port, data) {
            (EXIT_PORT, _) => return Next::End(End::PowerOff),
            (KEYBOARD_PORT, &[KEYBOARD_RESET]) => return Next::End(End::Reset),
            _ => buses.ports.write(port.into(), data),
        };
    }
    Next::Run
}

fn internal_error(page: &RunPage) -> String {
    let (kind, words) = page.internal_error();
    if kind != EMULATION {
        return format!("KVM gave up (suberror {kind})");
    }
    match instruction(&words) {
        Some(bytes) => format!("KVM cannot emulate the instruction {bytes} (suberror {kind})"),
        None => format!("KVM cannot emulate an instruction (suberror {kind})"),
    }
}

/// The bytes of the instruction that could not be emulated, in hexadecimal: flags, then a
/// length of one byte and up to 15 bytes (`kvm_run.emulation_failure`).
fn instruction(words: &[u64]) -> Option<String> {
    let (flags, rest) = words.split_first()?;
    let bytes: Vec<u8> = rest.iter().take(2).flat_map(|word| word.to_le_bytes()).collect();
    let (len, bytes) = bytes.split_first()?;
    if flags & HAS_INSTRUCTION == 0 {
        return None;
    }
    let bytes = bytes.get(..usize::from(*len))?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_that_end_a_machine() {
        let buses = Buses { ports: Bus::default(), memory: Bus::default() };
        let check = |port, accesses: &[&[u8]], expect| {
            assert_eq!(write_port(&buses, port, accesses.iter().copied()), expect, "{port:#x}");
        };
        check(0x604, &[&[0]], Next::End(End::PowerOff));
        check(0x604, &[&[0xff, 0xff]], Next::End(End::PowerOff));
        check(0x605, &[&[0]], Next::Run);
        check(0x64, &[&[0xfe]], Next::End(End::Reset));
        check(0x64, &[&[0xaa], &[0xfe]], Next::End(End::Reset));
        check(0x64, &[&[0xaa]], Next::Run);
        check(0x64, &[&[0xfe, 0]], Next::Run);
    }

    #[test]
    fn an_instruction_is_named_where_it_is_known() {
        let check = |words: &[u64], expect: Option<&str>| {
            assert_eq!(instruction(words).as_deref(), expect, "{words:x?}");
        };
        check(&[1, u64::from_le_bytes([4, 0xf0, 0x0f, 0xc1, 0, 0, 0, 0]), 0], Some("f0 0f c1 00"));
        check(&[1, 0, 0], Some(""));
        check(&[1, 0xff, 0], None);
        check(&[0, 0x9001, 0], None);
        check(&[1], None);
        check(&[], None);
    }
}
