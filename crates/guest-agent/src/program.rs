//! Which file a command's first word means, and what environment it gets.

use std::ffi::{CString, NulError};
use std::fs;

use rustix::fs::{Access, access};

/// Where programs are if a command's environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a program cannot be run; the code is that of shells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotStarted {
    /// 126 if it is there and cannot be run, 127 if it is not there.
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl NotStarted {
    /// It is there, or could not even be looked for.
    pub(crate) fn cannot(message: impl Into<String>) -> Self {
        Self { code: 126, message: message.into() }
    }

    /// It is not there.
    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self { code: 127, message: message.into() }
    }
}

/// The file to execute, as the process that asks would find it: relative paths are relative
/// to its working directory, permissions are its own.
pub(crate) fn find(program: &str, environment: &[String]) -> Result<String, NotStarted> {
    if program.is_empty() {
        return Err(NotStarted::missing("the command is empty"));
    }
    if program.contains('/') {
        return match usable(program) {
            Usable::Yes => Ok(program.to_owned()),
            Usable::No(why) => Err(NotStarted::cannot(format!("{program}: {why}"))),
            Usable::Missing => Err(NotStarted::missing(format!("{program}: no such file"))),
        };
    }
    let mut cannot = None;
    for directory in value(environment, "PATH").unwrap_or(PATH).split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let path = format!("{}/{program}", directory.trim_end_matches('/'));
        match usable(&path) {
            Usable::Yes => return Ok(path),
            Usable::No(why) => cannot = cannot.or(Some(format!("{path}: {why}"))),
            Usable::Missing => {}
        }
    }
    Err(match cannot {
        Some(message) => NotStarted::cannot(message),
        None => NotStarted::missing(format!("{program}: not found in PATH")),
    })
}

/// The environment with `PATH` and `HOME` added where they are missing. Order is kept; what
/// is no `KEY=VALUE` is left out, and of one key the last value counts.
pub(crate) fn environment(given: &[String], home: &str) -> Vec<String> {
    let mut result: Vec<String> = Vec::with_capacity(given.len() + 2);
    for entry in given {
        let Some((key, _)) = entry.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            continue;
        };
        match result.iter_mut().find(|old| has_key(old, key)) {
            Some(old) => old.clone_from(entry),
            None => result.push(entry.clone()),
        }
    }
    for (key, default) in [("PATH", PATH), ("HOME", home)] {
        if value(&result, key).is_none() {
            result.push(format!("{key}={default}"));
        }
    }
    result
}

/// Texts as an exec takes them.
pub(crate) fn c_strings(texts: &[String]) -> Result<Vec<CString>, NotStarted> {
    let zero = |_: NulError| NotStarted::cannot("a zero byte in an argument or the environment");
    texts.iter().map(|text| CString::new(text.as_bytes()).map_err(zero)).collect()
}

fn value<'a>(environment: &'a [String], key: &str) -> Option<&'a str> {
    environment.iter().find(|entry| has_key(entry, key)).map(|entry| &entry[key.len() + 1..])
}

fn has_key(entry: &str, key: &str) -> bool {
    entry.strip_prefix(key).is_some_and(|rest| rest.starts_with('='))
}

enum Usable {
    Yes,
    No(&'static str),
    Missing,
}

fn usable(path: &str) -> Usable {
    match fs::metadata(path) {
        Ok(file) if file.is_dir() => Usable::No("is a directory"),
        Ok(_) if access(path, Access::EXEC_OK).is_ok() => Usable::Yes,
        Ok(_) => Usable::No("permission denied"),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Usable::No("permission denied")
        }
        Err(_) => Usable::Missing,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_is_missing_is_added_and_order_kept() {
        let check = |given: &[&str], expect: &[&str]| {
            assert_eq!(environment(&texts(given), "/home/app"), texts(expect));
        };
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        check(&[], &[path, "HOME=/home/app"]);
        check(&["Z=1", "A="], &["Z=1", "A=", path, "HOME=/home/app"]);
        check(&["HOME=/x", "PATH="], &["HOME=/x", "PATH="]);
        check(&["A=1", "B=2", "A=3=4"], &["A=3=4", "B=2", path, "HOME=/home/app"]);
        check(&["PATHS=1", "no", "=x"], &["PATHS=1", path, "HOME=/home/app"]);
    }

    #[test]
    fn zero_bytes_are_refused() {
        assert!(c_strings(&texts(&["a", "b"])).is_ok());
        assert_eq!(c_strings(&texts(&["a\0b"])).unwrap_err().code, 126);
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("program-{}", std::process::id()));
            fs::create_dir_all(folder.join("one/tool")).unwrap();
            fs::create_dir_all(folder.join("two")).unwrap();
            for (name, mode) in [("one/plain", 0o644), ("two/tool", 0o755), ("two/plain", 0o755)] {
                fs::write(folder.join(name), "").unwrap();
                let permissions = fs::Permissions::from_mode(mode);
                fs::set_permissions(folder.join(name), permissions).unwrap();
            }
            fs::write(folder.join("one/only"), "").unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn programs_are_looked_up_as_shells_do() {
        let folder = Folder::new();
        let at = folder.0.display();
        let environment = [format!("PATH={at}/none:{at}/one/:{at}/two")];
        let check = |program: &str, expect: Result<String, (u8, String)>| {
            let found = find(program, &environment).map_err(|e| (e.code, e.message));
            assert_eq!(found, expect, "{program}");
        };
        check("tool", Ok(format!("{at}/two/tool")));
        check("plain", Ok(format!("{at}/two/plain")));
        check("only", Err((126, format!("{at}/one/only: permission denied"))));
        check("none", Err((127, "none: not found in PATH".to_owned())));
        check(&format!("{at}/two/tool"), Ok(format!("{at}/two/tool")));
        check(&format!("{at}/one"), Err((126, format!("{at}/one: is a directory"))));
        check(&format!("{at}/x"), Err((127, format!("{at}/x: no such file"))));
        check("", Err((127, "the command is empty".to_owned())));
    }
}
