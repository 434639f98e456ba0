//! The fake backend as a plugin: all that a plugin needs beside its backend is one line.

use microagent_fake::FakeBackend;
use microagent_plugin::export_plugin;

export_plugin!(Ok(Box::new(FakeBackend::new())));
