//! Guests of a Linux kernel and a static busybox, for cases about devices.
//!
//! They are an initramfs whose `/init` is a shell script made from a [`Script`].

use std::fs;
use std::path::{Path, PathBuf};

use microagent_backend::PowerOff;
use microagent_machine::{Boot, DeviceArguments, KernelFormat};

use crate::{End, Failure, Guests, Script, Step};

/// What the guest says before its first step.
const PROLOGUE: &str = "#!/bin/sh
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /modules/*; do
    [ ! -e $module ] || busybox insmod $module || echo not-loaded $module
done
# usage: find_disk SERIAL; says its device
find_disk() {
    for disk in /sys/block/*; do
        [ \"$(cat $disk/serial 2>/dev/null)\" = \"$1\" ] && echo /dev/${disk##*/}
    done
}
";

/// Guests of a Linux kernel and a static busybox.
#[derive(Debug, Clone)]
pub struct LinuxGuests {
    kernel: PathBuf,
    format: KernelFormat,
    device_arguments: DeviceArguments,
    power_off: PowerOff,
    busybox: PathBuf,
    modules: Vec<PathBuf>,
    vsock: fn() -> Result<PathBuf, String>,
}

impl LinuxGuests {
    /// Guests of this kernel and this busybox, which is linked statically and has `sh`,
    /// `mount`, `dd`, `head` and `reboot`.
    pub fn new(kernel: PathBuf, format: KernelFormat, busybox: PathBuf) -> Self {
        let vsock = || Err("these guests have no program that uses vsock".to_owned());
        let (device_arguments, power_off) = (DeviceArguments::Unknown, PowerOff::Reset);
        Self { kernel, format, device_arguments, power_off, busybox, modules: Vec::new(), vsock }
    }

    /// The same for a kernel of which this is known.
    #[must_use]
    pub fn with_device_arguments(self, device_arguments: DeviceArguments) -> Self {
        Self { device_arguments, ..self }
    }

    /// The same for a backend that declares this call; where it is none of the kernel's own,
    /// a reset does.
    #[must_use]
    pub fn with_power_off(self, power_off: PowerOff) -> Self {
        Self { power_off, ..self }
    }

    /// The same for a kernel whose drivers are in these files, which are loaded in this order.
    #[must_use]
    pub fn with_modules(self, modules: Vec<PathBuf>) -> Self {
        Self { modules, ..self }
    }

    /// The same with the program that does [`Step::Call`] and [`Step::Serve`], or the
    /// reason why there is none; asked when it is needed.
    #[must_use]
    pub fn with_vsock(self, vsock: fn() -> Result<PathBuf, String>) -> Self {
        Self { vsock, ..self }
    }
}

impl Guests for LinuxGuests {
    fn boot(&self, dir: &Path, script: &Script) -> Result<Boot, Failure> {
        let busybox = fs::read(&self.busybox)?;
        let mut cpio = Cpio::default();
        for folder in ["bin", "dev", "proc", "sys", "mnt", "modules"] {
            cpio.add(folder, 0o040_755, b"");
        }
        cpio.add("bin/busybox", 0o100_755, &busybox);
        for applet in
            ["sh", "mount", "cat", "dd", "head", "reboot", "poweroff", "sleep", "printf", "grep"]
        {
            cpio.add(&format!("bin/{applet}"), 0o120_777, b"busybox");
        }
        for (n, module) in self.modules.iter().enumerate() {
            cpio.add(&format!("modules/{n:03}.ko"), 0o100_644, &fs::read(module)?);
        }
        if script.steps.iter().any(|s| matches!(s, Step::Call { .. } | Step::Serve { .. })) {
            let program = (self.vsock)().map_err(Failure::Unavailable)?;
            cpio.add("bin/vsock", 0o100_755, &fs::read(program)?);
        }
        cpio.add("init", 0o100_755, init(script, self.power_off).as_bytes());
        let initramfs = dir.join("linux.cpio");
        fs::write(&initramfs, cpio.end())?;
        // A guest that panics ends the machine at once.
        let cmdline = "panic=-1 quiet".to_owned();
        let (kernel, format) = (self.kernel.clone(), self.format);
        Ok(Boot { kernel, format, initramfs, cmdline, device_arguments: self.device_arguments })
    }
}

fn init(script: &Script, power_off: PowerOff) -> String {
    let mut init = PROLOGUE.to_owned();
    for step in &script.steps {
        init.push_str(&line(step));
        init.push('\n');
    }
    init.push_str(match script.end {
        End::Never => "while :; do sleep 1000; done\n",
        End::PowerOff if power_off == PowerOff::Acpi => "poweroff -f\n",
        End::PowerOff | End::Reset => "reboot -f\n",
        // The kernel cannot go on without its first process.
        End::Panic => "exit 1\n",
    });
    init
}

fn line(step: &Step) -> String {
    match step {
        Step::Say(word) => format!("echo {word}"),
        Step::Ticks(count) => {
            format!("i=0; while [ $i -lt {count} ]; do printf .; sleep 0.02; i=$((i+1)); done")
        }
        Step::Write { disk, text } => format!(
            "printf %s {text} | dd of=$(find_disk {disk}) conv=notrunc,fsync 2>/dev/null \
             || echo refused"
        ),
        Step::Read { disk } => format!("head -c 512 $(find_disk {disk}) | head -n 1"),
        Step::CountCpus => "echo cpus=$(grep -c ^processor /proc/cpuinfo)".to_owned(),
        Step::TryRng => "grep -q virtio /sys/class/misc/hw_random/rng_current \
             && [ $(head -c 16 /dev/hwrng | busybox wc -c) = 16 ] && echo rng=yes"
            .to_owned(),
        Step::Call { port, text } => format!("vsock call {port} {text}"),
        Step::Serve { port } => format!("vsock serve {port}"),
        Step::Shell(line) => line.clone(),
    }
}

/// A cpio archive in the `newc` form, which is that of an initramfs.
#[derive(Debug, Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let len = content.len() as u32;
        let name_len = name.len() as u32 + 1;
        // Inode, mode, owner, group, links, time, length, device (2), node (2), name, sum.
        let fields = [self.entries, mode, 0, 0, 1, 0, len, 0, 0, 0, 0, name_len, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, b"");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_aligned_and_end() {
        let mut cpio = Cpio::default();
        cpio.add("a", 0o100_644, b"x");
        let bytes = cpio.end();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..14], b"07070100000001");
        assert!(bytes.windows(10).any(|w| w == b"TRAILER!!!"));
    }

    #[test]
    fn a_script_becomes_an_init() {
        let script = Script::new([Step::say("hello"), Step::CountCpus], End::Panic);
        let init = init(&script, PowerOff::Acpi);
        assert!(init.starts_with("#!/bin/sh\n"));
        assert!(
            init.ends_with("echo hello\necho cpus=$(grep -c ^processor /proc/cpuinfo)\nexit 1\n")
        );
    }
}
