//! Whether what is asked for can be, before anything is started for it.

use std::path::Path;

use microagent_backend::{Capabilities, Error, ErrorKind, Rejection, Result, RunDir, admit};
use microagent_machine::{Access, Boot, MachineSpec};

/// What `spec` boots, if a backend of these capabilities can run it and its files are there.
///
/// # Errors
/// `Unsupported` with every rejection, `Usage` for a machine without a kernel, for disks that
/// cannot be told apart and for files that are none, and `Io` for those that are not there.
pub fn admitted<'a>(spec: &'a MachineSpec, capabilities: &Capabilities) -> Result<&'a Boot> {
    let rejections = admit(spec, capabilities);
    if !rejections.is_empty() {
        return Err(Rejection::error(&capabilities.backend, &rejections));
    }
    let Some(boot) = &spec.boot else {
        return Err(Error::new(ErrorKind::Usage, "the machine has no kernel to boot"));
    };
    look_at_disks(spec)?;
    look_for_files(spec, boot)?;
    Ok(boot)
}

/// The same directory by an absolute path.
///
/// # Errors
/// `Io` where there is no working directory.
pub fn absolute_dir(dir: &RunDir) -> Result<RunDir> {
    let path = std::path::absolute(dir.path())
        .map_err(|e| Error::io(format!("resolve {}", dir.path().display()), e))?;
    Ok(RunDir::at(path))
}

/// The longest file that a monitor has to write, in bytes: its largest disk, or memory, which
/// is a file too, if only in name.
pub fn max_file_size(spec: &MachineSpec) -> u64 {
    let len = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
    let disks = spec.disks.iter().map(|disk| len(&disk.path));
    disks.max().unwrap_or(0).max(spec.memory.bytes())
}

/// Whether each disk can be told from the others: the guest knows it by its id, and an image
/// that is written to can have one writer.
fn look_at_disks(spec: &MachineSpec) -> Result<()> {
    let usage = |message: String| Err(Error::new(ErrorKind::Usage, message));
    for (index, disk) in spec.disks.iter().enumerate() {
        let others = &spec.disks[..index];
        if others.iter().any(|other| other.id == disk.id) {
            return usage(format!("two disks have the id '{}'", disk.id));
        }
        let mut same = others.iter().filter(|other| other.path == disk.path).chain([disk]);
        if same.clone().count() > 1 && same.any(|d| d.access == Access::ReadWrite) {
            return usage(format!("{} is two disks, and one is writable", disk.path.display()));
        }
    }
    Ok(())
}

fn look_for_files(spec: &MachineSpec, boot: &Boot) -> Result<()> {
    let disks = spec.disks.iter().map(|disk| ("disk", &disk.path));
    for (what, path) in
        [("kernel", &boot.kernel), ("initramfs", &boot.initramfs)].into_iter().chain(disks)
    {
        let meta = path.metadata();
        let meta = meta.map_err(|e| Error::io(format!("open {what} {}", path.display()), e))?;
        if !meta.is_file() {
            let message = format!("{what} {} is no regular file", path.display());
            return Err(Error::new(ErrorKind::Usage, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use microagent_machine::{Arch, Disk, DiskId, MiB};

    use super::*;

    fn check(disks: &[(&str, &str, Access)], expect: Option<&str>) {
        let disk = |(id, path, access): &(&str, &str, Access)| Disk {
            id: DiskId::new(*id).unwrap(),
            path: path.into(),
            access: *access,
        };
        let spec = MachineSpec {
            arch: Arch::X86_64,
            vcpus: 1,
            memory: MiB(128),
            disks: disks.iter().map(disk).collect(),
            vsock: None,
            net: None,
            rng: false,
            boot: None,
        };
        let got = look_at_disks(&spec).map_err(|e| (e.kind, e.message)).err();
        assert_eq!(got, expect.map(|text| (ErrorKind::Usage, text.to_owned())), "{disks:?}");
    }

    #[test]
    fn disks_are_told_apart() {
        use Access::{ReadOnly, ReadWrite};
        check(&[], None);
        check(&[("a", "/1", ReadWrite), ("b", "/2", ReadWrite)], None);
        check(&[("a", "/1", ReadOnly), ("b", "/1", ReadOnly)], None);
        check(&[("a", "/1", ReadOnly), ("a", "/2", ReadOnly)], Some("two disks have the id 'a'"));
        let twice = Some("/1 is two disks, and one is writable");
        check(&[("a", "/1", ReadOnly), ("b", "/1", ReadWrite)], twice);
        check(&[("a", "/1", ReadWrite), ("b", "/1", ReadOnly)], twice);
    }
}
