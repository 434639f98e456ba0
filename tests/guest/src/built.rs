//! The guest's half of vsock, built when it is first wanted.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const TARGET: &str = "x86_64-unknown-linux-musl";
const PACKAGE: &str = "microagent-tests-guest";
const PROGRAM: &str = "vsock";

/// Path of a program that is there already, for where there is no cargo.
const THERE: &str = "MICROAGENT_TEST_GUEST";

/// The static program `vsock` of this package, or why there is none.
///
/// # Errors
/// Why it cannot be built.
pub fn program() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| env::var_os(THERE).map_or_else(build, |path| Ok(path.into()))).clone()
}

fn build() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A directory of its own: whoever runs this test may hold the other.
    let exe = env::current_exe().map_err(|e| e.to_string())?;
    let target_dir = exe.ancestors().nth(3).unwrap_or(here).join("tests-guest");
    let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .current_dir(here)
        .args(["build", "--quiet", "--release", "--target", TARGET, "-p", PACKAGE])
        .args(["--bin", PROGRAM, "--target-dir"])
        .arg(&target_dir)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cargo cannot be run: {e}"))?;
    if output.status.success() {
        return Ok(target_dir.join(TARGET).join("release").join(PROGRAM));
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().last().unwrap_or_default();
    Err(format!("{PACKAGE} cannot be built for {TARGET} ('rustup target add {TARGET}'?): {last}"))
}
