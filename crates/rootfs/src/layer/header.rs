//! The 512-byte header block, on top of the `tar` crate's view of it.

use crate::fault::Fault;

/// Size of a header and of the unit that bodies are padded to.
pub(crate) const RECORD: usize = 512;

const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Whether the block's own checksum is right. Historic archivers summed signed
/// bytes; both sums are accepted, as every reader does.
pub(crate) fn checksum_holds(block: &[u8; RECORD]) -> bool {
    let Ok(stored) = number(&block[CHECKSUM]) else { return false };
    let outside = |i: &usize| !CHECKSUM.contains(i);
    let spaces = 8 * i64::from(b' ');
    let unsigned: i64 = (0..RECORD).filter(outside).map(|i| i64::from(block[i])).sum();
    let signed: i64 = (0..RECORD).filter(outside).map(|i| i64::from(block[i].cast_signed())).sum();
    stored == unsigned + spaces || stored == signed + spaces
}

pub(crate) fn is_zero(block: &[u8; RECORD]) -> bool {
    block.iter().all(|&b| b == 0)
}

/// A numeric field: octal text, or base 256 with the top bit set, where two's
/// complement allows negative times. An empty field is 0.
pub(crate) fn number(field: &[u8]) -> Result<i64, Fault> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

/// A field that cannot be negative.
pub(crate) fn unsigned(field: &[u8], what: &'static str) -> Result<u64, Fault> {
    u64::try_from(number(field)?)
        .map_err(|_| Fault::corrupt(format!("an archive header has a negative {what}")))
}

fn octal(field: &[u8]) -> Result<i64, Fault> {
    let text = field.split(|&b| b == 0).next().unwrap_or_default().trim_ascii();
    let mut value: i64 = 0;
    for &digit in text {
        if !(b'0'..=b'7').contains(&digit) {
            return Err(Fault::corrupt("an archive header has a field that is not a number"));
        }
        value = value
            .checked_mul(8)
            .and_then(|v| v.checked_add(i64::from(digit - b'0')))
            .ok_or_else(too_large)?;
    }
    Ok(value)
}

fn base_256(field: &[u8]) -> Result<i64, Fault> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (i, &byte) in field.iter().enumerate() {
        let byte = if i > 0 {
            byte
        } else if negative {
            byte | 0x80
        } else {
            byte & 0x7f
        };
        value = (value << 8) | i128::from(byte);
    }
    i64::try_from(value).map_err(|_| too_large())
}

fn too_large() -> Fault {
    Fault::corrupt("an archive header has a number that is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |field: &[u8], want: Option<i64>| {
            assert_eq!(number(field).ok(), want, "{field:?}");
        };
        check(b"0000644\0", Some(0o644));
        check(b"  644 \0\0", Some(0o644));
        check(b"\0\0\0\0\0\0\0\0", Some(0));
        check(b"", Some(0));
        check(b"12345678", None);
        check(b"hello\0\0\0", None);
        check(b"777777777777", Some(0o777_777_777_777));
        check(&[0x80, 0, 0, 0, 0, 1, 0, 0], Some(65536));
        check(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], Some(0xffff_ffff));
        check(&[0xff; 12], Some(-1));
        check(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None);
    }
}
