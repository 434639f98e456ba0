//! Processors and interrupt lines, told by the table of the MultiProcessor Specification 1.4
//! (chapter 4): what a kernel reads that was told `acpi=off`.

use super::layout::{COM1_GSI, DeviceSlot, IO_APIC, LOCAL_APIC};

/// 1.4, as both structures have it.
const REVISION: u8 = 4;
const FLOATING_LEN: usize = 16;
/// Version of an APIC inside a processor.
const LOCAL_APIC_VERSION: u8 = 0x14;
/// What KVM's I/O APIC says of itself.
const IO_APIC_VERSION: u8 = 0x11;
const ISA_BUS: u8 = 0;
const ALL_LOCAL_APICS: u8 = 0xff;
/// Active high, edge-triggered (table 4-10): lines are pulsed.
const ACTIVE_HIGH_EDGE: u16 = 0b0101;
/// As the bus has it.
const CONFORMS: u16 = 0;

/// Types of entries (table 4-3).
mod entry {
    pub(super) const PROCESSOR: u8 = 0;
    pub(super) const BUS: u8 = 1;
    pub(super) const IO_APIC: u8 = 2;
    pub(super) const INTERRUPT: u8 = 3;
    pub(super) const LOCAL_INTERRUPT: u8 = 4;
}

/// Types of interrupts (table 4-10).
mod interrupt {
    pub(super) const VECTORED: u8 = 0;
    pub(super) const NMI: u8 = 1;
    pub(super) const EXTERNAL: u8 = 3;
}

/// The floating pointer and the table behind it, for address `at`.
///
/// Only lines that something is connected to are told: each costs the guest exits.
pub(crate) fn build(at: u64, vcpus: u8, devices: &[DeviceSlot]) -> Vec<u8> {
    let mut bytes = floating_pointer(at + FLOATING_LEN as u64);
    bytes.extend(table(vcpus, devices));
    bytes
}

/// 4.1.
fn floating_pointer(table: u64) -> Vec<u8> {
    let mut bytes = b"_MP_".to_vec();
    bytes.extend((table as u32).to_le_bytes());
    bytes.extend([1, REVISION]); // length in 16 bytes
    bytes.push(0); // checksum
    bytes.extend([0; 5]); // there is a table; no IMCR
    bytes[10] = complement(&bytes);
    bytes
}

/// 4.2, and the entries of 4.3.
fn table(vcpus: u8, devices: &[DeviceSlot]) -> Vec<u8> {
    let entries = entries(vcpus, devices);
    let body: usize = entries.iter().map(Vec::len).sum();
    let mut bytes = b"PCMP".to_vec();
    bytes.extend((44 + body as u16).to_le_bytes());
    bytes.push(REVISION);
    bytes.push(0); // checksum
    bytes.extend(b"MICROAGTVM          ");
    bytes.extend([0; 6]); // no table of a manufacturer
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend(LOCAL_APIC.to_le_bytes());
    bytes.extend([0; 4]); // no extended table
    bytes.extend(entries.concat());
    bytes[7] = complement(&bytes);
    bytes
}

fn entries(vcpus: u8, devices: &[DeviceSlot]) -> Vec<Vec<u8>> {
    // The first identifier that is no processor's.
    let io_apic = vcpus;
    let lines = std::iter::once(COM1_GSI).chain(devices.iter().map(|device| device.gsi));
    let mut entries: Vec<_> = (0..vcpus).map(processor).collect();
    entries.push([&[entry::BUS, ISA_BUS], &b"ISA   "[..]].concat());
    entries.push(
        [&[entry::IO_APIC, io_apic, IO_APIC_VERSION, 1], &IO_APIC.to_le_bytes()[..]].concat(),
    );
    entries.extend(lines.map(|gsi| {
        let pin = Pin { apic: io_apic, line: gsi as u8 };
        assignment(entry::INTERRUPT, interrupt::VECTORED, ACTIVE_HIGH_EDGE, gsi as u8, pin)
    }));
    let local = |kind, line| {
        let pin = Pin { apic: ALL_LOCAL_APICS, line };
        assignment(entry::LOCAL_INTERRUPT, kind, CONFORMS, 0, pin)
    };
    entries.push(local(interrupt::EXTERNAL, 0));
    entries.push(local(interrupt::NMI, 1));
    entries
}

