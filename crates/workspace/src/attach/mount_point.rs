//! Where in a guest a disk is mounted.

use std::fmt;

/// Longest mount point, in bytes; Linux's `PATH_MAX`, less the NUL.
const MAX_LEN: usize = 4095;

/// Directories that the agent mounts itself.
const RESERVED: [&str; 3] = ["/dev", "/proc", "/sys"];

/// An absolute path in normal form, which is not `/` and nothing that every guest has mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MountPoint(String);

/// A text that is no [`MountPoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mount point '{text}' {reason}")]
pub struct InvalidMountPoint {
    text: String,
    reason: &'static str,
}

impl MountPoint {
    /// Checks a path; one trailing slash is taken off.
    ///
    /// # Errors
    /// [`InvalidMountPoint`] with the text as it was given.
    pub fn new(text: &str) -> Result<Self, InvalidMountPoint> {
        let invalid = |reason| InvalidMountPoint { text: text.to_owned(), reason };
        let path = text.strip_suffix('/').unwrap_or(text);
        let within = |reserved: &str| {
            let rest = path.strip_prefix(reserved);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match path {
            _ if !text.starts_with('/') => Err(invalid("is not an absolute path in the guest")),
            "" => Err(invalid("is where the root disk is mounted")),
            _ if path.len() > MAX_LEN => Err(invalid("is longer than 4095 bytes")),
            _ if path.contains('\0') => Err(invalid("holds a NUL byte")),
            _ if path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) => {
                Err(invalid("has an empty component, '.' or '..'"))
            }
            _ if RESERVED.into_iter().any(within) => {
                Err(invalid("is the guest's own: /dev, /proc and /sys cannot be had"))
            }
            _ => Ok(Self(path.to_owned())),
        }
    }

    /// Number of components.
    pub(crate) fn depth(&self) -> usize {
        self.0.matches('/').count()
    }
}

impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, &str>) {
        let got = MountPoint::new(text).map(|point| point.to_string()).map_err(|e| e.to_string());
        match (got, expect) {
            (Ok(got), Ok(expect)) => assert_eq!(got, expect, "{text}"),
            (Err(got), Err(expect)) => assert!(got.contains(expect), "{text}: {got}"),
            (got, expect) => panic!("{text}: {got:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn mount_points_are_absolute_and_normal_and_free() {
        check("/data", Ok("/data"));
        check("/data/", Ok("/data"));
        check("/a/b/c", Ok("/a/b/c"));
        check("/developer", Ok("/developer"));
        check("data", Err("'data' is not an absolute path"));
        check("", Err("not an absolute path"));
        check("/", Err("root disk"));
        check("//", Err("empty component"));
        check("/a//b", Err("empty component"));
        check("/a/../b", Err("'..'"));
        check("/./a", Err("'.'"));
        check("/dev", Err("guest's own"));
        check("/proc/", Err("guest's own"));
        check("/sys/fs/cgroup", Err("guest's own"));
        check(&format!("/{}", "x".repeat(5000)), Err("4095"));
    }
}
