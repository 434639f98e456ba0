//! The configuration of an image: what a run takes from it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Digest, ImageError, Platform, Result};

/// What an image says about the process that it is made for.
///
/// Texts are as the image has them, and hold no NUL character; nothing else about them was
/// checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// The program and its first arguments; empty if the image has none.
    pub entrypoint: Vec<String>,
    /// The default arguments, or the program if there is no entrypoint.
    pub cmd: Vec<String>,
    /// Environment, as `KEY=VALUE`, in the image's order.
    pub env: Vec<String>,
    /// `user`, `uid`, `user:group` or a mix, as `docker run --user` takes it.
    pub user: Option<String>,
    /// The working directory.
    pub workdir: Option<String>,
    /// The signal that asks the process to end, by name or number.
    pub stop_signal: Option<String>,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// Ports that the process listens on, as `PORT/PROTOCOL`.
    pub exposed_ports: Vec<String>,
    /// Paths that the image wants as volumes.
    pub volumes: Vec<String>,
    /// The architecture, in the names that OCI images use (`amd64`).
    pub architecture: String,
    /// The operating system (`linux`).
    pub os: String,
    /// When the image was made, as it says itself (RFC 3339).
    pub created: Option<String>,
}

/// A configuration as it was parsed, with what only this crate needs.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) config: ImageConfig,
    pub(crate) platform: Platform,
    pub(crate) diff_ids: Vec<Digest>,
}

/// The parts of an image's configuration that are read here. Written by hand because the
/// documents of real images hold `null` where the specification has a list or a map.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: Option<Process>,
    rootfs: RootFs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Process {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    exposed_ports: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

impl Parsed {
    /// Reads the configuration `what` from its bytes.
    pub(crate) fn from_json(what: &str, json: &[u8]) -> Result<Self> {
        let document: Document =
            serde_json::from_slice(json).map_err(|error| ImageError::malformed(what, error))?;
        let Document { architecture, os, variant, created, config, rootfs } = document;
        if rootfs.kind != "layers" {
            return Err(ImageError::unsupported(
                format!("{what} with the root file system type '{}'", rootfs.kind),
                "only 'layers' is known",
            ));
        }
        let (os, architecture) = (os.unwrap_or_default(), architecture.unwrap_or_default());
        let platform = Platform::new(&os, &architecture, variant.as_deref());
        let config = ImageConfig { os, architecture, created, ..config.unwrap_or_default().into() };
        if config.texts().any(|text| text.contains('\0')) {
            return Err(ImageError::malformed(what, "a text in it holds a NUL character"));
        }
        Ok(Self { config, platform, diff_ids: rootfs.diff_ids.unwrap_or_default() })
    }
}

impl From<Process> for ImageConfig {
    fn from(process: Process) -> Self {
        let text = |text: Option<String>| text.filter(|text| !text.is_empty());
        let keys = |map: Option<BTreeMap<String, _>>| {
            map.unwrap_or_default().into_keys().collect::<Vec<String>>()
        };
        Self {
            entrypoint: process.entrypoint.unwrap_or_default(),
            cmd: process.cmd.unwrap_or_default(),
            env: process.env.unwrap_or_default(),
            user: text(process.user),
            workdir: text(process.working_dir),
            stop_signal: text(process.stop_signal),
            labels: process.labels.unwrap_or_default(),
            exposed_ports: keys(process.exposed_ports),
            volumes: keys(process.volumes),
            architecture: String::new(),
            os: String::new(),
            created: None,
        }
    }
}

impl ImageConfig {
    /// Every text that may reach a guest's kernel as a C string.
    fn texts(&self) -> impl Iterator<Item = &String> {
        let lists = [&self.entrypoint, &self.cmd, &self.env, &self.volumes];
        let single = [&self.user, &self.workdir, &self.stop_signal];
        lists.into_iter().flatten().chain(single.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    #[test]
    fn a_configuration_with_nulls_and_extras_is_read() {
        let json = format!(
            r#"{{"architecture":"amd64","os":"linux","history":null,"container_config":{{}},
            "config":{{"User":"","Env":["A=b"],"Entrypoint":null,"Cmd":["sh","-c"],"Labels":null,
            "ExposedPorts":{{"80/tcp":{{}}}},"Volumes":null,"WorkingDir":"/w","OnBuild":null,
            "StopSignal":"SIGINT"}},"rootfs":{{"type":"layers","diff_ids":["{DIFF}"]}}}}"#
        );
        let parsed = Parsed::from_json("config", json.as_bytes()).unwrap();
        assert_eq!(parsed.platform.to_string(), "linux/amd64");
        assert_eq!(parsed.diff_ids, [DIFF.parse().unwrap()]);
        let config = parsed.config;
        assert_eq!(config.cmd, ["sh", "-c"]);
        assert_eq!(config.env, ["A=b"]);
        assert_eq!((config.user, config.workdir), (None, Some("/w".to_owned())));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!(config.exposed_ports, ["80/tcp"]);
        assert!(config.entrypoint.is_empty() && config.labels.is_empty());
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for json in [
            "",
            "[]",
            "{}",
            r#"{"rootfs":{"type":"layers","diff_ids":["sha256:1"]}}"#,
            r#"{"rootfs":{"type":"tree","diff_ids":[]}}"#,
            r#"{"config":{"Cmd":["a\u0000b"]},"rootfs":{"type":"layers","diff_ids":[]}}"#,
            r#"{"config":{"Cmd":"a b"},"rootfs":{"type":"layers","diff_ids":[]}}"#,
        ] {
            assert!(Parsed::from_json("config", json.as_bytes()).is_err(), "{json}");
        }
    }
}
