//! Finding QEMU.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use microagent_backend::{Error, ErrorKind, Result};

/// The program that is looked for.
const PROGRAM: &str = "qemu-system-x86_64";
/// What to do where there is none.
const HINT: &str = "install QEMU (Debian: apt-get install qemu-system-x86), or give the path of \
                    a qemu-system-x86_64 with --supervisor";

/// The absolute path of the QEMU that the user named, or of the first in `PATH`.
pub(crate) fn locate(named: Option<&Path>) -> Result<PathBuf> {
    let unavailable = |what: String| Error::new(ErrorKind::Unavailable, what).with_hint(HINT);
    if let Some(path) = named {
        let path = std::path::absolute(path)
            .map_err(|e| Error::io(format!("resolve {}", path.display()), e))?;
        return match is_executable(&path) {
            true => Ok(path),
            false => Err(unavailable(format!("{} is no executable file", path.display()))),
        };
    }
    let places = env::var_os("PATH").unwrap_or_default();
    find(&places).ok_or_else(|| unavailable(format!("{PROGRAM} is not in PATH")))
}

fn find(places: &OsStr) -> Option<PathBuf> {
    // An empty or relative entry means the working directory, which may be anybody's.
    let places = env::split_paths(places).filter(|dir| dir.is_absolute());
    places.map(|dir| dir.join(PROGRAM)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_files_in_absolute_places() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
        for place in [&first, &second] {
            std::fs::create_dir(place).unwrap();
            std::fs::write(place.join(PROGRAM), "").unwrap();
        }
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(second.join(PROGRAM), mode).unwrap();
        let places = env::join_paths([Path::new("."), &first, &second]).unwrap();
        assert_eq!(find(&places), Some(second.join(PROGRAM)));
        assert_eq!(find(first.as_os_str()), None);
        assert_eq!(find(OsStr::new("")), None);
    }

    #[test]
    fn a_named_program_must_be_one() {
        let error = locate(Some(Path::new("/nonexistent/qemu"))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("/nonexistent/qemu"), "{error}");
    }
}
