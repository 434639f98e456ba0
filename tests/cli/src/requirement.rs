//! What a test needs that not every machine has: a visible skip, or a failure on request.

use std::env;
use std::path::{Path, PathBuf};

/// Which missing things are failures instead of skips: names separated by commas, or `all`
/// that can be installed.
const REQUIRE: &str = "MICROAGENT_REQUIRE";
const ROOT: &str = "root";

/// Says that `name` is missing: a line on standard error, or the end of the test.
///
/// # Panics
/// Where the environment demands `name`.
pub fn missing(name: &str, why: &str) {
    let demanded = env::var(REQUIRE).unwrap_or_default();
    let demanded = demanded.split(',').any(|word| word == name || word == "all");
    assert!(!demanded, "{REQUIRE} demands {name}: {why}");
    eprintln!("SKIP: {name}: {why}");
}

/// Whether every one of these programs is there; says which is not.
pub fn tools(names: &[&str]) -> bool {
    let absent = names.iter().find(|name| find(name).is_none());
    if let Some(name) = absent {
        missing(name, "there is no such program in PATH, /usr/sbin or /sbin");
    }
    absent.is_none()
}

/// Whether this is root; says so if not. That cannot be installed, so only `root` by its name
/// demands it.
pub fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    let demanded = env::var(REQUIRE).unwrap_or_default().split(',').any(|word| word == ROOT);
    assert!(root || !demanded, "{REQUIRE} demands {ROOT}");
    if !root {
        eprintln!("SKIP: {ROOT}: this test can only be done as root");
    }
    root
}

/// The path of a program.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut files = env::split_paths(&path).chain(more).map(|dir| dir.join(name));
    files.find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
