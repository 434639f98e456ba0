//! 64-bit x86. Everything here is plain data but for the few functions that hand it to a
//! vCPU: [`regs`], [`msr`] and [`lapic`].

pub(crate) mod acpi;
pub(crate) mod cpuid;
pub(crate) mod lapic;
pub(crate) mod layout;
pub(crate) mod mptable;
pub(crate) mod msr;
pub(crate) mod regs;
pub(crate) mod tables;
