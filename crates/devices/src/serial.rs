//! A serial port: the 16550 that a guest writes its console to. It receives nothing.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use vm_superio::Trigger;
use vmm_sys_util::eventfd::EventFd;

use crate::bus::BusDevice;

/// How many ports it takes.
pub const LEN: u64 = 8;

/// A serial port whose output goes to `W`. What `W` does not take is lost: a guest must not
/// fail, and cannot do anything about it.
pub struct Serial<W: Write + Send>(Mutex<Uart<W>>);

type Uart<W> = vm_superio::Serial<Irq, vm_superio::serial::NoEvents, Lossy<W>>;

impl<W: Write + Send> Serial<W> {
    /// Makes a port. Writes to `irq` are interrupts of the guest.
    pub fn new(irq: EventFd, out: W) -> Self {
        Self(Mutex::new(Uart::new(Irq(irq), Lossy(out))))
    }
}

impl<W: Write + Send> BusDevice for Serial<W> {
    /// Registers are bytes; a longer access reads all ones.
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut uart = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (u8::try_from(offset), data) {
            (Ok(register), [byte]) => *byte = uart.read(register),
            (_, data) => data.fill(0xff),
        }
    }

    /// As for reads; a longer access is ignored.
    fn write(&self, offset: u64, data: &[u8]) {
        if let (Ok(register), &[byte]) = (u8::try_from(offset), data) {
            let mut uart = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Fails for a full receive buffer in loopback mode: then the byte is lost.
            let _ = uart.write(register, byte);
        }
    }
}

impl<W: Write + Send> fmt::Debug for Serial<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serial").finish_non_exhaustive()
    }
}

/// The interrupt of the port.
struct Irq(EventFd);

impl Trigger for Irq {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        // Fails only where 2^64 interrupts are pending.
        let _ = self.0.write(1);
        Ok(())
    }
}

/// Output that never fails: an error would keep the interrupt from a guest that waits for it
/// before it writes more.
struct Lossy<W>(W);

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}
