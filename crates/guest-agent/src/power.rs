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

/// Some of what outlives the machine could not be written back, as was said on the console.
#[derive(Debug)]
pub(crate) struct NotWritten;

/// Writes back what outlives the machine and leaves its file systems clean.
///
/// # Errors
/// A disk did not take all that was written to it, now or at any time before.
pub(crate) fn write_back(root: &RootDisk, mounts: &[Mount]) -> Result<(), NotWritten> {
    let lasting = match root {
        RootDisk::Plain { .. } => Some("/"),
        // Thrown away with the machine: writing it back would only cost time.
        RootDisk::Layered { .. } => None,
    };
    let disks = mounts.iter().filter(|mount| !mount.read_only).map(|mount| &mount.target[..]);
    let mut written = Ok(());
    // In reverse order: a disk may be mounted within another.
    for target in lasting.into_iter().chain(disks).rev() {
        if let Err(error) = write_back_one(target) {
            say(format_args!("cannot write back {target}: {error}"));
            written = Err(NotWritten);
        }
    }
    written
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

/// Ends the machine so that nobody takes it for an orderly end: by a kernel panic, which is what
/// the end of process 1 is.
pub(crate) fn fail() -> ! {
    // The kernel's own last words go around what waits for the console, and nothing follows them.
    let _ = rustix::termios::tcdrain(rustix::stdio::stderr());
    std::process::exit(1)
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
    fail()
}
