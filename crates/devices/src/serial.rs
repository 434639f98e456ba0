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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    use super::*;

    /// Registers of a 16550 and bits of them.
    const DATA: u64 = 0;
    const INTERRUPT_ENABLE: u64 = 1;
    const INTERRUPT_IDENTITY: u64 = 2;
    const MODEM_CONTROL: u64 = 4;
    const LINE_STATUS: u64 = 5;
    const LOOPBACK: u8 = 0x10;
    const CAN_WRITE: u8 = 0x60;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _data: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn irq() -> EventFd {
        EventFd::new(EFD_NONBLOCK).unwrap()
    }

    fn read(serial: &impl BusDevice, register: u64) -> u8 {
        let mut byte = [0];
        serial.read(register, &mut byte);
        byte[0]
    }

    #[test]
    fn what_is_written_comes_out() {
        let screen = Screen::default();
        let serial = Serial::new(irq(), screen.clone());
        for byte in b"hello\r\n\xff" {
            assert_eq!(read(&serial, LINE_STATUS) & CAN_WRITE, CAN_WRITE);
            serial.write(DATA, &[*byte]);
        }
        assert_eq!(*screen.0.lock().unwrap(), b"hello\r\n\xff");
    }

    #[test]
    fn a_guest_that_writes_by_interrupts_is_told_even_if_nobody_listens() {
        let irq = irq();
        let serial = Serial::new(irq.try_clone().unwrap(), Gone);
        serial.write(INTERRUPT_ENABLE, &[2]);
        for _ in 0..3 {
            serial.write(DATA, b"x");
            assert!(irq.read().is_ok());
            assert_eq!(read(&serial, INTERRUPT_IDENTITY) & 0xf, 2, "room to write");
            assert_eq!(read(&serial, LINE_STATUS) & CAN_WRITE, CAN_WRITE);
        }
    }

    #[test]
    fn any_access_is_survived() {
        let screen = Screen::default();
        let serial = Serial::new(irq(), screen.clone());
        // A receive buffer that is full of the guest's own output.
        serial.write(MODEM_CONTROL, &[LOOPBACK]);
        for _ in 0..1000 {
            serial.write(DATA, b"x");
        }
        for register in [0, 1, 2, 3, 4, 5, 6, 7, 8, 255, 256, u64::MAX] {
            for value in [0, 1, 0x80, 0xff] {
                serial.write(register, &[value]);
                serial.write(register, &[value; 4]);
                read(&serial, register);
                let mut wide = [0; 4];
                serial.read(register, &mut wide);
                assert_eq!(wide, [0xff; 4]);
            }
        }
        serial.write(DATA, &[]);
        serial.read(DATA, &mut []);
    }
}
