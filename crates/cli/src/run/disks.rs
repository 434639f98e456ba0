//! `--disk`, `--bundle` and `--volume`: from what was written to requests.

use std::fs::File;
use std::path::PathBuf;

use microagent_machine::{Access, DiskId};
use microagent_workspace::{DiskRequest, DiskSource, MountPoint, Owners, check_names};

use crate::args::DiskArgs;
use crate::failure::Failure;

/// How a disk is written.
const DISK: &str = "--disk NAME=PATH:/MOUNT:ro|rw";
/// How a bundle is written.
const BUNDLE: &str = "--bundle NAME=PATH:/MOUNT:ro|rw[,keep-owner]";

/// How a volume is written.
const VOLUME: &str = "--volume SRC:/MOUNT[:ro|rw]";

/// What ends a bundle whose files stay whose they are.
const KEEP_OWNER: &str = ",keep-owner";

/// All disks that were asked for, in the order in which the guest numbers them.
pub(super) fn requests(args: &DiskArgs) -> Result<Vec<DiskRequest>, Failure> {
    let disks = args.disk.iter().map(|text| disk(text));
    let disks = disks.chain(args.bundle.iter().map(|text| bundle(text)));
    let volumes = args.volume.iter().enumerate();
    let disks = disks.chain(volumes.map(|(number, text)| volume(number, text)));
    let disks = disks.collect::<Result<Vec<_>, _>>()?;
    check_names(&disks).map_err(Failure::from)?;
    Ok(disks)
}

fn disk(text: &str) -> Result<DiskRequest, Failure> {
    request(DISK, text, text, |path| DiskSource::Image { path })
}

fn bundle(text: &str) -> Result<DiskRequest, Failure> {
    let (rest, owners) = match text.strip_suffix(KEEP_OWNER) {
        Some(rest) => (rest, Owners::Kept),
        None => (text, Owners::Root),
    };
    request(BUNDLE, text, rest, |path| DiskSource::Bundle { path, owners })
}

/// `NAME=PATH:/MOUNT:ro|rw`. A path may hold colons: the last two count.
fn request(
    form: &str,
    text: &str,
    rest: &str,
    source: impl FnOnce(PathBuf) -> DiskSource,
) -> Result<DiskRequest, Failure> {
    let flag = form.split(' ').next().unwrap_or_default();
    let wrong = |why: &str| Failure::usage(format!("{flag} '{text}': {why}")).with_hint(form);
    let (name, rest) = rest.split_once('=').ok_or_else(|| wrong("it has no name"))?;
    let (rest, access) = rest.rsplit_once(':').ok_or_else(|| wrong("it says no ro or rw"))?;
    let (path, target) = rest.rsplit_once(':').ok_or_else(|| wrong("it says no mount point"))?;
    if path.is_empty() {
        return Err(wrong("it has no path"));
    }
    Ok(DiskRequest {
        id: DiskId::new(name).map_err(|e| wrong(&e.to_string()))?,
        source: source(PathBuf::from(path)),
        target: MountPoint::new(target).map_err(|e| wrong(&e.to_string()))?,
        access: self::access(access).ok_or_else(|| wrong("it says no ro or rw at its end"))?,
    })
}

/// `SRC:/MOUNT[:ro|rw]`: a source with a slash is a path, any other the name of a volume.
fn volume(number: usize, text: &str) -> Result<DiskRequest, Failure> {
    let wrong = |why: &str| Failure::usage(format!("--volume '{text}': {why}")).with_hint(VOLUME);
    let (rest, access) = match text.rsplit_once(':') {
        Some((rest, end)) if access(end).is_some() => (rest, access(end)),
        _ => (text, None),
    };
    let (source, target) = rest.rsplit_once(':').ok_or_else(|| wrong("it says no mount point"))?;
    let target = MountPoint::new(target).map_err(|e| wrong(&e.to_string()))?;
    let (id, source) = if source.contains('/') {
        (DiskId::new(format!("volume-{number}")), file_or_image(text, source, &target)?)
    } else {
        let name = DiskId::new(source).map_err(|_| wrong(&format!("'{source}' is no name")))?;
        (Ok(name.clone()), DiskSource::Volume { name })
    };
    let id = id.map_err(|e| wrong(&e.to_string()))?;
    Ok(DiskRequest { id, source, target, access: access.unwrap_or(Access::ReadWrite) })
}

