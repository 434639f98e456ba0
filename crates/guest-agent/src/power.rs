//! The end of the machine.

use std::os::fd::OwnedFd;

use microagent_guest_protocol::{Mount, PowerOff, RootDisk};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_remount};
use rustix::system::{RebootCommand, reboot};

use crate::console::say;
use crate::sys::port;

/// Where the native monitor takes any write for the end of the machine.
const EXIT_PORT: u16 = 0x604;

/// Writes back what outlives the machine and leaves its file systems clean. Gives what did not
/// take all that was written to it, now or at any time before, and why, a line each.
pub(crate) fn write_back(root: &RootDisk, mounts: &[Mount]) -> Vec<String> {
    let lasting = match root {
        RootDisk::Plain { .. } => Some("/"),
        // Thrown away with the machine: writing it back would only cost time.
        RootDisk::Layered { .. } => None,
    };
    let disks = mounts.iter().filter(|mount| !mount.read_only).map(|mount| &mount.target[..]);
    let mut failures = Vec::new();
    // In reverse order: a disk may be mounted within another.
    for target in lasting.into_iter().chain(disks).rev() {
        if let Err(error) = write_back_one(target) {
            let failure = format!("cannot write back {target}: {error}");
            say(&failure);
            failures.push(failure);
        }
    }
    failures
}

fn write_back_one(target: &str) -> Result<(), Errno> {
    let root = rustix::fs::open(target, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    // Before it becomes read-only, since the kernel tells of a broken journal only until then.
    sync(&root)?;
    if let Err(error) = mount_remount(target, MountFlags::RDONLY, "") {
        // A file held open for writing keeps it writable; its content is safe after this.
        say(format_args!("cannot make {target} read-only: {error}; writing it back instead"));
    }
    // Its own last writes have no other way to say that they failed.
    sync(&root)
}

/// Fails for every write to its file system that failed and that nobody was told of by this
/// call before; whether the program that wrote was told does not matter.
fn sync(root: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::syncfs(root)
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
    // The end of process 1 is a kernel panic, on which a monitor ends as well.
    std::process::exit(1)
}
