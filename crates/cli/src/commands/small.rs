//! `profiles` and `version`.

use microagent_workspace::PROFILES;
use serde_json::json;

use crate::args::Global;
use crate::output::{print, print_json, table};

pub(crate) fn profiles(global: &Global) -> u8 {
    if global.json {
        print_json(&json!({ "profiles": PROFILES }));
    } else {
        let row = |p: &microagent_workspace::Profile| {
            let cells = [p.name.to_owned(), p.memory_mib.0.to_string(), p.cpus.to_string()];
            cells.into_iter().chain([p.size_mib.0.to_string()]).collect()
        };
        let rows = PROFILES.iter().map(row).collect();
        print(&table(&["NAME", "MEMORY/MiB", "CPUS", "DISK/MiB"], rows));
    }
    0
}

pub(crate) fn version(global: &Global) -> u8 {
    let version = env!("CARGO_PKG_VERSION");
    if global.json {
        print_json(&json!({ "microagent": version, "arch": std::env::consts::ARCH }));
    } else {
        print(&format!("microagent {version}"));
    }
    0
}