/// An ext4 image as it is; any other file is taken for an archive.
fn file_or_image(text: &str, path: &str, target: &MountPoint) -> Result<DiskSource, Failure> {
    let path = PathBuf::from(path);
    let wrong = |why: String| Failure::usage(format!("--volume '{text}': {why}"));
    let meta = path.metadata().map_err(|e| wrong(format!("{}: {e}", path.display())))?;
    if meta.is_dir() {
        return Err(wrong("directories of the host cannot be mounted".into()).with_hint(format!(
            "--bundle NAME={}:{target}:ro packs it at the start, --output brings files back",
            path.display()
        )));
    }
    let image = meta.is_file()
        && File::open(&path).is_ok_and(|file| microagent_rootfs::inspect(&file).is_ok());
    Ok(match image {
        true => DiskSource::Image { path },
        false => DiskSource::Bundle { path, owners: Owners::Root },
    })
}

fn access(text: &str) -> Option<Access> {
    match text {
        "ro" => Some(Access::ReadOnly),
        "rw" => Some(Access::ReadWrite),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Disks, then bundles, each after its flag.
    fn requests_of(words: &[&str]) -> Result<Vec<DiskRequest>, String> {
        let mut args = DiskArgs::default();
        for word in words {
            match word.split_once(' ') {
                Some(("--bundle", text)) => args.bundle.push(text.to_owned()),
                Some(("--volume", text)) => args.volume.push(text.to_owned()),
                _ => args.disk.push((*word).to_owned()),
            }
        }
        requests(&args).map_err(|failure| failure.message)
    }

    fn check(words: &[&str], says: &str) {
        let message = requests_of(words).unwrap_err();
        assert!(message.contains(says), "{words:?}: {message}");
    }

    #[test]
    fn a_disk_has_a_name_a_path_a_place_and_an_access() {
        let words = ["data=/a:b/c.ext4:/mnt/data:rw", "--bundle src=.:/src:rw,keep-owner"];
        let disks = requests_of(&words).unwrap();
        assert_eq!(disks[0].source, DiskSource::Image { path: "/a:b/c.ext4".into() });
        assert_eq!(disks[0].target.to_string(), "/mnt/data");
        let bundle = DiskSource::Bundle { path: ".".into(), owners: Owners::Kept };
        assert_eq!(disks[1].source, bundle);
        assert!(disks.iter().all(|disk| disk.access == Access::ReadWrite));
        let disks = requests_of(&["x=rel:/x/:ro", "--bundle y=t.tar:/y:ro"]).unwrap();
        let bundle = DiskSource::Bundle { path: "t.tar".into(), owners: Owners::Root };
        assert_eq!(disks[1].source, bundle);
        assert!(disks.iter().all(|disk| disk.access == Access::ReadOnly));
    }

    #[test]
    fn a_volume_is_a_name_an_image_or_an_archive() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar");
        std::fs::write(&archive, [0; 1024]).unwrap();
        let path = archive.display();
        let words = ["--volume data:/data", &format!("--volume {path}:/a:ro")];
        let disks = requests_of(&words).unwrap();
        let name = DiskId::new("data").unwrap();
        assert_eq!(disks[0].source, DiskSource::Volume { name: name.clone() });
        assert_eq!((&disks[0].id, disks[0].access), (&name, Access::ReadWrite));
        let owners = Owners::Root;
        assert_eq!(disks[1].source, DiskSource::Bundle { path: archive.clone(), owners });
        assert_eq!((disks[1].id.as_str(), disks[1].access), ("volume-1", Access::ReadOnly));
        check(&["--volume data"], "no mount point");
        check(&["--volume :/x"], "'' is no name");
        check(&["--volume a.b:/x"], "'a.b' is no name");
        check(&["--volume data:x"], "'x' is not an absolute path");
        check(&["--volume data:/x", "--volume data:/y"], "two disks are named 'data'");
        check(&["--volume /nonexistent/x:/y"], "/nonexistent/x: No such file");
        check(&["--volume /etc:/y"], "directories of the host cannot be mounted");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        check(&["/x:/y:ro"], "--disk '/x:/y:ro': it has no name");
        check(&["n=/x"], "no ro or rw");
        check(&["n=/x:/y"], "no mount point");
        check(&["n=/x:/y:wo"], "no ro or rw at its end");
        check(&["n=/x:/y:ro,keep-owner"], "no ro or rw at its end");
        check(&["--bundle n=/x:/y:ro,keep"], "--bundle 'n=/x:/y:ro,keep': it says no ro or rw");
        check(&["n=:/y:ro"], "no path");
        check(&["a b=/x:/y:ro"], "disk id 'a b'");
        check(&["n=/x:y:ro"], "'y' is not an absolute path");
        check(&["n=/x:/:ro"], "root disk");
        check(&["root=/x:/y:ro"], "disk name 'root'");
        check(&["n=/x:/y:ro", "--bundle n=/z:/w:ro"], "two disks are named 'n'");
        check(&["n=/x:/y:ro", "--bundle m=/z:/y/:ro"], "two disks are to be mounted at /y");
    }
}
