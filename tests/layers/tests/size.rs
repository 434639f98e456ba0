//! How large the programs are that are shipped: those beside `MICROAGENT_BIN`, or of the release
//! build beside this one.

use std::env;
use std::fs;
use std::path::PathBuf;

/// Most bytes of the monitor: there is less of it to read, to trust and to load.
const MONITOR: u64 = 3 << 20;

/// The directory of release builds, which strips them.
fn released() -> Option<PathBuf> {
    let named = env::var_os("MICROAGENT_BIN").filter(|path| !path.is_empty()).map(PathBuf::from);
    let built = || Some(env::current_exe().ok()?.ancestors().nth(3)?.join("release/microagent"));
    named.or_else(built)?.parent().map(PathBuf::from)
}

fn check(program: &str, most: u64) {
    let path = released().unwrap_or_default().join(program);
    let Ok(meta) = fs::metadata(&path) else {
        let required = env::var("MICROAGENT_REQUIRE").unwrap_or_default();
        let required = required.split(',').any(|word| [program, "all"].contains(&word.trim()));
        assert!(!required, "{program} is required: {} does not exist", path.display());
        return eprintln!("SKIP: {program}: {} does not exist", path.display());
    };
    let len = meta.len();
    assert!(len < most, "{} has {len} bytes, expected less than {most}", path.display());
}

#[test]
fn the_monitor_is_small() {
    check("microagent-vmm", MONITOR);
}
