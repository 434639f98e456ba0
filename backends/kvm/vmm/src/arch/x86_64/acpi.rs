//! Processors, interrupt lines and devices, told by ACPI 6.5 tables of a machine with reduced
//! hardware (4.1): no timers, no fixed events, no legacy devices but the serial line.
//!
//! Powering off is a write to the sleep control register, which is the exit port; a reset is
//! the keyboard controller's.

use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Name, ONE, Package, Path, ResourceTemplate,
    Scope, ZERO,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};

use super::layout::{
    COM1_GSI, COM1_LEN, COM1_PORT, DeviceSlot, EXIT_PORT, IO_APIC, KEYBOARD_PORT, KEYBOARD_RESET,
    LOCAL_APIC, SLEEP_STATUS_PORT,
};

const OEM: [u8; 6] = *b"MICROA";
const OEM_TABLE: [u8; 8] = *b"MICROAGT";
const OEM_REVISION: u32 = 1;
const HEADER_LEN: u32 = 36;
/// What every table starts at a multiple of.
const ALIGN: usize = 16;

/// Flags of the boot architecture (table 5.11).
mod boot {
    pub(super) const VGA_NOT_PRESENT: u16 = 1 << 2;
    pub(super) const MSI_NOT_SUPPORTED: u16 = 1 << 3;
    pub(super) const CMOS_RTC_NOT_PRESENT: u16 = 1 << 5;
}

/// All tables for address `at`, the root pointer first.
pub(crate) fn build(at: u64, vcpus: u8, devices: &[DeviceSlot]) -> Vec<u8> {
    let mut tables = Tables { at, bytes: vec![0; Rsdp::len()] };
    let dsdt = tables.add(dsdt(devices).as_slice());
    let fadt = tables.add(&bytes_of(&fadt(dsdt).finalize()));
    let madt = tables.add(&bytes_of(&madt(vcpus)));
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = tables.add(&bytes_of(&xsdt));
    let root = bytes_of(&Rsdp::new(OEM, xsdt));
    tables.bytes[..root.len()].copy_from_slice(&root);
    tables.bytes
}

struct Tables {
    at: u64,
    bytes: Vec<u8>,
}

impl Tables {
    /// Adds a table and says where it is.
    fn add(&mut self, table: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        let at = self.at + self.bytes.len() as u64;
        self.bytes.extend(table);
        at
    }
}

fn bytes_of(object: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.to_aml_bytes(&mut bytes);
    bytes
}

/// 5.2.9.
fn fadt(dsdt: u64) -> FADTBuilder {
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        // Set, these two say that there is no such button among the fixed hardware.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::Wbinvd)
        .flag(Flags::Headless);
    fadt.iapc_boot_arch =
        (boot::VGA_NOT_PRESENT | boot::MSI_NOT_SUPPORTED | boot::CMOS_RTC_NOT_PRESENT).into();
    fadt.reset_reg = port(KEYBOARD_PORT);
    fadt.reset_value = KEYBOARD_RESET;
    fadt.sleep_control_reg = port(EXIT_PORT);
    fadt.sleep_status_reg = port(SLEEP_STATUS_PORT);
    fadt.hypervisor_vendor_identity = u64::from_le_bytes(OEM_TABLE).into();
    fadt
}

/// A register of a byte.
fn port(number: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, u64::from(number))
}

/// 5.2.12.
fn madt(vcpus: u8) -> MADT {
    let local = LocalInterruptController::Address(LOCAL_APIC);
    let mut madt = MADT::new(OEM, OEM_TABLE, OEM_REVISION, local);
    for index in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(index, index, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(vcpus, IO_APIC, 0));
    madt
}

/// 5.2.11.1: the devices, and that there is a state in which the machine is off.
fn dsdt(devices: &[DeviceSlot]) -> Sdt {
    let mut dsdt = Sdt::new(*b"DSDT", HEADER_LEN, 2, OEM, OEM_TABLE, OEM_REVISION);
    let mut body = bytes_of(&soft_off());
    let mut scope = bytes_of(&serial());
    for (index, device) in devices.iter().enumerate() {
        scope.extend(virtio(index, device));
    }
    body.extend(Scope::raw(Path::new("\\_SB_"), scope));
    dsdt.vec(&body);
    dsdt.update_checksum();
    dsdt
}

/// S5, whose value is of no consequence (7.4.2).
fn soft_off() -> Name {
    Name::new(Path::new("\\_S5_"), &Package::new(vec![&5u8, &ZERO, &ZERO, &ZERO]))
}

fn serial() -> Raw {
    let ports = IO::new(COM1_PORT, COM1_PORT, 1, COM1_LEN as u8);
    let line = line(COM1_GSI);
    let resources = ResourceTemplate::new(vec![&ports, &line]);
    let id = Name::new(Path::new("_HID"), &EISAName::new("PNP0501"));
    let uid = Name::new(Path::new("_UID"), &ZERO);
    let resources = Name::new(Path::new("_CRS"), &resources);
    Raw(bytes_of(&Device::new(Path::new("COM1"), vec![&id, &uid, &resources])))
}

fn virtio(index: usize, device: &DeviceSlot) -> Vec<u8> {
    let registers = Memory32Fixed::new(true, device.base as u32, device.len as u32);
    let line = line(device.gsi);
    let resources = ResourceTemplate::new(vec![&registers, &line]);
    let id = Name::new(Path::new("_HID"), &"LNRO0005");
    let uid = Name::new(Path::new("_UID"), &index);
    let coherent = Name::new(Path::new("_CCA"), &ONE);
    let resources = Name::new(Path::new("_CRS"), &resources);
    // At most 256 devices: a name has four characters.
    let name = Path::new(&format!("VI{:02X}", index as u8));
    bytes_of(&Device::new(name, vec![&id, &uid, &coherent, &resources]))
}