fn processor(index: u8) -> Vec<u8> {
    const ENABLED: u8 = 1;
    const BOOTS: u8 = 2;
    let flags = if index == 0 { ENABLED | BOOTS } else { ENABLED };
    let mut bytes = vec![entry::PROCESSOR, index, LOCAL_APIC_VERSION, flags];
    // Signature and features are what the processor says itself.
    bytes.resize(20, 0);
    bytes
}

/// Where an interrupt arrives.
struct Pin {
    apic: u8,
    line: u8,
}

fn assignment(entry: u8, kind: u8, flags: u16, source: u8, to: Pin) -> Vec<u8> {
    let [low, high] = flags.to_le_bytes();
    vec![entry, kind, low, high, ISA_BUS, source, to.apic, to.line]
}

/// What makes all bytes add up to zero.
fn complement(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use microagent_vmm_protocol::{MAX_VCPUS, VIRTIO_SLOTS};

    use super::*;
    use crate::arch::layout::{MP_TABLE, TABLES_ROOM};

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    /// What a kernel would make of it: entries by their lengths.
    fn read(bytes: &[u8], at: u64) -> Vec<&[u8]> {
        let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |a, b| a.wrapping_add(*b));
        assert_eq!((&bytes[..4], sum(&bytes[..16])), (&b"_MP_"[..], 0));
        let table = &bytes[(word(bytes, 4) - at as u32) as usize..];
        let len = (word(table, 4) & 0xffff) as usize;
        assert_eq!((&table[..4], sum(&table[..len])), (&b"PCMP"[..], 0));
        assert_eq!(table.len(), len);
        assert_eq!(word(table, 36), LOCAL_APIC);
        let mut rest = &table[44..];
        let mut entries = Vec::new();
        while let Some(&kind) = rest.first() {
            let (entry, after) = rest.split_at(if kind == entry::PROCESSOR { 20 } else { 8 });
            entries.push(entry);
            rest = after;
        }
        assert_eq!(entries.len() as u32, word(table, 34) & 0xffff);
        entries
    }

    #[test]
    fn reads_back() {
        let devices = [DeviceSlot::of(0), DeviceSlot::of(18)];
        let bytes = build(MP_TABLE, 2, &devices);
        let entries = read(&bytes, MP_TABLE);
        let check = |index: usize, expect: &[u8]| {
            assert_eq!(entries[index][..expect.len()], *expect, "entry {index}");
        };
        check(0, &[0, 0, 0x14, 3]);
        check(1, &[0, 1, 0x14, 1]);
        check(2, b"\x01\x00ISA   ");
        check(3, &[2, 2, 0x11, 1, 0, 0, 0xc0, 0xfe]);
        check(4, &[3, 0, 5, 0, 0, 4, 2, 4]);
        check(5, &[3, 0, 5, 0, 0, 5, 2, 5]);
        check(6, &[3, 0, 5, 0, 0, 23, 2, 23]);
        check(7, &[4, 3, 0, 0, 0, 0, 0xff, 0]);
        check(8, &[4, 1, 0, 0, 0, 0, 0xff, 1]);
        assert_eq!(entries.len(), 9);
    }

    #[test]
    fn the_largest_fits() {
        let devices: Vec<_> = (0..VIRTIO_SLOTS).map(DeviceSlot::of).collect();
        let bytes = build(MP_TABLE, MAX_VCPUS, &devices);
        assert_eq!(read(&bytes, MP_TABLE).len(), 32 + 2 + 20 + 2);
        assert!(bytes.len() <= TABLES_ROOM);
    }
}
