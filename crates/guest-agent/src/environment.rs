//! What programs expect of a machine beside its root disk: terminals, shared memory, control
//! groups, a loopback interface, a host name.
//!
//! Nothing of the image is changed, except that a machine without an `/etc/hosts` gets one,
//! and one with a network an `/etc/resolv.conf`. A container runtime lays its own files over
//! both in any case.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use microagent_guest_protocol::NetworkConfig;
use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::console::say;
use crate::failure::SetupError;
use crate::network;
use crate::root::mount_at;
use crate::sys::ioctl::{InterfaceName, interface_up};

const CGROUPS: &str = "/sys/fs/cgroup";
/// Those that a program which makes control groups of its own expects.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
const HOSTS: &str = "/etc/hosts";
/// What programs may have open: as many as they ask for, and no more than old ones can bear
/// if they do not ask.
const OPEN_FILES: Rlimit = Rlimit { current: Some(1024), maximum: Some(524_288) };

/// What does not need the root disk: all but [`write_names`]. Needs `/dev` and `/sys`.
///
/// What a command cannot do without is an error; what most do without, a kernel may lack,
/// and it is only reported.
pub(crate) fn prepare(hostname: &str, network: Option<&NetworkConfig>) -> Result<(), SetupError> {
    prepare_devices()?;
    rustix::system::sethostname(hostname.as_bytes())
        .map_err(SetupError::system("set the host name"))?;
    setrlimit(Resource::Nofile, OPEN_FILES).map_err(SetupError::system("limit open files"))?;
    report("bring up the loopback interface", bring_up_loopback());
    network.map_or(Ok(()), network::bring_up)?;
    report("mount control groups", mount_control_groups());
    report("mount message queues", mount_message_queues());
    Ok(())
}

/// Gives a machine that has no `/etc/hosts`, or an empty one, one that names itself, and one
/// with a network whom to ask for other names.
pub(crate) fn write_names(hostname: &str, network: Option<&NetworkConfig>) {
    report("write /etc/hosts", try_write_hosts(hostname));
    if let Some(network) = network {
        report("write /etc/resolv.conf", network::write_resolver(network));
    }
}

fn report(what: &str, result: io::Result<()>) {
    if let Err(error) = result {
        say(format_args!("{what}: {error}"));
    }
}

fn prepare_devices() -> Result<(), SetupError> {
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    make_directory("/dev/pts")?;
    let terminals = Some("newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount_at("devpts", "devpts", "/dev/pts", quiet, terminals)?;
    make_directory("/dev/shm")?;
    let flags = quiet | MountFlags::NODEV;
    mount_at("shm", "tmpfs", "/dev/shm", flags, Some("mode=1777"))?;
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        unless_there(symlink(target, link)).map_err(SetupError::path("link", link))?;
    }
    Ok(())
}

fn make_directory(path: &str) -> Result<(), SetupError> {
    unless_there(fs::create_dir(path)).map_err(SetupError::path("make", path))
}

/// Some kernels come with more in `/dev` than others.
fn unless_there(made: io::Result<()>) -> io::Result<()> {
    made.or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    })
}

fn bring_up_loopback() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    interface_up(socket.as_fd(), &InterfaceName::LOOPBACK)
}

fn mount_control_groups() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    rustix::mount::mount("cgroup2", CGROUPS, "cgroup2", flags, None)?;
    let available = fs::read_to_string(format!("{CGROUPS}/cgroup.controllers"))?;
    fs::write(format!("{CGROUPS}/cgroup.subtree_control"), wanted(&available))
}

/// The line that hands those controllers that there are to child groups.
fn wanted(available: &str) -> String {
    let there = |name: &&&str| available.split_whitespace().any(|other| other == **name);
    let wanted: Vec<_> = CONTROLLERS.iter().filter(there).map(|name| format!("+{name}")).collect();
    wanted.join(" ")
}

fn mount_message_queues() -> io::Result<()> {
    unless_there(fs::create_dir("/dev/mqueue"))?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    Ok(rustix::mount::mount("mqueue", "/dev/mqueue", "mqueue", flags, None)?)
}

fn try_write_hosts(hostname: &str) -> io::Result<()> {
    if fs::symlink_metadata(HOSTS).is_ok_and(|hosts| !hosts.is_file() || hosts.len() > 0) {
        return Ok(());
    }
    let text = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t{hostname}\n");
    match fs::write(HOSTS, text) {
        // An image without an `/etc` has no program that looks for it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_controllers_that_are_there_are_handed_on() {
        let check = |available, expect: &str| assert_eq!(wanted(available), expect);
        check("cpuset cpu io memory pids\n", "+cpu +cpuset +io +memory +pids");
        check("cpu hugetlb pids misc\n", "+cpu +pids");
        check("", "");
    }
}
