//! What the end of QEMU means for its machine.

use microagent_backend::Exit;
use microagent_guarded::{Remains, in_words};
use microagent_vmm_protocol::ChildExit;

use crate::qmp::Shutdown;

/// How a machine ended, by what remains of it and by what QEMU said over QMP, if anybody
/// listened.
pub(crate) fn verdict(remains: Remains, shutdown: Option<Shutdown>) -> Exit {
    remains.verdict(|code, exit| by_itself(code, exit, shutdown))
}

fn by_itself(code: i32, exit: &ChildExit, shutdown: Option<Shutdown>) -> Exit {
    let crashed = || Exit::Crashed { detail: in_words(exit) };
    if code != 0 {
        return crashed();
    }
    match shutdown {
        Some(Shutdown::Quit) => Exit::Killed,
        Some(Shutdown::Other(_)) => crashed(),
        // QEMU ends with 0 on a polite signal as well, and then says so.
        None if exit.last_words.contains("terminating on signal") => crashed(),
        _ if exit.panic => Exit::Panic,
        Some(Shutdown::GuestPowerOff) => Exit::PowerOff,
        // Without ACPI a guest has no other way to end.
        Some(Shutdown::GuestReset) | None => Exit::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left, and what QEMU said.
    #[derive(Debug, Clone, Default)]
    struct Left {
        remains: Remains,
        shutdown: Option<Shutdown>,
    }

    fn exit(code: Option<i32>, signal: Option<i32>) -> Left {
        let last_words = String::new();
        let (by_guard, by_event, panic) = Default::default();
        let exit = ChildExit { code, signal, by_guard, by_event, panic, last_words };
        let remains = Remains { exit: Some(exit), ..Remains::default() };
        Left { remains, shutdown: None }
    }

    fn check(from: Left, change: impl FnOnce(&mut Left, &mut ChildExit), expect: &str) {
        let mut left = from;
        let mut child = left.remains.exit.clone();
        let mut unused = exit(None, None).remains.exit.unwrap();
        change(&mut left, child.as_mut().unwrap_or(&mut unused));
        left.remains.exit = child;
        let shown = format!("{left:?}");
        let got = match verdict(left.remains, left.shutdown) {
            Exit::Crashed { detail } => format!("crashed: {detail}"),
            other => format!("{other:?}"),
        };
        assert_eq!(got, expect, "{shown}");
    }

    #[test]
    fn a_guest_that_ends() {
        let ended = || exit(Some(0), None);
        check(ended(), |_, _| (), "Reset");
        check(ended(), |l, _| l.shutdown = Some(Shutdown::GuestReset), "Reset");
        check(ended(), |l, _| l.shutdown = Some(Shutdown::GuestPowerOff), "PowerOff");
        check(ended(), |_, e| e.panic = true, "Panic");
        check(ended(), |l, _| l.remains.killed = true, "Reset");
    }

    #[test]
    fn a_machine_that_is_ended() {
        let killed = || exit(None, Some(9));
        check(killed(), |l, _| l.remains.killed = true, "Killed");
        check(killed(), |_, e| e.by_guard = true, "Killed");
        check(exit(Some(0), None), |l, _| l.shutdown = Some(Shutdown::Quit), "Killed");
        check(Left::default(), |l, _| l.remains.removed = true, "Killed");
        check(Left::default(), |l, _| l.remains.killed = true, "Killed");
    }

    #[test]
    fn a_monitor_that_dies() {
        check(exit(None, Some(9)), |_, _| (), "crashed: signal 9");
        check(
            exit(Some(1), None),
            |_, e| e.last_words = "a\nb".into(),
            "crashed: a; b (exit code 1)",
        );
        check(exit(None, Some(11)), |_, e| e.panic = true, "crashed: signal 11");
        check(Left::default(), |_, _| (), "crashed: its guard was killed");
        let words = "qemu: terminating on signal 15 from pid 1 (kill)";
        check(
            exit(Some(0), None),
            |_, e| e.last_words = words.into(),
            "crashed: qemu: terminating on signal 15 from pid 1 (kill) (exit code 0)",
        );
        let told = Some(Shutdown::Other("host-signal".into()));
        check(exit(Some(0), None), |l, _| l.shutdown = told, "crashed: exit code 0");
        let why = Some("its vsock process died".to_owned());
        check(
            exit(None, Some(9)),
            |l, _| l.remains.failed = why,
            "crashed: its vsock process died",
        );
    }
}
