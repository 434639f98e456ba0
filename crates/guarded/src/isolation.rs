//! What confines a process, read from `/proc`.

use std::fs;

use microagent_backend::ProcessIsolation;

/// What is in force for a process, or `None` if it is gone.
pub(crate) fn of_process(role: &str, pid: u32, landlock: Option<bool>) -> Option<ProcessIsolation> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let status = read("status")?;
    let seccomp = threads(pid)
        .filter_map(|tid| read(&format!("task/{tid}/status")))
        .filter_map(|status| field(&status, "Seccomp")?.parse().ok())
        .min();
    Some(ProcessIsolation {
        role: role.into(),
        pid,
        seccomp: seccomp?,
        no_new_privs: field(&status, "NoNewPrivs")? == "1",
        landlock,
        effective_capabilities: u64::from_str_radix(field(&status, "CapEff")?, 16).ok()?,
        max_file_size: soft_limit(&read("limits")?, "Max file size"),
    })
}

fn threads(pid: u32) -> impl Iterator<Item = u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok())
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}

/// The soft limit of this name; `None` is unlimited.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_status() {
        let status = "Name:\tSeccomp: 9\nSeccomp:\t2\nCapEff:\t000001ffffffffff\n";
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert_eq!(field(status, "CapEff"), Some("000001ffffffffff"));
        assert_eq!(field(status, "NoNewPrivs"), None);
    }

    #[test]
    fn limits_by_name() {
        let limits = "Limit          Soft Limit   Hard Limit   Units\n\
                      Max file size             1024                 unlimited  bytes\n\
                      Max data size             unlimited            unlimited  bytes\n";
        assert_eq!(soft_limit(limits, "Max file size"), Some(1024));
        assert_eq!(soft_limit(limits, "Max data size"), None);
    }

    #[test]
    fn this_process_has_some() {
        let isolation = of_process("test", std::process::id(), None).unwrap();
        assert_eq!((isolation.role.as_str(), isolation.pid), ("test", std::process::id()));
        assert_eq!(of_process("none", u32::MAX, None), None);
    }
}
