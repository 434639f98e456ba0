//! Things that take long to make are made once and kept between runs of the tests, or made
//! elsewhere and given.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A directory that holds what was made elsewhere, each thing under its name.
const GIVEN: &str = "MICROAGENT_TEST_IMAGES";

/// What was made elsewhere, for a machine that has not all that making it needs.
pub(crate) fn given(name: &str) -> Option<PathBuf> {
    let given = env::var_os(GIVEN).filter(|path| !path.is_empty())?;
    Some(PathBuf::from(given).join(name))
}

/// The directory that `make` filled, now or at an earlier time. `inputs` is everything that
/// its content depends on; a change of it makes anew and removes the old one.
///
/// # Panics
/// Where it cannot be made.
pub(crate) fn made(name: &str, inputs: &[&str], make: impl FnOnce(&Path)) -> PathBuf {
    let root = root();
    fs::create_dir_all(&root).expect("make the cache directory");
    let lock = File::create(root.join(format!("{name}.lock"))).expect("make a lock file");
    lock.lock().expect("lock the cache");
    let path = root.join(format!("{name}-{}", key(inputs)));
    if path.exists() {
        return path;
    }
    remove_others(&root, name);
    let partial = root.join(format!("{name}.partial"));
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir(&partial).expect("make a directory in the cache");
    make(&partial);
    fs::rename(&partial, &path).expect("give it its name");
    path
}

fn root() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(env::home_dir()?.join(".cache")));
    cache.unwrap_or_else(env::temp_dir).join("microagent/tests")
}

fn key(inputs: &[&str]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update(input.len().to_le_bytes());
        hash.update(input.as_bytes());
    }
    hex::encode(&hash.finalize()[..8])
}

fn remove_others(root: &Path, name: &str) {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let old = format!("{name}-");
    for entry in entries.filter(|e| e.file_name().to_string_lossy().starts_with(&old)) {
        let _ = fs::remove_dir_all(entry.path());
    }
}
