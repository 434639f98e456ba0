//! A plugin that panics: what tests of plugins cannot write in C.

#![allow(clippy::panic, reason = "that it panics is what it is for")]

use microagent_plugin::export_plugin;

export_plugin!(panic!("no backend today"));
