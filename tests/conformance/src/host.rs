//! What real backends need of this host.
//!
//! `microagent-vmm` is looked for in `MICROAGENT_LIBEXEC` and where this build puts it; the
//! kernel of guests with devices is `MICROAGENT_KERNEL`, their busybox `MICROAGENT_BUSYBOX`
//! or the one of Debian's `busybox-static`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use microagent_backend::PowerOff;
use microagent_conformance::{Guests, LinuxGuests};
use microagent_machine::{DeviceArguments, KernelFormat};

const MONITOR: &str = "microagent-vmm";

/// The program `microagent-vmm`, or why there is none.
pub(crate) fn monitor() -> Result<PathBuf, String> {
    let libexec = env::var_os("MICROAGENT_LIBEXEC").map(PathBuf::from);
    // Tests stand in `deps` of the directory that holds the programs.
    let built = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.to_owned()));
    let places = libexec.into_iter().chain(built).map(|place| place.join(MONITOR));
    places.filter_map(|path| fs::canonicalize(path).ok()).find(|path| path.is_file()).ok_or_else(
        || format!("there is no {MONITOR}: 'cargo build -p {MONITOR}', or set MICROAGENT_LIBEXEC"),
    )
}

/// Guests of the kernel that is built here, or what they lack.
pub(crate) fn linux() -> Result<Arc<dyn Guests>, String> {
    linux_that_powers_off_by(PowerOff::Reset)
}

/// The same for a backend that declares another call for that.
pub(crate) fn linux_that_powers_off_by(how: PowerOff) -> Result<Arc<dyn Guests>, String> {
    let kernel = env::var_os("MICROAGENT_KERNEL").map(PathBuf::from);
    let kernel = kernel.ok_or("MICROAGENT_KERNEL names no kernel")?;
    let kernel = fs::canonicalize(&kernel).map_err(|e| format!("{}: {e}", kernel.display()))?;
    let guests = LinuxGuests::new(kernel, KernelFormat::Vmlinux, busybox()?);
    let guests = guests.with_device_arguments(DeviceArguments::Understood);
    Ok(Arc::new(guests.with_power_off(how).with_vsock(microagent_tests_guest::program)))
}

/// A static busybox, or why there is none.
pub(crate) fn busybox() -> Result<PathBuf, String> {
    let named = env::var_os("MICROAGENT_BUSYBOX").map(PathBuf::from);
    let usual = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    let found = named.into_iter().chain(usual).find(|path| is_static(path));
    found.ok_or_else(|| "there is no static busybox: install busybox-static".to_owned())
}

/// A program that names no interpreter needs nothing else in its initramfs.
fn is_static(path: &Path) -> bool {
    let interpreter = b"/ld-linux";
    fs::read(path).is_ok_and(|program| {
        let beginning = &program[..program.len().min(4096)];
        !beginning.windows(interpreter.len()).any(|window| window == interpreter)
    })
}
