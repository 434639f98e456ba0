//! What a program needs to run at all.

use std::path::{Path, PathBuf};

/// Where a program of the distribution has its libraries, and what any program reads.
const SYSTEM: &[&str] = &[
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/dev/null",
    "/dev/urandom",
];
/// What stands beside the directory of a program that was installed elsewhere.
const PREFIX: &[&str] = &["lib", "lib64", "share", "libexec"];
/// The one place where a program's libraries are found neither in the system's nor in its
/// own prefix.
const NIX: &str = "/nix/store";

/// The files and directories that the program at this path needs to read, of which some may
/// not exist: itself, its libraries, and what was installed with it.
pub fn files_of_program(program: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    files.extend(own(program));
    files
}

/// The program itself and what was installed with it.
fn own(program: &Path) -> Vec<PathBuf> {
    let mut own = vec![program.to_owned()];
    let real = program.canonicalize().ok();
    for path in [Some(program), real.as_deref()].into_iter().flatten() {
        if path.starts_with(NIX) {
            own.push(NIX.into());
        }
        let prefix = path.parent().and_then(Path::parent).filter(|p| *p != Path::new("/usr"));
        own.extend(prefix.into_iter().flat_map(|p| PREFIX.iter().map(|name| p.join(name))));
    }
    own.extend(real);
    own.sort();
    own.dedup();
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_brings_its_prefix() {
        let check = |program: &str, expect: &[&str]| {
            let expect: Vec<_> = expect.iter().map(PathBuf::from).collect();
            assert_eq!(own(Path::new(program)), expect, "{program}");
        };
        check(
            "/opt/q/bin/qemu",
            &["/opt/q/bin/qemu", "/opt/q/lib", "/opt/q/lib64", "/opt/q/libexec", "/opt/q/share"],
        );
        check("/usr/bin/no-such-qemu", &["/usr/bin/no-such-qemu"]);
        assert!(own(Path::new("/nix/store/hash/bin/qemu")).contains(&NIX.into()));
    }
}
