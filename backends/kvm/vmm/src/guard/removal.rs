//! Removing what an attached machine leaves behind.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// For how long a directory is tried again that another process of the same machine, which
/// is ending too, still puts files into.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long until it is tried again.
const PAUSE: Duration = Duration::from_millis(5);

/// Removes `path` and all below it, without following a symbolic link. Absent is removed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match remove_once(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if Instant::now() >= deadline => return Err(e),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn remove_once(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let [tree, kept, link] = ["tree", "kept", "link"].map(|n| dir.path().join(n));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "text").unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("a/out")).unwrap();
        std::os::unix::fs::symlink(&kept, &link).unwrap();
        for path in [&tree, &link, &dir.path().join("absent")] {
            remove(path).unwrap();
            assert!(fs::symlink_metadata(path).is_err());
        }
        assert!(kept.join("file").exists());
    }
}
