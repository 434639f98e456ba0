//! Which boot of the host this is.

use std::fs;
use std::io;

/// Where the kernel says it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Which boot of the host this is: what is known by a process's number holds within one.
///
/// # Errors
/// Where `/proc` does not say.
pub fn boot_id() -> io::Result<String> {
    let text = fs::read_to_string(BOOT_ID)
        .map_err(|e| io::Error::new(e.kind(), format!("read {BOOT_ID}: {e}")))?;
    Ok(text.trim().to_owned())
}
