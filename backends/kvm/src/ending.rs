//! What the end of the monitor means for its machine.

use microagent_backend::Exit;
use microagent_guarded::{Remains, in_words};
use microagent_vmm_protocol::{ChildExit, EXIT_POWER_OFF, EXIT_RESET};

/// How a machine ended, by what remains of it.
pub(crate) fn verdict(remains: Remains) -> Exit {
    remains.verdict(by_itself)
}

fn by_itself(code: i32, exit: &ChildExit) -> Exit {
    let [power_off, reset] = [EXIT_POWER_OFF, EXIT_RESET].map(i32::from);
    match code {
        // A kernel that panics resets, and what it printed before that tells the two apart.
        code if code == reset && exit.panic => Exit::Panic,
        code if code == reset => Exit::Reset,
        code if code == power_off => Exit::PowerOff,
        _ => Exit::Crashed { detail: in_words(exit) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: Option<i32>, signal: Option<i32>, panic: bool, expect: &str) {
        let last_words = String::new();
        let (by_guard, by_event) = Default::default();
        let exit = ChildExit { code, signal, by_guard, by_event, panic, last_words };
        let got = match verdict(Remains { exit: Some(exit), ..Remains::default() }) {
            Exit::Crashed { detail } => format!("crashed: {detail}"),
            other => format!("{other:?}"),
        };
        assert_eq!(got, expect, "{code:?} {signal:?}");
    }

    #[test]
    fn exit_codes_have_meanings() {
        check(Some(0), None, false, "PowerOff");
        check(Some(0), None, true, "PowerOff");
        check(Some(3), None, false, "Reset");
        check(Some(3), None, true, "Panic");
        check(Some(1), None, true, "crashed: exit code 1");
        check(Some(101), None, false, "crashed: exit code 101");
        check(None, Some(31), false, "crashed: signal 31");
    }

    #[test]
    fn what_was_asked_for_is_no_crash() {
        let gone = Remains { killed: true, ..Remains::default() };
        assert_eq!(verdict(gone), Exit::Killed);
    }
}
