//! `config.toml`: the user's defaults.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The user's defaults. Flags and environment override them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// As `--supervisor`.
    pub supervisor: Option<String>,
    /// As `--network`.
    pub network: Option<String>,
    /// As `--kernel`.
    pub kernel: Option<PathBuf>,
    /// As `--insecure-registry`, repeated.
    pub insecure_registries: Vec<String>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not say what a configuration may say.
    #[error("cannot understand {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads the file; none is an empty configuration.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(ConfigError::Read { path: path.into(), source }),
        };
        toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.into(), source: Box::new(source) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_errors_and_absence_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        assert_eq!(Config::read(&path).unwrap(), Config::default());
        fs::write(&path, "supervisor = \"qemu\"\n").unwrap();
        assert_eq!(Config::read(&path).unwrap().supervisor.as_deref(), Some("qemu"));
        fs::write(&path, "colour = \"blue\"\n").unwrap();
        assert!(matches!(Config::read(&path), Err(ConfigError::Parse { .. })));
    }
}
