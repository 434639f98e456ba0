//! Finding a hypervisor's program.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use microagent_backend::{Error, ErrorKind, Result};

/// The absolute path of the program that the user named, or of the first `program` in `PATH`.
///
/// # Errors
/// `Unavailable`, with `hint`, where there is none.
pub fn locate(program: &str, named: Option<&Path>, hint: &str) -> Result<PathBuf> {
    let unavailable = |what: String| Error::new(ErrorKind::Unavailable, what).with_hint(hint);
    if let Some(path) = named {
        let path = std::path::absolute(path)
            .map_err(|e| Error::io(format!("resolve {}", path.display()), e))?;
        return match is_executable(&path) {
            true => Ok(path),
            false => Err(unavailable(format!("{} is no executable file", path.display()))),
        };
    }
    let places = env::var_os("PATH").unwrap_or_default();
    find(program, &places).ok_or_else(|| unavailable(format!("{program} is not in PATH")))
}

fn find(program: &str, places: &OsStr) -> Option<PathBuf> {
    // An empty or relative entry means the working directory, which may be anybody's.
    let places = env::split_paths(places).filter(|dir| dir.is_absolute());
    places.map(|dir| dir.join(program)).find(|path| is_executable(path))
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
            std::fs::write(place.join("program"), "").unwrap();
        }
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(second.join("program"), mode).unwrap();
        let places = env::join_paths([Path::new("."), &first, &second]).unwrap();
        assert_eq!(find("program", &places), Some(second.join("program")));
        assert_eq!(find("program", first.as_os_str()), None);
        assert_eq!(find("program", OsStr::new("")), None);
    }

    #[test]
    fn a_named_program_must_be_one() {
        let error = locate("program", Some(Path::new("/nonexistent/program")), "get one");
        let error = error.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert_eq!(error.hint.as_deref(), Some("get one"));
        assert!(error.message.contains("/nonexistent/program"), "{error}");
    }
}
