//! PAX extended headers: `<length> <key>=<value>\n`, read by length, so that
//! binary values (file capabilities, for one) may hold any byte.

use std::ops::Range;

use super::sparse::{PaxSparse, SparseKey};
use crate::fault::{Fault, within};
use crate::limits::Limits;

/// The records that matter to a file's inode; all others are passed over.
#[derive(Debug, Default)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link_path: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: PaxSparse,
}

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

impl Pax {
    pub(crate) fn parse(data: &[u8], limits: &Limits) -> Result<Self, Fault> {
        let mut pax = Self::default();
        let mut rest = data;
        while !rest.is_empty() {
            let (record, tail) = split_record(rest).ok_or_else(malformed)?;
            rest = tail;
            let equals = record.iter().position(|&b| b == b'=').ok_or_else(malformed)?;
            pax.record(&record[..equals], &record[equals + 1..], limits)?;
        }
        Ok(pax)
    }

    fn record(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Fault> {
        if let Some(name) = key.strip_prefix(XATTR) {
            self.xattrs.retain(|(have, _)| have != name);
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return within(
                self.xattrs.len() as u64,
                limits.xattrs,
                "extended attributes of a file",
            );
        }
        if let Some(name) = key.strip_prefix(SPARSE) {
            return match SparseKey::named(name) {
                Some(key) => self.sparse.record(key, value, limits),
                None => Ok(()),
            };
        }
        // An empty value takes a record of an earlier header back.
        let given = !value.is_empty();
        match key {
            b"path" => self.path = given.then(|| value.to_vec()),
            b"linkpath" => self.link_path = given.then(|| value.to_vec()),
            b"size" if given => self.size = Some(decimal(value)?),
            b"uid" if given => self.uid = Some(decimal(value)?),
            b"gid" if given => self.gid = Some(decimal(value)?),
            b"mtime" if given => self.mtime = Some(time(value)?),
            _ => {}
        }
        Ok(())
    }
}

/// The first record without its length and newline, and what follows it.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = data.iter().take(20).position(|&b| b == b' ')?;
    let length = usize::try_from(decimal(&data[..space]).ok()?).ok()?;
    let Range { start, end } = space + 1..length.checked_sub(1)?;
    let record = data.get(start..end)?;
    (data.get(end) == Some(&b'\n')).then_some((record, data.get(length..)?))
}

pub(super) fn decimal(text: &[u8]) -> Result<u64, Fault> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(malformed());
    }
    std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).ok_or_else(malformed)
}

/// Seconds with an optional fraction, perhaps negative; nanoseconds kept.
fn time(text: &[u8]) -> Result<(i64, u32), Fault> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let mut halves = digits.splitn(2, |&b| b == b'.');
    let seconds = halves.next().unwrap_or_default();
    let seconds = i64::try_from(decimal(seconds)?).map_err(|_| malformed())?;
    let mut nanoseconds = 0;
    let mut unit = 100_000_000;
    for &digit in halves.next().unwrap_or_default() {
        if !digit.is_ascii_digit() {
            return Err(malformed());
        }
        nanoseconds += u32::from(digit - b'0') * unit;
        unit /= 10;
    }
    Ok(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

fn malformed() -> Fault {
    Fault::corrupt("a PAX extended header is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        let mut out = format!("{length} {key}=").into_bytes();
        out.extend_from_slice(value);
        out.push(b'\n');
        out
    }

    #[test]
    fn binary_values_survive() {
        let value = b"\x01\n\x00=\xff\n9 a=b\n";
        let mut data = record("SCHILY.xattr.security.capability", value);
        data.extend(record("path", "häßlich".as_bytes()));
        let pax = Pax::parse(&data, &Limits::default()).unwrap();
        assert_eq!(pax.xattrs, [(b"security.capability".to_vec(), value.to_vec())]);
        assert_eq!(pax.path.unwrap(), "häßlich".as_bytes());
    }

    #[test]
    fn times() {
        let check = |text: &str, want: Option<(i64, u32)>| {
            assert_eq!(time(text.as_bytes()).ok(), want, "{text}");
        };
        check("0", Some((0, 0)));
        check("1700000000.123456789", Some((1_700_000_000, 123_456_789)));
        check("1.5", Some((1, 500_000_000)));
        check("1.0000000009", Some((1, 0)));
        check("-1", Some((-1, 0)));
        check("-1.25", Some((-2, 750_000_000)));
        check("-0.25", Some((-1, 750_000_000)));
        check("1.", Some((1, 0)));
        check("", None);
        check(".5", None);
        check("1e9", None);
        check("99999999999999999999", None);
    }

    #[test]
    fn malformed_headers_are_refused() {
        for data in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"6 a=bc",
            b"a=b\n",
            b"0 a=b\n",
            b"1 \n",
            b"5 ab\n",
            b"99999999999999999999999 a=b\n",
            b"18446744073709551615 a=b\n",
            b"12 size=12x\n",
        ] {
            assert!(Pax::parse(data, &Limits::default()).is_err(), "{data:?}");
        }
    }

    #[test]
    fn an_empty_value_takes_back() {
        let mut data = record("path", b"a");
        data.extend(record("path", b""));
        assert!(Pax::parse(&data, &Limits::default()).unwrap().path.is_none());
    }

    #[test]
    fn attributes_are_counted() {
        let data: Vec<u8> =
            (0..129).flat_map(|i| record(&format!("SCHILY.xattr.user.{i}"), b"")).collect();
        assert!(matches!(
            Pax::parse(&data, &Limits::default()),
            Err(Fault::Limit { limit: 128, .. })
        ));
    }
}
