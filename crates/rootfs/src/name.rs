//! Names of archive members: only those in normal form are let in.

use crate::fault::{Fault, within};
use crate::limits::{Limits, NAME_MAX};

/// The components of a member's name; empty for the root itself.
///
/// Normal is what every producer of layers writes: relative, no empty, `.` or
/// `..` component. One leading `./` and one trailing `/` are taken off.
///
/// # Errors
/// Absolute, climbing, over-long and otherwise abnormal names are refused.
pub(crate) fn components<'a>(raw: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, Fault> {
    within(raw.len() as u64, limits.path_bytes, "bytes in a path")?;
    if raw.is_empty() {
        return Err(Fault::refused(raw, "the name is empty"));
    }
    if raw.contains(&0) {
        return Err(Fault::refused(raw, "the name holds a NUL byte"));
    }
    if raw.starts_with(b"/") {
        return Err(Fault::refused(raw, "the name is absolute"));
    }
    let rest = raw.strip_prefix(b"./").unwrap_or(raw);
    let rest = rest.strip_suffix(b"/").unwrap_or(rest);
    if rest.is_empty() || rest == b"." {
        return Ok(Vec::new());
    }
    let parts: Vec<&[u8]> = rest.split(|&b| b == b'/').collect();
    for part in &parts {
        match *part {
            b".." => return Err(Fault::refused(raw, "the name climbs with \"..\"")),
            b"" | b"." => return Err(Fault::refused(raw, "the name is not in normal form")),
            long if long.len() > NAME_MAX => {
                return Err(Fault::refused(raw, "a component is longer than 255 bytes"));
            }
            _ => {}
        }
    }
    within(parts.len() as u64, limits.depth, "directories above a file")?;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[u8], expect: Result<&[&str], &str>) {
        let got = components(raw, &Limits::default());
        match (got, expect) {
            (Ok(parts), Ok(want)) => {
                let parts: Vec<_> = parts.iter().map(|p| String::from_utf8_lossy(p)).collect();
                assert_eq!(parts, want, "{raw:?}");
            }
            (Err(Fault::Refused { reason, .. }), Err(want)) => {
                assert!(reason.contains(want), "{raw:?}: {reason}");
            }
            (Err(Fault::Limit { what, .. }), Err(want)) => assert_eq!(what, want, "{raw:?}"),
            (got, want) => panic!("{raw:?}: got {got:?}, expected {want:?}"),
        }
    }

    #[test]
    fn names() {
        check(b"a", Ok(&["a"]));
        check(b"./a", Ok(&["a"]));
        check(b"a/b/", Ok(&["a", "b"]));
        check(b".", Ok(&[]));
        check(b"./", Ok(&[]));
        check(b"...", Ok(&["..."]));
        check(b"a\\b", Ok(&["a\\b"]));
        check(b"", Err("empty"));
        check(b"/", Err("absolute"));
        check(b"/etc", Err("absolute"));
        check(b"..", Err("climbs"));
        check(b"a/../b", Err("climbs"));
        check(b"./../b", Err("climbs"));
        check(b"a//b", Err("normal"));
        check(b"a/./b", Err("normal"));
        check(b"././b", Err("normal"));
        check(b".//b", Err("normal"));
        check(b"a//", Err("normal"));
        check(b"a\0b", Err("NUL"));
        check(&[b'x'; 255], Ok(&[&"x".repeat(255)]));
        check(&[b'x'; 256], Err("255"));
        check("a/".repeat(3000).as_bytes(), Err("bytes in a path"));
        check("a/".repeat(1500).as_bytes(), Err("directories above a file"));
    }
}
