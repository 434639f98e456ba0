//! Versions of Cloud Hypervisor, and what differs between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A version of Cloud Hypervisor, as it prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudHypervisorVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

/// The versions that the conformance cases were run with.
const TESTED: &[u32] = &[53];

impl CloudHypervisorVersion {
    /// The oldest that is told of kernel, arguments and initramfs in the way of today; older
    /// ones are refused.
    pub const OLDEST: CloudHypervisorVersion = CloudHypervisorVersion { major: 28, minor: 0 };

    /// The version in what a Cloud Hypervisor prints for `--version`: its first line begins
    /// with `cloud-hypervisor vX.Y`. `None` for the output of anything else.
    pub fn from_output(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("cloud-hypervisor v")?;
        let numbers = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut numbers = numbers.split('.').map(|n| n.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self { major: next()?, minor: next()? })
    }

    /// Whether the conformance cases were run with it.
    pub fn is_tested(self) -> bool {
        TESTED.contains(&self.major)
    }

    /// Whether it boots compressed kernels.
    pub(crate) const fn boots_bzimage(self) -> bool {
        self.major >= 39
    }

    /// Whether it can be told what an image is. Earlier ones find out by its beginning, which
    /// is the guest's to write: one that makes its raw disk look like another kind decides
    /// what the host reads at the next start.
    pub(crate) const fn is_told_image_type(self) -> bool {
        self.major >= 51
    }

    /// Whether it can keep a guest from having guests of its own.
    pub(crate) const fn can_refuse_nesting(self) -> bool {
        self.major >= 50
    }
}

impl fmt::Display for CloudHypervisorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(u32, u32)>) {
        let got = CloudHypervisorVersion::from_output(text).map(|v| (v.major, v.minor));
        assert_eq!(got, expect, "{text:?}");
    }

    #[test]
    fn what_cloud_hypervisor_prints() {
        check("cloud-hypervisor v53.0\nMigration Protocol Versions: 0\n", Some((53, 0)));
        check("cloud-hypervisor v53.0-246-gae44c2971-dirty\nMigration", Some((53, 0)));
        check("cloud-hypervisor v38.0-12-gabcdef-dirty\n", Some((38, 0)));
        check("cloud-hypervisor v31.1", Some((31, 1)));
        check("cloud-hypervisor v39", None);
        check("cloud-hypervisor v99999999999.1", None);
        check("cloud-hypervisor 39.0", None);
        check("QEMU emulator version 7.2.22", None);
        check("", None);
    }

    #[test]
    fn what_differs_by_version() {
        let check = |major, tested, bzimage, image_type, nesting| {
            let version = CloudHypervisorVersion { major, minor: 0 };
            let got = (
                version.is_tested(),
                version.boots_bzimage(),
                version.is_told_image_type(),
                version.can_refuse_nesting(),
            );
            assert_eq!(got, (tested, bzimage, image_type, nesting), "{version}");
        };
        check(28, false, false, false, false);
        check(38, false, false, false, false);
        check(39, false, true, false, false);
        check(50, false, true, false, true);
        check(51, false, true, true, true);
        check(53, true, true, true, true);
        check(54, false, true, true, true);
    }
}
