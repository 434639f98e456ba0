//! Finds virtio disks by their serial numbers.

use std::fs;
use std::io;

use crate::failure::SetupError;

const BLOCK_DEVICES: &str = "/sys/block";
/// Virtio disks are `vda`, `vdb` and so on.
const PREFIX: &str = "vd";
const SECTOR: u64 = 512;

/// A disk of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    /// The kernel's name, such as `vda`.
    name: String,
    serial: String,
}

/// The disks of this machine, each asked for its serial number once: asking is a request to
/// the device.
#[derive(Debug)]
pub(crate) struct Disks(Vec<Disk>);

impl Disks {
    /// Lists the disks; needs `/sys`.
    pub(crate) fn list() -> Result<Self, SetupError> {
        let failed =
            |error| SetupError::Path { action: "list", path: BLOCK_DEVICES.to_owned(), error };
        let mut disks = Vec::new();
        let entries = match fs::read_dir(BLOCK_DEVICES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self(disks)),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let serial = fs::read_to_string(format!("{BLOCK_DEVICES}/{name}/serial"));
            let serial = serial.unwrap_or_default().trim_end_matches(['\n', '\0']).to_owned();
            disks.push(Disk { name: name.to_owned(), serial });
        }
        Ok(Self(disks))
    }

    /// The disk with this serial number.
    pub(crate) fn find(&self, serial: &str) -> Result<&Disk, SetupError> {
        self.0.iter().find(|disk| disk.serial == serial).ok_or_else(|| {
            let found: Vec<_> = self.0.iter().map(|d| format!("'{}'", d.serial)).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            SetupError::NoDisk { serial: serial.to_owned(), found }
        })
    }
}

impl Disk {
    /// The kernel's name of it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its node; needs `/dev`.
    pub(crate) fn node(&self) -> String {
        format!("/dev/{}", self.name)
    }

    /// Its size in bytes; needs `/sys`.
    pub(crate) fn size(&self) -> Result<u64, SetupError> {
        Ok(self.sectors()? * SECTOR)
    }

    /// Its size in sectors of 512 bytes; needs `/sys`.
    pub(crate) fn sectors(&self) -> Result<u64, SetupError> {
        let path = format!("{BLOCK_DEVICES}/{}/size", self.name);
        let text = fs::read_to_string(&path).map_err(SetupError::path("read", &path))?;
        let number = text.trim().parse();
        number.map_err(io::Error::other).map_err(SetupError::path("read", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_disk_is_named_with_those_that_are_there() {
        let disk = |name: &str, serial: &str| Disk { name: name.into(), serial: serial.into() };
        let disks = Disks(vec![disk("vda", "root"), disk("vdb", "")]);
        assert_eq!(disks.find("root").unwrap().node(), "/dev/vda");
        let text = disks.find("roo").unwrap_err().to_string();
        assert!(text.starts_with("no disk with serial number 'roo' (there are: 'root', '')"));
        let text = Disks(Vec::new()).find("roo").unwrap_err().to_string();
        assert!(text.contains("(there are: none)"), "{text}");
    }
}
