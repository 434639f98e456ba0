//! Where a machine is in its life, in QEMU's words and in ours.

use microagent_backend::State;

/// What `query-status` answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    /// One of the states of the contract.
    Is(State),
    /// QEMU is still there, but the machine will not run again, for this reason.
    Failed(String),
}

impl Status {
    /// The meaning of a name of QEMU's `RunState`.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "prelaunch" | "inmigrate" | "preconfig" => Status::Is(State::Created),
            "running" => Status::Is(State::Running),
            "internal-error" | "guest-panicked" | "io-error" => Status::Failed(name.into()),
            "shutdown" => Status::Is(State::Stopped),
            // Held for whatever reason, and `cont` helps.
            _ => Status::Is(State::Paused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_states() {
        let check = |name, expect| assert_eq!(Status::of(name), expect);
        check("prelaunch", Status::Is(State::Created));
        check("running", Status::Is(State::Running));
        check("paused", Status::Is(State::Paused));
        check("a-later-invention", Status::Is(State::Paused));
        check("shutdown", Status::Is(State::Stopped));
        check("internal-error", Status::Failed("internal-error".into()));
    }
}
