//! Recognising a kernel by its content.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use microagent_machine::{Arch, KernelFormat};
use rustix::fs::OFlags;

use crate::elf;
use crate::error::KernelError;
use crate::setup_header;

/// How much of a file is read to recognise it: up to the magic of an ext4 superblock, the
/// farthest of all.
const HEAD: u64 = 4096;

/// A file larger than this is no kernel, whatever it begins with.
const MAX_KERNEL: u64 = 1 << 30;

/// A kernel that a machine of this host can boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelFile {
    /// The file, as it was named.
    pub path: PathBuf,
    /// How it is entered.
    pub format: KernelFormat,
    /// The instruction set that it is made for.
    pub arch: Arch,
}

/// Why a file is not a [`KernelFile`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) why: String,
    pub(crate) hint: Option<&'static str>,
}

/// Recognises the kernel in `path`, whatever its name. Reads at most a few KiB of it.
///
/// # Errors
/// [`KernelError::NotFound`], [`KernelError::Io`], and [`KernelError::NotBootable`], which
/// says what the file is instead.
pub fn inspect(path: &Path) -> Result<KernelFile, KernelError> {
    let (file, size) = open(path)?;
    let format = recognise(&file, size, path)?;
    Ok(KernelFile { path: path.to_owned(), format, arch: Arch::X86_64 })
}

/// Opens `path` if it is a regular file that may be a kernel, and says how long it is.
pub(crate) fn open(path: &Path) -> Result<(File, u64), KernelError> {
    // Not blocking: a named pipe would wait for a writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(KernelError::io("open", path))?;
    let metadata = file.metadata().map_err(KernelError::io("examine", path))?;
    let refuse = |why: String| Err(not_bootable(path, Refusal { why, hint: None }));
    if metadata.is_dir() {
        return refuse("is a directory, not a kernel".into());
    }
    if !metadata.is_file() {
        return refuse("is not a regular file".into());
    }
    if metadata.len() > MAX_KERNEL {
        let size = metadata.len();
        return refuse(format!("is no kernel: {size} bytes, the limit is {MAX_KERNEL}"));
    }
    Ok((file, metadata.len()))
}

fn recognise(file: &File, size: u64, path: &Path) -> Result<KernelFormat, KernelError> {
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).map_err(KernelError::io("read", path))?;
    let verdict = if head.starts_with(b"\x7fELF") {
        elf::recognise(&head, |offset, length| read_range(file, size, offset, length))
    } else if setup_header::present(&head) {
        setup_header::recognise(&head)
    } else {
        Err(name_other(&head))
    };
    verdict.map_err(|refusal| not_bootable(path, refusal))
}

/// `length` bytes at `offset`, or `None` where the file has none. The caller bounds `length`.
fn read_range(file: &File, size: u64, offset: u64, length: usize) -> Option<Vec<u8>> {
    let end = offset.checked_add(length as u64)?;
    if end > size {
        return None;
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn not_bootable(path: &Path, refusal: Refusal) -> KernelError {
    KernelError::NotBootable { path: path.to_owned(), why: refusal.why, hint: refusal.hint }
}

const UNCOMPRESS: &str = "uncompress it first";
const ARM64: &str = "is an arm64 kernel on an x86_64 host";

/// What is most often taken for a kernel: offset, magic, name, what to do.
const OTHERS: &[(usize, &[u8], &str, Option<&str>)] = &[
    (56, b"ARM\x64", ARM64, None),
    (56, b"RSC\x05", "is a riscv kernel on an x86_64 host", None),
    (4, b"zimg", "is a compressed EFI kernel (zboot)", Some("extract the Image from it first")),
    (0, b"\x1f\x8b", "is compressed with gzip", Some(UNCOMPRESS)),
    (0, b"\xfd7zXZ\x00", "is compressed with xz", Some(UNCOMPRESS)),
    (0, b"\x28\xb5\x2f\xfd", "is compressed with zstd", Some(UNCOMPRESS)),
    (0, b"BZh", "is compressed with bzip2", Some(UNCOMPRESS)),
    (0, b"\x5d\x00\x00", "is compressed with lzma", Some(UNCOMPRESS)),
    (0, b"\x89LZO", "is compressed with lzop", Some(UNCOMPRESS)),
    (0, b"\x02\x21\x4c\x18", "is compressed with lz4", Some(UNCOMPRESS)),
    (0, b"\x04\x22\x4d\x18", "is compressed with lz4", Some(UNCOMPRESS)),
    (0, b"\x27\x05\x19\x56", "is a U-Boot image", Some("extract the kernel from it first")),
    (0, b"070701", "is a cpio archive (an initramfs?), not a kernel", None),
    (0, b"hsqs", "is a squashfs image, not a kernel", None),
    (0, b"QFI\xfb", "is a qcow2 disk image, not a kernel", None),
    (
        0,
        b"!<arch>",
        "is an archive (a package?), not a kernel",
        Some("extract the kernel from it first"),
    ),
    (257, b"ustar", "is a tar archive, not a kernel", None),
    (1080, b"\x53\xef", "is an ext4 image, not a kernel", None),
    (0, b"#!", "is a script, not a kernel", None),
    (0, b"MZ", "is an EFI program without a Linux boot header", None),
];

fn name_other(head: &[u8]) -> Refusal {
    if head.is_empty() {
        return Refusal { why: "is empty".into(), hint: None };
    }
    let known = OTHERS.iter().find(|(offset, magic, _, _)| {
        head.get(*offset..).is_some_and(|bytes| bytes.starts_with(magic))
    });
    match known {
        Some((_, _, name, hint)) => Refusal { why: (*name).into(), hint: *hint },
        None => {
            Refusal { why: "is no kernel: neither an ELF vmlinux nor a bzImage".into(), hint: None }
        }
    }
}

#[cfg(test)]
mod tests;
