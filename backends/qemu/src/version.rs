//! Versions of QEMU.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A version of QEMU, as it prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub patch: u32,
}

impl QemuVersion {
    /// The oldest that is tested; older ones are refused.
    pub const OLDEST: QemuVersion = QemuVersion { major: 7, minor: 2, patch: 0 };

    /// The version in what a QEMU prints for `--version`: its first line begins with
    /// `QEMU emulator version X.Y.Z`. `None` for the output of anything else.
    pub fn from_output(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("QEMU emulator version ")?;
        let numbers = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut numbers = numbers.split('.').map(|n| n.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(u32, u32, u32)>) {
        let got = QemuVersion::from_output(text).map(|v| (v.major, v.minor, v.patch));
        assert_eq!(got, expect, "{text:?}");
    }

    #[test]
    fn what_qemu_prints() {
        check("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright", Some((7, 2, 22)));
        check("QEMU emulator version 10.0.2\n", Some((10, 0, 2)));
        check("QEMU emulator version 9.1.50 (v9.1.0-1-gabc)", Some((9, 1, 50)));
        check("QEMU emulator version 9.1", None);
        check("QEMU emulator version 99999999999.1.1", None);
        check("qemu-img version 7.2.22", None);
        check("cloud-hypervisor v39.0", None);
        check("", None);
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let version = |major, minor| QemuVersion { major, minor, patch: 0 };
        assert!(version(10, 0) > QemuVersion::OLDEST);
        assert!(version(7, 1) < QemuVersion::OLDEST);
    }
}
