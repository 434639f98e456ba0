//! Files in the form of compressed Linux kernels (Linux, `Documentation/x86/boot.rst`).
//!
//! Monitors enter them in different modes, so the code is there three times: for real mode
//! in the setup part, for protected mode at the beginning of the other part, and for long
//! mode 0x200 bytes after that.

use super::code::{Mode, TURNS_PER_TICK, program};
use crate::{Failure, Script};

/// Length of a sector.
const SECTOR: usize = 512;
/// The setup part: the boot sector and one more.
const SETUP_LEN: usize = 2 * SECTOR;
/// The code for real mode, behind the longest header of the protocol's version 2.15.
const REAL_AT: usize = 0x280;
/// Where the other part is loaded and entered.
const LOAD_AT: u32 = 0x10_0000;
/// The code for long mode, after [`LOAD_AT`].
const LONG_AT: usize = 0x200;

/// A guest that does what `script` says.
pub(crate) fn bzimage(script: &Script) -> Result<Vec<u8>, Failure> {
    // Real mode is entered with its code segment at the second sector.
    let real = program(script, Mode::Bits16, (REAL_AT - SECTOR) as u32, TURNS_PER_TICK)?;
    let protected = program(script, Mode::Bits32, LOAD_AT, TURNS_PER_TICK)?;
    let long = program(script, Mode::Bits64, LOAD_AT + LONG_AT as u32, TURNS_PER_TICK)?;
    if REAL_AT + real.len() > SETUP_LEN || protected.len() > LONG_AT {
        return Err(Failure::Unavailable("bare kernels have no room for this script".to_owned()));
    }
    let mut file = vec![0; SETUP_LEN + (LONG_AT + long.len()).next_multiple_of(SECTOR)];
    header(&mut file);
    put(&mut file, REAL_AT, &real);
    put(&mut file, SETUP_LEN, &protected);
    put(&mut file, SETUP_LEN + LONG_AT, &long);
    Ok(file)
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn header(file: &mut [u8]) {
    let paragraphs = ((file.len() - SETUP_LEN) / 16) as u32;
    put(file, 0x1f1, &[1]); // sectors of setup code, without the first
    put(file, 0x1f4, &paragraphs.to_le_bytes());
    put(file, 0x1fe, &[0x55, 0xaa]);
    put(file, 0x200, &[0xeb, (REAL_AT - 0x202) as u8]); // jmp
    put(file, 0x202, b"HdrS");
    put(file, 0x206, &0x020c_u16.to_le_bytes()); // version 2.12
    put(file, 0x211, &[1]); // loaded at 1 MiB
    put(file, 0x214, &LOAD_AT.to_le_bytes());
    put(file, 0x22c, &0x7fff_ffff_u32.to_le_bytes()); // highest byte of an initramfs
    put(file, 0x230, &LOAD_AT.to_le_bytes()); // alignment
    put(file, 0x236, &[1]); // has an entry for long mode
    put(file, 0x238, &2047_u32.to_le_bytes()); // longest command line
    put(file, 0x258, &u64::from(LOAD_AT).to_le_bytes()); // preferred address
    put(file, 0x260, &0x1_0000_u32.to_le_bytes()); // memory needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{End, Step};

    #[test]
    fn the_parts_are_whole_sectors() {
        let file = bzimage(&Script::new([Step::say("hello")], End::Reset)).unwrap();
        assert_eq!(file.len() % SECTOR, 0);
        assert_eq!(&file[0x202..0x206], b"HdrS");
    }

    #[test]
    fn what_does_not_fit_is_unavailable() {
        let made = bzimage(&Script::new([], End::Panic));
        assert!(matches!(made, Err(Failure::Unavailable(_))));
    }
}
