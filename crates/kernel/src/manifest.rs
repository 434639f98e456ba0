//! The manifest beside an installed kernel.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use microagent_machine::{Arch, KernelFormat};
use serde::{Deserialize, Serialize};

use crate::error::KernelError;

/// The version of the manifest's form that this program writes, and the only one it reads.
const VERSION: u32 = 1;

/// A manifest of ours is under 1 KiB.
const MAX_MANIFEST: u64 = 64 * 1024;

/// What is recorded of a kernel when it is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this form: 1.
    pub version: u32,
    /// The instruction set.
    pub arch: Arch,
    /// The release, as `uname -r` in the guest prints it, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<String>,
    /// How it is entered.
    pub format: KernelFormat,
    /// SHA-256 of the kernel file, in lower-case hexadecimal.
    pub sha256: String,
    /// Length of the kernel file, in bytes.
    pub size: u64,
    /// SHA-256 of what it was built from, where it was built here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs_sha256: Option<String>,
    /// SHA-256 of the configuration fragment that it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_sha256: Option<String>,
    /// What it has built in that a run can use, by name: `ext4`, `vsock`, `dm-snapshot`,
    /// `device-arguments`.
    /// Empty where that is not known.
    #[serde(default)]
    pub features: BTreeSet<String>,
}

impl Manifest {
    /// What can be said of a kernel that came without a manifest.
    pub(crate) fn of_unknown(arch: Arch, format: KernelFormat, sha256: String, size: u64) -> Self {
        Manifest {
            version: VERSION,
            arch,
            linux: None,
            format,
            sha256,
            size,
            inputs_sha256: None,
            config_sha256: None,
            features: BTreeSet::new(),
        }
    }

    /// Reads the manifest in `path`; `None` if there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, KernelError> {
        let bad = |why: String| KernelError::BadManifest { path: path.to_owned(), why };
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(KernelError::io("open", path))?,
        };
        let mut text = Vec::new();
        file.take(MAX_MANIFEST + 1)
            .read_to_end(&mut text)
            .map_err(KernelError::io("read", path))?;
        if text.len() as u64 > MAX_MANIFEST {
            return Err(bad(format!("longer than {MAX_MANIFEST} bytes")));
        }
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        if manifest.version != VERSION {
            return Err(bad(format!("version {}, expected {VERSION}", manifest.version)));
        }
        if !crate::digest::is_sum(&manifest.sha256) {
            return Err(bad(format!("{:?} is no SHA-256 sum", manifest.sha256)));
        }
        Ok(Some(manifest))
    }

    /// The manifest as it stands in its file.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("plain data has a JSON form");
        text.push(b'\n');
        text
    }
}
