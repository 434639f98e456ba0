//! `--disk` and `--bundle`: from what was written to requests.

use std::path::PathBuf;

use microagent_machine::{Access, DiskId};
use microagent_workspace::{DiskRequest, DiskSource, MountPoint, Owners, check_names};

use crate::args::DiskArgs;
use crate::failure::Failure;

/// How a disk is written.
const DISK: &str = "--disk NAME=PATH:/MOUNT:ro|rw";
/// How a bundle is written.
const BUNDLE: &str = "--bundle NAME=PATH:/MOUNT:ro|rw[,keep-owner]";

/// What ends a bundle whose files stay whose they are.
const KEEP_OWNER: &str = ",keep-owner";

/// All disks that were asked for, in the order in which the guest numbers them.
pub(super) fn requests(args: &DiskArgs) -> Result<Vec<DiskRequest>, Failure> {
    let disks = args.disk.iter().map(|text| disk(text));
    let disks = disks.chain(args.bundle.iter().map(|text| bundle(text)));
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