/// A line that is pulsed, and nobody else's.
fn line(gsi: u32) -> Interrupt {
    let (consumer, edge_triggered, active_low, shared) = (true, true, false, false);
    Interrupt::new(consumer, edge_triggered, active_low, shared, gsi)
}

/// What is bytes already.
struct Raw(Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use microagent_vmm_protocol::{MAX_VCPUS, VIRTIO_SLOTS};

    use super::*;
    use crate::arch::layout::{ACPI_TABLES, TABLES_ROOM};

    fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
        bytes[at..at + len].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |a, b| a.wrapping_add(*b))
    }

    /// The table at `address`, its length and checksum looked at.
    fn table<'a>(all: &'a [u8], address: u64, signature: &[u8]) -> &'a [u8] {
        let at = (address - ACPI_TABLES) as usize;
        let len = number(all, at + 4, 4) as usize;
        let table = &all[at..at + len];
        assert_eq!((&table[..4], sum(table)), (signature, 0));
        table
    }

    fn largest() -> Vec<u8> {
        let devices: Vec<_> = (0..VIRTIO_SLOTS).map(DeviceSlot::of).collect();
        build(ACPI_TABLES, MAX_VCPUS, &devices)
    }

    #[test]
    fn every_table_is_found_from_the_root() {
        let all = largest();
        assert!(all.len() <= TABLES_ROOM);
        assert_eq!((&all[..8], sum(&all[..20]), sum(&all[..36])), (&b"RSD PTR "[..], 0, 0));
        let xsdt = table(&all, number(&all, 24, 8), b"XSDT");
        assert_eq!(xsdt.len(), 36 + 2 * 8);
        let fadt = table(&all, number(xsdt, 36, 8), b"FACP");
        let madt = table(&all, number(xsdt, 44, 8), b"APIC");
        table(&all, number(fadt, 140, 8), b"DSDT");
        assert_eq!(madt.len(), 44 + 32 * 8 + 12);
        assert_eq!(madt[44..52], [0, 8, 0, 0, 1, 0, 0, 0]);
        assert_eq!(madt[300..308], [1, 12, 32, 0, 0, 0, 0xc0, 0xfe]);
    }

    #[test]
    fn off_and_reset_are_where_the_monitor_listens() {
        let all = build(ACPI_TABLES, 1, &[]);
        let xsdt = table(&all, number(&all, 24, 8), b"XSDT");
        let fadt = table(&all, number(xsdt, 36, 8), b"FACP");
        let check = |at: usize, port: u16| {
            assert_eq!(fadt[at..at + 4], [1, 8, 0, 1]);
            assert_eq!(number(fadt, at + 4, 8), u64::from(port));
        };
        check(116, KEYBOARD_PORT);
        assert_eq!(fadt[128], KEYBOARD_RESET);
        check(244, EXIT_PORT);
        check(256, SLEEP_STATUS_PORT);
        let flags = number(fadt, 112, 4);
        assert_eq!(flags & (1 << 20 | 1 << 10), 1 << 20 | 1 << 10);
        assert_eq!(number(fadt, 109, 2), 0b10_1100);
    }

    /// The compiler of the specification's own makers reads what was written.
    #[test]
    fn disassembles() {
        let dir = tempfile::tempdir().unwrap();
        let all = build(ACPI_TABLES, 2, &[DeviceSlot::of(0), DeviceSlot::of(18)]);
        let xsdt = table(&all, number(&all, 24, 8), b"XSDT");
        let fadt = table(&all, number(xsdt, 36, 8), b"FACP");
        let dsdt = table(&all, number(fadt, 140, 8), b"DSDT");
        let tables = [("fadt", fadt), ("madt", table(&all, number(xsdt, 44, 8), b"APIC"))];
        for (name, bytes) in tables.into_iter().chain([("dsdt", dsdt)]) {
            std::fs::write(dir.path().join(format!("{name}.dat")), bytes).unwrap();
        }
        let iasl = |args: &[&str]| Command::new("iasl").args(args).current_dir(&dir).output();
        let output = match iasl(&["-d", "fadt.dat", "madt.dat", "dsdt.dat"]) {
            Ok(output) => output,
            Err(error) => {
                assert_ne!(
                    std::env::var("MICROAGENT_REQUIRE").as_deref(),
                    Ok("all"),
                    "iasl: {error}"
                );
                eprintln!("skipped: iasl: {error}; install acpica-tools");
                return;
            }
        };
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(!text.contains("Warning") && !text.contains("Error"), "{text}");
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let check = |name: &str, expect: &str| {
            let text: Vec<_> = read(name).split_whitespace().map(str::to_owned).collect();
            assert!(text.join(" ").contains(expect), "{name} has no {expect}:\n{}", read(name));
        };
        check("dsdt.dsl", "Device (VI01)");
        check("dsdt.dsl", r#"Name (_HID, "LNRO0005")"#);
        check("dsdt.dsl", "Memory32Fixed (ReadWrite, 0xD0012000, // Address Base 0x00001000,");
        check("dsdt.dsl", "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) {");
        check("dsdt.dsl", r#"EisaId ("PNP0501")"#);
        check("dsdt.dsl", r"Name (\_S5");
        check("fadt.dsl", "Hardware Reduced (V5) : 1");
        // And what was read is a program again.
        let output = iasl(&["dsdt.dsl"]).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("0 Errors, 0 Warnings"), "{text}");
    }
}
