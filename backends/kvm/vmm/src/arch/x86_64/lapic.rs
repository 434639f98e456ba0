//! The two local lines of each processor's APIC, wired as on any PC.

use kvm_bindings::kvm_lapic_state;
use kvm_ioctls::VcpuFd;

/// Offsets of the registers (Intel SDM volume 3, table 11-1).
const LINE_0: usize = 0x350;
const LINE_1: usize = 0x360;
/// Delivery modes, in bits 10 to 8 (11.5.1).
const MODE: u32 = 7 << 8;
const NMI: u32 = 4 << 8;
const EXTERNAL: u32 = 7 << 8;

/// Why the lines are not wired.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LapicError {
    /// `KVM_GET_LAPIC`.
    #[error("cannot read the state of a local APIC")]
    Read(#[source] kvm_ioctls::Error),
    /// `KVM_SET_LAPIC`.
    #[error("cannot set the state of a local APIC")]
    Write(#[source] kvm_ioctls::Error),
}

/// Line 0 carries external interrupts, line 1 the non-maskable one; for every vCPU.
pub(crate) fn configure(vcpu: &VcpuFd) -> Result<(), LapicError> {
    let mut state = vcpu.get_lapic().map_err(LapicError::Read)?;
    wire(&mut state);
    vcpu.set_lapic(&state).map_err(LapicError::Write)
}

fn wire(state: &mut kvm_lapic_state) {
    set_mode(state, LINE_0, EXTERNAL);
    set_mode(state, LINE_1, NMI);
}

fn set_mode(state: &mut kvm_lapic_state, register: usize, mode: u32) {
    let mut bytes = [0; 4];
    for (byte, register) in bytes.iter_mut().zip(&state.regs[register..]) {
        *byte = *register as u8;
    }
    let value = u32::from_le_bytes(bytes) & !MODE | mode;
    for (register, byte) in state.regs[register..].iter_mut().zip(value.to_le_bytes()) {
        *register = byte as _;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modes_change() {
        let mut state = kvm_lapic_state::default();
        state.regs[LINE_0 + 2] = 1; // masked
        state.regs[LINE_1 + 1] = 7;
        wire(&mut state);
        let bytes = |at: usize| state.regs[at..at + 4].iter().map(|b| *b as u8).collect::<Vec<_>>();
        assert_eq!(bytes(LINE_0), [0, 7, 1, 0]);
        assert_eq!(bytes(LINE_1), [0, 4, 0, 0]);
        assert_eq!(state.regs.iter().filter(|byte| **byte != 0).count(), 3);
    }
}
