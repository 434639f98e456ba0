//! Files that are in memory only.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

/// A file that holds `bytes`, and is read from its beginning.
///
/// # Panics
/// If the system gives none.
pub fn memory_file(bytes: &[u8]) -> File {
    let fd = memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a file in memory");
    let mut file = File::from(fd);
    file.write_all(bytes).and_then(|()| file.rewind()).expect("write to a file in memory");
    file
}

/// Where the file can be opened once more, for as long as it is open.
pub fn path_of(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
