//! What is in force for a process, as `/proc` shows it.

use microagent_backend::ProcessIsolation;

use crate::process::Process;

/// What is in force for a process; `None` if it is gone.
pub(crate) fn isolation(role: &str, process: Process) -> Option<ProcessIsolation> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", process.pid)).ok();
    let (status, limits) = (read("status")?, read("limits")?);
    if !process.lives() {
        return None;
    }
    Some(ProcessIsolation {
        role: role.to_owned(),
        pid: process.pid,
        seccomp: field(&status, "Seccomp:")?.parse().ok()?,
        no_new_privs: field(&status, "NoNewPrivs:")? == "1",
        landlock: None,
        effective_capabilities: u64::from_str_radix(field(&status, "CapEff:")?, 16).ok()?,
        max_file_size: field(&limits, "Max file size")?.parse().ok(),
    })
}

/// The first word after a label at the beginning of a line.
fn field<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(label))?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_status_can_be_read() {
        let own = Process::now(std::process::id()).unwrap();
        assert_eq!(isolation("test", own).unwrap().pid, own.pid);
    }

    #[test]
    fn fields_are_words_after_their_label() {
        assert_eq!(field("A:\t1\nSeccomp:\t2\n", "Seccomp:"), Some("2"));
        assert_eq!(field("Max file size   unlimited  x\n", "Max file size"), Some("unlimited"));
        assert_eq!(field("", "x"), None);
    }
}
