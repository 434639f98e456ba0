use super::*;
use crate::samples::{bzimage, elf, vmlinux};

fn inspect_bytes(bytes: &[u8]) -> Result<KernelFormat, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    std::fs::write(&path, bytes).unwrap();
    match inspect(&path) {
        Ok(found) => {
            assert_eq!((found.path, found.arch), (path, Arch::X86_64));
            Ok(found.format)
        }
        Err(KernelError::NotBootable { why, .. }) => Err(why),
        Err(other) => Err(other.to_string()),
    }
}

fn at(offset: usize, magic: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    bytes[offset..offset + magic.len()].copy_from_slice(magic);
    bytes
}

#[test]
fn kernels_are_recognised_by_content() {
    assert_eq!(inspect_bytes(&vmlinux()), Ok(KernelFormat::Vmlinux));
    assert_eq!(inspect_bytes(&bzimage(0x20f, 1, 1)), Ok(KernelFormat::BzImage));
}

#[test]
fn what_is_no_kernel_is_named() {
    let cases: &[(Vec<u8>, &str)] = &[
        (vec![], "is empty"),
        (vec![7; 10], "is no kernel: neither an ELF vmlinux nor a bzImage"),
        (at(56, b"ARM\x64"), "is an arm64 kernel on an x86_64 host"),
        (at(56, b"RSC\x05"), "is a riscv kernel on an x86_64 host"),
        (at(0, b"\x1f\x8b"), "is compressed with gzip"),
        (at(0, b"\xfd7zXZ\x00"), "is compressed with xz"),
        (at(0, b"\x28\xb5\x2f\xfd"), "is compressed with zstd"),
        (at(0, b"#!/bin/sh"), "is a script, not a kernel"),
        (at(0, b"MZ"), "is an EFI program without a Linux boot header"),
        (at(1080, b"\x53\xef"), "is an ext4 image, not a kernel"),
        (at(257, b"ustar"), "is a tar archive, not a kernel"),
        (bzimage(0x20f, 0, 1), "is a zImage, not a bzImage"),
        (bzimage(0x20f, 1, 0), "is a 32-bit bzImage, not an x86-64 kernel"),
        (bzimage(0x20a, 1, 1), "is a 32-bit bzImage, not an x86-64 kernel"),
        (bzimage(0x20f, 1, 1)[..0x210].to_vec(), "is a truncated bzImage"),
        (elf(183, b"Xen\0", 18), "is an arm64 kernel on an x86_64 host"),
        (elf(243, b"Xen\0", 18), "is a riscv kernel on an x86_64 host"),
        (elf(3, b"Xen\0", 18), "is a 32-bit x86 ELF file, not an x86-64 kernel"),
        (elf(22, b"Xen\0", 18), "is an ELF file for machine 22, not for x86-64"),
        (elf(62, b"GNU\0", 18), "is an x86-64 ELF file without a PVH entry point"),
        (elf(62, b"Xen\0", 17), "is an x86-64 ELF file without a PVH entry point"),
    ];
    for (bytes, expect) in cases {
        assert_eq!(inspect_bytes(bytes), Err((*expect).to_owned()));
    }
}

#[test]
fn a_vmlinux_cut_anywhere_is_refused() {
    let whole = vmlinux();
    for length in 0..whole.len() {
        let verdict = inspect_bytes(&whole[..length]);
        assert!(verdict.is_err(), "{length} bytes: {verdict:?}");
    }
}

#[test]
fn hostile_numbers_in_an_elf_header_are_bounded() {
    let overwrite = |offset: usize, bytes: &[u8]| {
        let mut file = vmlinux();
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        inspect_bytes(&file)
    };
    let odd = |count: u16| Err(format!("is an ELF file with {count} odd program headers"));
    assert_eq!(overwrite(56, &u16::MAX.to_le_bytes()), odd(u16::MAX)); // e_phnum
    assert_eq!(overwrite(54, &1u16.to_le_bytes()), odd(1)); // e_phentsize
    assert_eq!(overwrite(32, &u64::MAX.to_le_bytes()), Err("is a truncated ELF file".into())); // e_phoff
    let notes = "is an ELF file with 18446744073709551615 bytes of notes";
    assert_eq!(overwrite(64 + 32, &u64::MAX.to_le_bytes()), Err(notes.into())); // p_filesz
    let no_entry = "is an x86-64 ELF file without a PVH entry point";
    assert_eq!(overwrite(120, &u32::MAX.to_le_bytes()), Err(no_entry.into())); // n_namesz
    assert_eq!(overwrite(64 + 48, &3u64.to_le_bytes()), Ok(KernelFormat::Vmlinux)); // p_align
}

#[test]
fn what_is_no_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = inspect(&dir.path().join("absent")).unwrap_err();
    assert!(missing.to_string().starts_with("no such kernel: /"), "{missing}");
    let folder = inspect(dir.path()).unwrap_err();
    assert!(folder.to_string().ends_with("is a directory, not a kernel"), "{folder}");
    let device = inspect(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(device.to_string(), "/dev/zero is not a regular file");
}

#[test]
fn a_pipe_does_not_make_it_wait() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    let error = inspect(&path).unwrap_err();
    assert!(error.to_string().ends_with("is not a regular file"), "{error}");
}

#[test]
fn a_file_too_large_for_a_kernel_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge");
    std::fs::File::create(&path).unwrap().set_len(MAX_KERNEL + 1).unwrap();
    let error = inspect(&path).unwrap_err();
    assert!(error.to_string().contains("1073741825 bytes, the limit is 1073741824"), "{error}");
}
