//! The end of the machine.

use microagent_guest_protocol::{Mount, PowerOff, RootDisk};
use rustix::mount::{MountFlags, mount_remount};
use rustix::system::{RebootCommand, reboot};

use crate::console::say;
use crate::sys::port;

/// Where the native monitor takes any write for the end of the machine.
const EXIT_PORT: u16 = 0x604;

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
pub(crate) fn end(how: PowerOff) -> ! {
    let command = match how {
        PowerOff::Reset => RebootCommand::Restart,
        PowerOff::Acpi => RebootCommand::PowerOff,
        PowerOff::ExitPort => {
            // Nothing comes back from it, unless the kernel was built without `ioperm` and lets
            // nobody write to a port. A restart ends that monitor as well.
            let _ = port::write_byte(EXIT_PORT, 0);
            RebootCommand::Restart
        }
    };
    if let Err(error) = reboot(command) {
        say(format_args!("end the machine: {error}"));
    }
    // The end of process 1 is a kernel panic, which ends the machine as well.
    std::process::exit(1)
}
