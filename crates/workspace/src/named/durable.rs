//! Files that survive a loss of power, and are refused where a newer program wrote them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::RunError;

/// Longest file that is read, in bytes: manifests with long environments are below 200 KiB.
const MAX_LEN: u64 = 4 << 20;

/// What stands in such a file.
pub(crate) trait Versioned: Serialize + DeserializeOwned {
    /// The version that this program writes.
    const VERSION: u32;
    /// What it is called in an error.
    const WHAT: &'static str;
}

/// Writes a file that is either whole or as it was, and stays so whenever power is lost:
/// temporary name, fsync, rename, fsync of the directory.
pub(crate) fn write<T: Versioned>(path: &Path, value: &T) -> Result<(), RunError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| RunError::state(format!("cannot write {}", path.display()), e.into()))?;
    text.push(b'\n');
    replace(path, &text).map_err(|e| RunError::state(format!("cannot write {}", path.display()), e))
}

/// The same for bytes.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.tmp", std::process::id()));
    let draft = Path::new(&draft);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(draft);
    let written = file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(draft, path)?;
        File::open(parent)?.sync_all()
    });
    if written.is_err() {
        // Where even that fails, whoever sweeps the directory finds it.
        let _ = fs::remove_file(draft);
    }
    written
}

/// Reads such a file; none where there is no file.
///
/// # Errors
/// `NewerFile`, and for one that cannot be read or understood `State`.
pub(crate) fn read<T: Versioned>(path: &Path) -> Result<Option<T>, RunError> {
    let failed = |e| RunError::state(format!("cannot read {}", path.display()), e);
    let mut text = Vec::new();
    match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.and_then(|f| f.take(MAX_LEN + 1).read_to_end(&mut text)).map_err(failed)?,
    };
    if text.len() as u64 > MAX_LEN {
        let message = format!("it is longer than {MAX_LEN} bytes");
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, message)));
    }
    // The version first: a file of another one may have other fields.
    let value: Value = serde_json::from_slice(&text).map_err(|e| failed(e.into()))?;
    let found = value.get("version").and_then(Value::as_u64);
    match found {
        Some(found) if found == u64::from(T::VERSION) => {
            serde_json::from_value(value).map(Some).map_err(|e| failed(e.into()))
        }
        found => Err(RunError::OtherVersion {
            what: T::WHAT,
            path: path.to_owned(),
            found: found.unwrap_or(0),
            known: T::VERSION,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        version: u32,
        field: u32,
    }

    impl Versioned for Sample {
        const VERSION: u32 = 2;
        const WHAT: &'static str = "sample";
    }

    fn check(text: &str, expect: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, text).unwrap();
        let read = read::<Sample>(&path).map_err(|e| crate::error::chain(&e));
        let text = match read {
            Ok(sample) => format!("{sample:?}"),
            Err(text) => text,
        };
        assert!(text.contains(expect), "{text}");
    }

    #[test]
    fn what_is_not_of_this_version_is_refused_by_name() {
        check(r#"{"version":2,"field":1}"#, "Some(Sample { version: 2, field: 1 })");
        check(r#"{"version":3,"other":1}"#, "has version 3, this program knows version 2");
        check(r#"{"version":1}"#, "has version 1, this program knows version 2");
        check(r#"{"version":2,"field":1,"more":1}"#, "unknown field `more`");
        check("", "cannot read");
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert_eq!(read::<Sample>(&path).unwrap(), None);
        for field in 0..2 {
            write(&path, &Sample { version: 2, field }).unwrap();
            assert_eq!(read::<Sample>(&path).unwrap(), Some(Sample { version: 2, field }));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
