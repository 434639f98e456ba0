//! KVM's own count of a vCPU's exits (`Documentation/virt/kvm/api.rst`, section 4.133).
#![allow(unsafe_code)] // the request has no wrapper

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use kvm_ioctls::VcpuFd;

/// `_IO(KVMIO, 0xce)`.
const KVM_GET_STATS_FD: libc::c_ulong = 0xaece;
/// Length of the header of the file (`struct kvm_stats_header`).
const HEADER_LEN: usize = 24;
/// Length of a descriptor without the name that follows (`struct kvm_stats_desc`).
const DESCRIPTOR_LEN: usize = 16;
/// More than any kernel has; a file that says more is not looked at.
const MAX_DESCRIPTORS: u32 = 512;
/// Likewise for the length of a name.
const MAX_NAME: u32 = 128;

/// Where a vCPU's exits are counted.
#[derive(Debug)]
pub(crate) struct ExitCount {
    file: File,
    offset: u64,
}

impl ExitCount {
    /// Finds it; none where this kernel counts none.
    pub(crate) fn of(vcpu: &VcpuFd) -> Option<Self> {
        // SAFETY: the request takes no argument and gives a descriptor or -1.
        let fd = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_GET_STATS_FD, 0) };
        if fd < 0 {
            return None;
        }
        // SAFETY: it was just made, for this process.
        let file = unsafe { File::from_raw_fd(fd) };
        let offset = offset_of("exits", &file).ok()??;
        Some(Self { file, offset })
    }

    /// What was counted until now.
    pub(crate) fn read(&self) -> Option<u64> {
        let mut value = [0; 8];
        self.file.read_exact_at(&mut value, self.offset).ok()?;
        Some(u64::from_ne_bytes(value))
    }
}

fn offset_of(name: &str, file: &File) -> io::Result<Option<u64>> {
    let mut header = [0; HEADER_LEN];
    file.read_exact_at(&mut header, 0)?;
    let [name_len, count, _, descriptors, data] = [4, 8, 12, 16, 20].map(|at| word(&header, at));
    if count > MAX_DESCRIPTORS || name_len > MAX_NAME {
        return Ok(None);
    }
    let len = DESCRIPTOR_LEN + name_len as usize;
    let mut all = vec![0; len * count as usize];
    file.read_exact_at(&mut all, descriptors.into())?;
    let found = all.chunks_exact(len).find(|descriptor| {
        let (_, rest) = descriptor.split_at(DESCRIPTOR_LEN);
        rest.split(|byte| *byte == 0).next() == Some(name.as_bytes())
    });
    Ok(found.map(|descriptor| u64::from(data) + u64::from(word(descriptor, 8))))
}

/// The 4 bytes at `at`, or zero past the end.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_count_is_found_by_its_name() {
        let mut file = tempfile::tempfile().unwrap();
        // Names of 8 bytes, two descriptors at 24, data at 72.
        for word in [0u32, 8, 2, 0, 24, 72] {
            file.write_all(&word.to_ne_bytes()).unwrap();
        }
        for (offset, name) in [(0u32, b"exit_no\0"), (8, b"exits\0\0\0")] {
            for word in [0, 0, offset, 0] {
                file.write_all(&word.to_ne_bytes()).unwrap();
            }
            file.write_all(name).unwrap();
        }
        for value in [7u64, 99] {
            file.write_all(&value.to_ne_bytes()).unwrap();
        }
        assert_eq!(offset_of("exits", &file).unwrap(), Some(80));
        assert_eq!(offset_of("other", &file).unwrap(), None);
        let count = ExitCount { file, offset: 80 };
        assert_eq!(count.read(), Some(99));
    }

    #[test]
    fn a_file_that_makes_no_sense_is_not_believed() {
        let mut file = tempfile::tempfile().unwrap();
        for word in [0u32, u32::MAX, u32::MAX, 0, 24, 72] {
            file.write_all(&word.to_ne_bytes()).unwrap();
        }
        assert_eq!(offset_of("exits", &file).unwrap(), None);
    }
}
