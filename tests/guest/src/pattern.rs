//! Bytes that are cheap to make and to compare, and different at every place.

use std::io::{self, Read, Write};

/// How much is written and read at once, in bytes.
const PIECE: usize = 64 << 10;
/// Neighbouring words have no byte in common.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Writes the first `len` bytes of the pattern.
///
/// # Errors
/// Those of the sink.
pub fn write(to: &mut impl Write, len: u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    while done < len {
        let count = (len - done).min(PIECE as u64) as usize;
        fill(&mut piece, done);
        to.write_all(&piece[..count])?;
        done += count as u64;
    }
    Ok(())
}

/// Reads to the end and gives the number of bytes.
///
/// # Errors
/// Those of the source, and `InvalidData` where it is not the pattern.
pub fn check(from: &mut impl Read) -> io::Result<u64> {
    let (mut expected, mut piece) = (vec![0; PIECE], vec![0; PIECE]);
    let mut done = 0;
    loop {
        let mut have = 0;
        while have < PIECE {
            match from.read(&mut piece[have..])? {
                0 => break,
                count => have += count,
            }
        }
        fill(&mut expected, done);
        if piece[..have] != expected[..have] {
            let text = format!("other bytes than expected after {done}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        done += have as u64;
        if have < PIECE {
            return Ok(done);
        }
    }
}

/// Fills a piece whose first byte is at `start`, a multiple of its length.
fn fill(piece: &mut [u8], start: u64) {
    for (word, at) in piece.chunks_exact_mut(8).zip(start / 8..) {
        word.copy_from_slice(&at.wrapping_mul(STEP).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_recognised_and_nothing_else() {
        for len in [0, 1, PIECE as u64, 3 * PIECE as u64 + 5] {
            let mut bytes = Vec::new();
            write(&mut bytes, len).unwrap();
            assert_eq!(check(&mut &bytes[..]).unwrap(), len);
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
                check(&mut &bytes[..]).unwrap_err();
            }
        }
    }
}
