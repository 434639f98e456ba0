//! Who loads plugins.

use std::ffi::OsString;
use std::path::PathBuf;

/// A program that loads the plugin that its last argument names, for one request: this one,
/// with a hidden command. So a plugin that crashes ends a request and not the program.
#[derive(Debug, Clone)]
pub struct PluginHost {
    /// The program.
    pub program: PathBuf,
    /// Its arguments before the plugin's path.
    pub arguments: Vec<OsString>,
}
