//! What the end of Cloud Hypervisor means for its machine.
//!
//! It ends with 0 when its guest has powered off, and likewise on a polite signal, of which
//! it says nothing; nobody here sends one.

use microagent_backend::Exit;
use microagent_guarded::{Remains, in_words};
use microagent_vmm_protocol::ChildExit;

/// What its events say when it is about to boot a guest again.
pub(crate) const AGAIN: &str = "\"rebooting\"";

/// How a machine ended, by what remains of it.
pub(crate) fn verdict(remains: Remains) -> Exit {
    remains.verdict(by_itself)
}

fn by_itself(code: i32, exit: &ChildExit) -> Exit {
    match code {
        0 => Exit::PowerOff,
        _ => Exit::Crashed { detail: in_words(exit) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut ChildExit), expect: &str) {
        let (by_guard, by_event, panic, last_words) = Default::default();
        let mut exit =
            ChildExit { code: None, signal: None, by_guard, by_event, panic, last_words };
        change(&mut exit);
        let got = match verdict(Remains { exit: Some(exit.clone()), ..Remains::default() }) {
            Exit::Crashed { detail } => format!("crashed: {detail}"),
            other => format!("{other:?}"),
        };
        assert_eq!(got, expect, "{exit:?}");
    }

    #[test]
    fn ends_have_meanings() {
        check(|e| e.code = Some(0), "PowerOff");
        check(|e| e.code = Some(1), "crashed: exit code 1");
        check(|e| e.signal = Some(31), "crashed: signal 31");
        // Killed at the word, and failed to boot again before that.
        check(|e| (e.signal, e.by_event) = (Some(9), true), "Reset");
        check(|e| (e.code, e.by_event) = (Some(1), true), "Reset");
        check(|e| (e.signal, e.by_event, e.panic) = (Some(9), true, true), "Panic");
    }
}
