//! Archives that hold more than a test could: written as they are made.

use std::io::{Read, Write};

use tar::Header;

/// What a program may take of its address space that refuses what is giant, in KiB: much less
/// than that holds.
pub const ADDRESS_SPACE: u32 = 1 << 20;

/// An archive's end, in bytes.
const END: u64 = 1024;

/// Writes an archive of one file of zeros.
///
/// # Panics
/// Where it cannot be written.
pub fn zeros(to: &mut dyn Write, length: u64) {
    to.write_all(&member("zeros", length)).expect("write an archive");
    std::io::copy(&mut std::io::repeat(0).take(length + END), to).expect("write an archive");
}

/// Writes an archive of so many empty files.
///
/// # Panics
/// Where it cannot be written.
pub fn empty_files(to: &mut dyn Write, count: u32) {
    for n in 0..count {
        to.write_all(&member(&format!("{n}"), 0)).expect("write an archive");
    }
    std::io::copy(&mut std::io::repeat(0).take(END), to).expect("write an archive");
}

fn member(name: &str, length: u64) -> [u8; 512] {
    let mut header = Header::new_ustar();
    header.set_path(name).expect("the name is short");
    header.set_mode(0o644);
    header.set_size(length);
    header.set_cksum();
    *header.as_bytes()
}
