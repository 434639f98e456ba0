use std::io::Write;

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::arch::layout::{ACPI_TABLES, CMDLINE, MP_TABLE, PVH_START_INFO, memory_regions};

const AT: u64 = 2 << 20;

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// An executable of one segment at 2 MiB, `hlt` and then bytes that count up.
fn vmlinux(pvh: bool) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [AT, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, 1 + u8::from(pvh), 0, 0, 0, 0, 0, 0, 0]);
    for (kind, offset, address, len) in [(1u64, 0x100u64, AT, 0x100u64), (4, 0x200, 0, 20)] {
        for word in [kind, offset, address, address, len, len, 0] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes.resize(0x100, 0);
    bytes.push(0xf4);
    bytes.extend(1..=255);
    for word in [4, 4, 18, u32::from_le_bytes(*b"Xen\0"), AT as u32 + 1] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// A compressed kernel of protocol 2.12 for 2 MiB that needs a MiB, has 256 bytes of arguments
/// and its initramfs below 4 MiB.
fn bzimage() -> Vec<u8> {
    let mut bytes = vec![0; 0x400];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0x1f1, &[1]);
    put(0x1f4, &0x40u32.to_le_bytes());
    put(0x200, b"\xeb\x62HdrS\x0c\x02");
    put(0x211, &[1]);
    put(0x22c, &0x3f_ffffu32.to_le_bytes());
    put(0x230, &0x20_0000u32.to_le_bytes());
    put(0x236, &[1, 0]);
    put(0x238, &256u32.to_le_bytes());
    put(0x258, &AT.to_le_bytes());
    put(0x260, &0x10_0000u32.to_le_bytes());
    bytes.extend([0xf4; 0x400]);
    bytes
}

struct Loaded {
    memory: GuestMemoryMmap,
    entry: Entry,
}

impl Loaded {
    fn bytes<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    fn word(&self, at: u64) -> u64 {
        u32::from_le_bytes(self.bytes(at)).into()
    }
}

fn boot(
    kernel: &[u8],
    image: KernelImage,
    announcement: Announcement,
    cmdline: &str,
) -> Result<Loaded, BootError> {
    let memory = GuestMemoryMmap::from_ranges(&memory_regions(8)).unwrap();
    let initramfs = &mut file(b"an initramfs");
    let copied = copy(&memory, Images { kernel: &mut file(kernel), image, initramfs })?;
    let devices = &[DeviceSlot::of(0)];
    let entry = tell(&memory, copied, &BootRequest { cmdline, announcement, vcpus: 2, devices })?;
    Ok(Loaded { memory, entry })
}

#[test]
fn an_executable_by_pvh() {
    let loaded =
        boot(&vmlinux(true), KernelImage::Vmlinux, Announcement::Arguments, "quiet").unwrap();
    let start_info = PVH_START_INFO;
    assert_eq!(loaded.entry, Entry { address: AT + 1, protocol: Protocol::Pvh { start_info } });
    assert_eq!(loaded.bytes(AT), [0xf4, 1, 2, 3]);
    assert_eq!(&loaded.bytes::<12>(0x7f_f000), b"an initramfs");
    assert_eq!(loaded.word(loaded.word(start_info + 16)), 0x7f_f000);
    assert_eq!(loaded.word(start_info + 32), 0, "no root pointer");
    assert_eq!(&loaded.bytes::<4>(MP_TABLE), b"_MP_");
    assert_eq!(loaded.bytes(ACPI_TABLES), [0; 8]);
    let cmdline = loaded.bytes::<120>(CMDLINE);
    assert!(cmdline.starts_with(b"console=ttyS0 reboot=t panic=-1 pci=off acpi=off virtio_mmio"));
}

#[test]
fn an_executable_without_it() {
    let loaded = boot(&vmlinux(false), KernelImage::Vmlinux, Announcement::Acpi, "").unwrap();
    let boot_params = 0x7000;
    assert_eq!(loaded.entry, Entry { address: AT, protocol: Protocol::Linux64 { boot_params } });
    assert_eq!(loaded.word(boot_params + 0x70), ACPI_TABLES);
    assert_eq!(loaded.word(boot_params + 0x218), 0x7f_f000);
    assert_eq!(&loaded.bytes::<8>(ACPI_TABLES), b"RSD PTR ");
    assert_eq!(loaded.bytes(MP_TABLE), [0; 4]);
}

#[test]
fn a_compressed_kernel_within_its_own_limits() {
    let boot = |cmdline: &str| boot(&bzimage(), KernelImage::BzImage, Announcement::Acpi, cmdline);
    let loaded = boot("quiet").unwrap();
    let protocol = Protocol::Linux64 { boot_params: 0x7000 };
    assert_eq!(loaded.entry, Entry { address: AT + 0x200, protocol });
    assert_eq!(loaded.bytes(AT), [0xf4; 4]);
    assert_eq!(loaded.word(0x7000 + 0x218), 0x3f_f000);
    assert_eq!(loaded.word(0x7000 + 0x206) & 0xffff, 0x20c);
    let error = boot(&"x".repeat(300)).map(|loaded| loaded.entry).unwrap_err().to_string();
    assert!(error.contains("the most is 256"), "{error}");
}

#[test]
fn kinds_are_not_guessed() {
    let check = |kernel: &[u8], image, expect: &str| {
        let got = boot(kernel, image, Announcement::Acpi, "").map(|loaded| loaded.entry);
        let error = got.unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(&bzimage(), KernelImage::Vmlinux, "no 64-bit x86 ELF executable");
    check(&vmlinux(true), KernelImage::BzImage, "not in its file");
    check(&[0; 0x1000], KernelImage::BzImage, "no bzImage with a 64-bit entry");
    check(b"", KernelImage::Vmlinux, "header (bytes 0x0 and 0x40 more)");
}

#[test]
fn sizes_are_named() {
    let memory = GuestMemoryMmap::from_ranges(&memory_regions(8)).unwrap();
    let check = |kernel: &mut File, initramfs: &mut File, expect: &str| {
        let got = copy(&memory, Images { kernel, image: KernelImage::Vmlinux, initramfs });
        let got = got.map_or_else(|e| e.to_string(), |copied| format!("{copied:?}"));
        assert!(got.contains(expect), "{got}");
    };
    let sparse = |len| {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    };
    let kernel = || file(&vmlinux(true));
    check(&mut kernel(), &mut sparse(0), "Pvh");
    check(&mut kernel(), &mut sparse(0x5f_f000), "Pvh");
    check(&mut kernel(), &mut sparse(0x60_0000), "6291456 bytes does not fit between 0x200100,");
    check(&mut kernel(), &mut sparse((1 << 30) + 1), "initramfs has 1073741825 bytes, the most");
    check(&mut sparse((1 << 30) + 1), &mut sparse(0), "the kernel has 1073741825 bytes, the most");
}
