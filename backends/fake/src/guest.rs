//! What a fake guest does: from the kernel's arguments to a shell script.

use std::path::Path;

use microagent_backend::{Error, ErrorKind, Exit, Result};
use microagent_machine::{Access, Disk, MachineSpec};

/// Longest that a guest can be told to wait, in milliseconds.
const MAX_WAIT_MS: u32 = 600_000;
/// Most dots that a guest can be told to write: a console is kept whole up to 256 KiB.
const MAX_TICKS: u32 = 100_000;
/// Length of one step of the guest's clock, as in `guest.sh`.
const TICK_MS: u32 = 20;

/// Exit statuses by which a guest's script says how it ended.
const POWER_OFF: u8 = 0;
const RESET: u8 = 10;
const PANIC: u8 = 11;
/// What a shell reports for a process that `SIGKILL` ended.
const BY_SIGKILL: u8 = 128 + 9;

/// The script of the guest that `spec` asks for; `cmdline` is that of its kernel.
///
/// # Errors
/// `Usage` for a word that begins like one of ours and is none.
pub(crate) fn script(cmdline: &str, spec: &MachineSpec) -> Result<String> {
    let mut script = include_str!("guest.sh").to_owned();
    for word in cmdline.split_ascii_whitespace().filter(|word| word.starts_with("fake.")) {
        let line = line(word, spec).ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("fake guest cannot do '{word}'"))
        })?;
        script.push_str(&line);
        script.push('\n');
    }
    script.push_str("forever\n");
    Ok(script)
}

/// What a guard recorded of its guest's end; `asked` if somebody asked for it.
pub(crate) fn exit(status: u8, asked: bool) -> Exit {
    match status {
        POWER_OFF => Exit::PowerOff,
        RESET => Exit::Reset,
        PANIC => Exit::Panic,
        BY_SIGKILL if asked => Exit::Killed,
        signal if signal > 128 => Exit::Crashed { detail: format!("signal {}", signal - 128) },
        code => Exit::Crashed { detail: format!("exit code {code}") },
    }
}

/// One word as a line of shell.
fn line(word: &str, spec: &MachineSpec) -> Option<String> {
    let (name, value) = word.strip_prefix("fake.")?.split_once('=')?;
    match name {
        "say" => Some(format!("printf '%s\\n' {}", quoted(value))),
        "run" => Some(format!("exec {} \"$1\"", quoted(value))),
        "write" => {
            let (id, text) = value.split_once(':')?;
            Some(write(disk(id, spec)?, text))
        }
        "read" => Some(format!("head -n 1 {}", quoted_path(&disk(value, spec)?.path))),
        "after_ms" => Some(format!("ticks {}", number(value, MAX_WAIT_MS)?.div_ceil(TICK_MS))),
        "ticks" => Some(format!("ticks {} .", number(value, MAX_TICKS)?)),
        "exit" => end(value),
        _ => None,
    }
}

fn end(how: &str) -> Option<String> {
    match how {
        "poweroff" => Some(format!("exit {POWER_OFF}")),
        "reset" => Some(format!("exit {RESET}")),
        "panic" => Some(format!("echo 'Kernel panic - not syncing: asked for'; exit {PANIC}")),
        _ => None,
    }
}

fn write(disk: &Disk, text: &str) -> String {
    match disk.access {
        Access::ReadWrite => format!("printf %s {} 1<>{}", quoted(text), quoted_path(&disk.path)),
        Access::ReadOnly => "echo refused".to_owned(),
    }
}

fn number(text: &str, most: u32) -> Option<u32> {
    text.parse().ok().filter(|n| *n <= most)
}

fn disk<'a>(id: &str, spec: &'a MachineSpec) -> Option<&'a Disk> {
    spec.disks.iter().find(|disk| disk.id.as_str() == id)
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A text as one word of shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use microagent_machine::{Arch, DiskId, MiB};

    use super::*;

    fn spec() -> MachineSpec {
        let disk = |id, access| Disk {
            id: DiskId::new(id).unwrap(),
            path: format!("/d/it's {id}").into(),
            access,
        };
        MachineSpec {
            arch: Arch::X86_64,
            vcpus: 1,
            memory: MiB(64),
            disks: vec![disk("rw", Access::ReadWrite), disk("ro", Access::ReadOnly)],
            vsock: None,
            net: None,
            rng: false,
            boot: None,
        }
    }

    /// What follows the common beginning.
    fn own(cmdline: &str) -> Option<String> {
        let script = script(cmdline, &spec()).ok()?;
        let own = script.strip_prefix(include_str!("guest.sh"))?.strip_suffix("forever\n")?;
        Some(own.to_owned())
    }

    fn check(cmdline: &str, expect: Option<&str>) {
        assert_eq!(own(cmdline).as_deref(), expect, "{cmdline}");
    }

    #[test]
    fn words_become_lines() {
        check("quiet console=ttyS0", Some(""));
        check("quiet fake.say=it's", Some("printf '%s\\n' 'it'\\''s'\n"));
        check("fake.after_ms=21 fake.exit=reset", Some("ticks 2\nexit 10\n"));
        check("fake.write=rw:x", Some("printf %s 'x' 1<>'/d/it'\\''s rw'\n"));
        check("fake.write=ro:x", Some("echo refused\n"));
        check("fake.run=/a/program", Some("exec '/a/program' \"$1\"\n"));
        check("fake.read=ro", Some("head -n 1 '/d/it'\\''s ro'\n"));
    }

    #[test]
    fn words_that_mean_nothing_are_refused() {
        for word in ["say", "jump=1", "exit=no", "after_ms=x", "after_ms=600001", "read=other"] {
            check(&format!("fake.{word}"), None);
        }
    }

    #[test]
    fn statuses_become_exits() {
        assert_eq!(exit(0, true), Exit::PowerOff);
        assert_eq!(exit(137, true), Exit::Killed);
        assert_eq!(exit(137, false), Exit::Crashed { detail: "signal 9".into() });
        assert_eq!(exit(70, true), Exit::Crashed { detail: "exit code 70".into() });
    }
}
