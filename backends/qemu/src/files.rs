//! The names of files in a run directory.

/// Where QEMU listens for whoever takes the machine up later.
pub(crate) const QMP: &str = "qmp.sock";
/// Where QEMU connects to whoever made the machine; gone once it has.
pub(crate) const OWNER: &str = "owner.sock";
/// Where QEMU's vsock device meets the process that serves it.
pub(crate) const VHOST: &str = "vhost.sock";
/// The hybrid vsock socket.
pub(crate) const VSOCK: &str = "vsock";
/// The beginning of the console log.
pub(crate) const CONSOLE: &str = "console.log";
/// What the guard has to say beside its reports.
pub(crate) const GUARD_LOG: &str = "guard.log";
/// What the vsock process has to say.
pub(crate) const VSOCK_LOG: &str = "vsock.log";
/// What the machine is made of.
pub(crate) const RECORD: &str = "machine.json";
/// Exists once somebody asked for the machine's end.
pub(crate) const KILLED: &str = "killed";
/// Why this driver ended a machine that nobody asked to end.
pub(crate) const FAILED: &str = "failed";

/// All that this driver and its processes put into a run directory.
pub(crate) const ALL: &[&str] = &[
    QMP,
    OWNER,
    VHOST,
    VSOCK,
    CONSOLE,
    "console.log.1",
    "console.log.2",
    GUARD_LOG,
    VSOCK_LOG,
    RECORD,
    "machine.json.new",
    KILLED,
    FAILED,
    microagent_vmm_protocol::EXIT_FILE,
    "exit.json.new",
];
