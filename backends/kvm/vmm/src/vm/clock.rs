//! The machine's clock, which stands still while the machine does.

use kvm_bindings::kvm_clock_data;

use super::{Vm, VmError, refused};

impl Vm {
    /// Nanoseconds on the machine's clock.
    pub(crate) fn clock(&self) -> Result<u64, VmError> {
        Ok(self.fd.get_clock().map_err(refused("to read the machine's clock"))?.clock)
    }

    /// Sets the machine's clock.
    pub(crate) fn set_clock(&self, clock: u64) -> Result<(), VmError> {
        let clock = kvm_clock_data { clock, ..kvm_clock_data::default() };
        self.fd.set_clock(&clock).map_err(refused("to set the machine's clock"))
    }
}
