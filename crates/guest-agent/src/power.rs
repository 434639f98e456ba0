//! The end of the machine.

use microagent_guest_protocol::{Mount, PowerOff, RootDisk};
use rustix::mount::{MountFlags, mount_remount};
use rustix::system::{RebootCommand, reboot};

use crate::console::say;

/// Writes back what outlives the machine and leaves its file systems clean.
pub(crate) fn write_back(root: &RootDisk, mounts: &[Mount]) {
    let lasting = match root {
        RootDisk::Plain { .. } => Some("/"),
        // Thrown away with the machine: writing it back would only cost time.
        RootDisk::Layered { .. } => None,
    };
    let disks = mounts.iter().filter(|mount| !mount.read_only).map(|mount| &mount.target[..]);
    // In reverse order: a disk may be mounted within another.
    for target in lasting.into_iter().chain(disks).rev() {
        if let Err(error) = mount_remount(target, MountFlags::RDONLY, "") {
            // A file held open for writing keeps it writable; its content is safe after this.
            say(format_args!("make {target} read-only: {error}; writing it back instead"));
            rustix::fs::sync();
        }
    }
}

/// Ends the machine by the call on which its monitor exits.
///
/// The exit port of the native monitor is not written to yet: a restart ends that monitor
/// too, as it ends every machine here.
pub(crate) fn end(how: PowerOff) -> ! {
    let command = match how {
        PowerOff::Reset | PowerOff::ExitPort => RebootCommand::Restart,
        PowerOff::Acpi => RebootCommand::PowerOff,
    };
    if let Err(error) = reboot(command) {
        say(format_args!("end the machine: {error}"));
    }
    // The end of process 1 is a kernel panic, which ends the machine as well.
    std::process::exit(1)
}
