//! What an image says about how it wants to be run.

use serde_json::{Value, json};

/// What an image says about how it wants to be run. Empty means that it says nothing.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub cmd: Vec<String>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    /// As whom.
    pub user: String,
    /// Where.
    pub workdir: String,
}

impl Config {
    /// The document that is stored, for layers with these uncompressed digests.
    pub(crate) fn document(&self, diff_ids: &[&str]) -> Value {
        let Self { entrypoint, cmd, env, user, workdir } = self;
        let mut config = json!({});
        let members = [("Entrypoint", entrypoint), ("Cmd", cmd), ("Env", env)];
        for (key, list) in members.into_iter().filter(|(_, list)| !list.is_empty()) {
            config[key] = json!(list);
        }
        for (key, text) in [("User", user), ("WorkingDir", workdir)] {
            if !text.is_empty() {
                config[key] = json!(text);
            }
        }
        json!({
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
    }
}
