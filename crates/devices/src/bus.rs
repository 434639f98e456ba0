//! A guest's address space of devices, memory-mapped or of ports: which device an address is.

use std::fmt;
use std::sync::Arc;

/// What a range of addresses leads to. Accesses come from the threads of all vCPUs at once.
pub trait BusDevice: Send + Sync {
    /// Reads `data.len()` bytes, at least one, from `offset` into the device's range, which
    /// holds all of them.
    fn read(&self, offset: u64, data: &mut [u8]);

    /// Writes them.
    fn write(&self, offset: u64, data: &[u8]);
}

/// Where a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusRange {
    /// Its first address.
    pub base: u64,
    /// How many addresses it takes.
    pub len: u64,
}

impl BusRange {
    /// Its last address, if it has one.
    fn last(self) -> Option<u64> {
        self.base.checked_add(self.len.checked_sub(1)?)
    }
}

impl fmt::Display for BusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.base, self.len)
    }
}

/// Devices by their addresses, for good: nothing is added or removed once it is made, so that
/// nothing is locked to find one.
#[derive(Default)]
pub struct Bus {
    /// By their addresses.
    slots: Vec<Slot>,
}

struct Slot {
    first: u64,
    last: u64,
    device: Arc<dyn BusDevice>,
}

/// Devices that cannot be where they are said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// A range that has no address, or goes past the last that there is.
    #[error("range {0} is empty or wraps around")]
    BadRange(BusRange),
    /// Two devices would answer for one address.
    #[error("range {0} overlaps another one")]
    Overlap(BusRange),
}

impl Bus {
    /// Makes a bus of devices, in any order.
    ///
    /// # Errors
    /// See [`BusError`].
    pub fn new(
        devices: impl IntoIterator<Item = (BusRange, Arc<dyn BusDevice>)>,
    ) -> Result<Self, BusError> {
        let mut slots: Vec<Slot> = Vec::new();
        for (range, device) in devices {
            let first = range.base;
            let last = range.last().ok_or(BusError::BadRange(range))?;
            let at = slots.partition_point(|slot| slot.last < first);
            if slots.get(at).is_some_and(|slot| slot.first <= last) {
                return Err(BusError::Overlap(range));
            }
            slots.insert(at, Slot { first, last, device });
        }
        Ok(Self { slots })
    }

    /// Reads from `address`, and says whether a device answered. Where none does, all bits are
    /// ones, as on a bus that nobody drives. An access that goes past the end of a device is
    /// nobody's.
    pub fn read(&self, address: u64, data: &mut [u8]) -> bool {
        match self.find(address, data.len()) {
            Some((offset, device)) => {
                device.read(offset, data);
                true
            }
            None => {
                data.fill(0xff);
                false
            }
        }
    }

    /// Writes to `address`, and says whether a device took it.
    pub fn write(&self, address: u64, data: &[u8]) -> bool {
        match self.find(address, data.len()) {
            Some((offset, device)) => {
                device.write(offset, data);
                true
            }
            None => false,
        }
    }

    fn find(&self, address: u64, len: usize) -> Option<(u64, &dyn BusDevice)> {
        let access = BusRange { base: address, len: u64::try_from(len).ok()? };
        let last = access.last()?;
        let slot = self.slots.get(self.slots.partition_point(|slot| slot.last < address))?;
        (slot.first <= address && last <= slot.last).then(|| (address - slot.first, &*slot.device))
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.slots.iter().map(|slot| BusRange {
                base: slot.first,
                len: slot.last.wrapping_sub(slot.first).wrapping_add(1),
            }))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as where it is; nothing is written to it.
    struct Echo(u8);

    impl BusDevice for Echo {
        fn read(&self, offset: u64, data: &mut [u8]) {
            for (at, byte) in (offset as u8..).zip(data) {
                *byte = self.0 + at;
            }
        }

        fn write(&self, _offset: u64, _data: &[u8]) {}
    }

    fn bus(ranges: &[(u64, u64)]) -> Result<Bus, BusError> {
        Bus::new((1u8..).zip(ranges).map(|(number, &(base, len))| {
            (BusRange { base, len }, Arc::new(Echo(number * 0x10)) as Arc<dyn BusDevice>)
        }))
    }

    #[test]
    fn an_access_is_for_the_device_that_has_all_of_it() {
        let bus = bus(&[(0x100, 8), (0x108, 1), (0x10, 4), (u64::MAX, 1)]).unwrap();
        let check = |address, len: usize, expect: Option<&[u8]>| {
            let mut data = vec![0; len];
            assert_eq!(bus.read(address, &mut data), expect.is_some(), "{address:#x}+{len}");
            assert_eq!(data, expect.map_or(vec![0xff; len], <[u8]>::to_vec));
            assert_eq!(bus.write(address, &data), expect.is_some());
        };
        check(0x100, 1, Some(&[0x10]));
        check(0x106, 2, Some(&[0x16, 0x17]));
        check(0x107, 2, None);
        check(0x108, 1, Some(&[0x20]));
        check(0x109, 1, None);
        check(0x0f, 1, None);
        check(0x0f, 2, None);
        check(0x10, 4, Some(&[0x30, 0x31, 0x32, 0x33]));
        check(0x10, 5, None);
        check(0x14, 1, None);
        check(0x10, 0, None);
        check(u64::MAX, 1, Some(&[0x40]));
        check(u64::MAX, 2, None);
        check(0, 8, None);
    }

    #[test]
    fn ranges_that_cannot_be() {
        let check = |ranges: &[(u64, u64)], expect: Option<BusError>| {
            assert_eq!(bus(ranges).err(), expect, "{ranges:?}");
        };
        let range = |base, len| BusRange { base, len };
        check(&[], None);
        check(&[(0, u64::MAX)], None);
        check(&[(4, 4), (0, 4), (8, 4)], None);
        check(&[(4, 0)], Some(BusError::BadRange(range(4, 0))));
        check(&[(u64::MAX, 2)], Some(BusError::BadRange(range(u64::MAX, 2))));
        check(&[(0, 8), (7, 1)], Some(BusError::Overlap(range(7, 1))));
        check(&[(4, 4), (0, 5)], Some(BusError::Overlap(range(0, 5))));
        check(&[(4, 4), (0, 100)], Some(BusError::Overlap(range(0, 100))));
        check(&[(4, 4), (4, 4)], Some(BusError::Overlap(range(4, 4))));
    }
}
