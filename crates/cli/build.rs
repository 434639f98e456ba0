//! Builds the guest agent, a static program for another target, so that it can be embedded.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-musl";
const PACKAGE: &str = "microagent-guest-agent";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_EMBEDDED_AGENT").is_none() {
        return;
    }
    let root = Path::new(&required("CARGO_MANIFEST_DIR")).join("../..");
    for path in ["crates/guest-agent", "crates/guest-protocol", "Cargo.lock", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    let target_dir = agent_target_dir(Path::new(&required("OUT_DIR")));
    let status = Command::new(required("CARGO"))
        .current_dir(&root)
        .args(["build", "--profile", "agent", "--target", TARGET, "-p", PACKAGE])
        .arg("--target-dir")
        .arg(&target_dir)
        // The flags of the build that is under way are for another target. A program that
        // stays where it was linked needs no relocations, which cost more than all else when
        // it starts under emulation.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Crelocation-model=static")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status();
    if !status.is_ok_and(|status| status.success()) {
        println!(
            "cargo::error=the guest agent could not be built for {TARGET}: \
             `rustup target add {TARGET}`, or build with --no-default-features to go without it"
        );
        std::process::exit(1);
    }
    let agent = target_dir.join(TARGET).join("agent").join(PACKAGE);
    println!("cargo::rustc-env=MICROAGENT_AGENT_BINARY={}", agent.display());
}

/// One directory for all profiles of the program: the agent has a profile of its own.
fn agent_target_dir(out_dir: &Path) -> PathBuf {
    // <target>/<profile>/build/<package>/out
    out_dir.ancestors().nth(4).unwrap_or(out_dir).join("agent")
}

fn required(name: &str) -> String {
    env::var(name).unwrap_or_else(|e| {
        println!("cargo::error=cargo did not set {name}: {e}");
        std::process::exit(1)
    })
}
