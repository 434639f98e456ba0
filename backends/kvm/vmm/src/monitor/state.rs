//! Which request is right in which state.

use microagent_vmm_protocol::{ControlError, ControlErrorKind, MonitorState};

/// What changes a machine's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Start,
    Pause,
    Resume,
}

/// The state after a change, or why it cannot be made.
pub(crate) fn after(state: MonitorState, change: Change) -> Result<MonitorState, ControlError> {
    match (state, change) {
        (MonitorState::Created, Change::Start) | (MonitorState::Paused, Change::Resume) => {
            Ok(MonitorState::Running)
        }
        (MonitorState::Running, Change::Pause) => Ok(MonitorState::Paused),
        _ => Err(ControlError {
            kind: ControlErrorKind::InvalidState,
            message: format!("cannot {} a machine that is {}", verb(change), name(state)),
        }),
    }
}

fn verb(change: Change) -> &'static str {
    match change {
        Change::Start => "start",
        Change::Pause => "pause",
        Change::Resume => "resume",
    }
}

fn name(state: MonitorState) -> &'static str {
    match state {
        MonitorState::Created => "created",
        MonitorState::Running => "running",
        MonitorState::Paused => "paused",
    }
}

#[cfg(test)]
mod tests {
    use MonitorState::{Created, Paused, Running};

    use super::*;

    #[test]
    fn every_pair_has_an_answer() {
        let check = |state, change, expect: Result<MonitorState, &str>| {
            let got = after(state, change).map_err(|e| (e.kind, e.message));
            let expect = expect.map_err(|m| (ControlErrorKind::InvalidState, m.to_owned()));
            assert_eq!(got, expect);
        };
        check(Created, Change::Start, Ok(Running));
        check(Running, Change::Pause, Ok(Paused));
        check(Paused, Change::Resume, Ok(Running));
        check(Running, Change::Start, Err("cannot start a machine that is running"));
        check(Paused, Change::Start, Err("cannot start a machine that is paused"));
        check(Created, Change::Pause, Err("cannot pause a machine that is created"));
        check(Paused, Change::Pause, Err("cannot pause a machine that is paused"));
        check(Created, Change::Resume, Err("cannot resume a machine that is created"));
        check(Running, Change::Resume, Err("cannot resume a machine that is running"));
    }
}
