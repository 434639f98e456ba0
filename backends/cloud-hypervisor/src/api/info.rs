//! What Cloud Hypervisor says its machine is.

use microagent_backend::State;
use serde::Deserialize;
use serde_json::Value;

/// What its machine is, and where it is in its life. What else it tells differs by version and
/// is not read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Info {
    /// Where it is in its life.
    state: VmState,
    /// What it is.
    pub(crate) config: Value,
}

/// The states that a machine can be in which is only ever told what it is told here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum VmState {
    Created,
    Running,
    Paused,
    Shutdown,
}

impl Info {
    /// Where it is in its life.
    pub(crate) fn state(&self) -> State {
        match self.state {
            VmState::Created => State::Created,
            VmState::Running => State::Running,
            VmState::Paused => State::Paused,
            VmState::Shutdown => State::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_those_of_the_contract() {
        let check = |name: &str, expect: Option<State>| {
            let text = format!(r#"{{"config":{{}},"state":"{name}","memory_actual_size":1}}"#);
            let got = serde_json::from_str::<Info>(&text).ok().map(|info| info.state());
            assert_eq!(got, expect, "{name}");
        };
        check("Created", Some(State::Created));
        check("Running", Some(State::Running));
        check("Paused", Some(State::Paused));
        check("Shutdown", Some(State::Stopped));
        check("BreakPoint", None);
        check("", None);
    }
}
