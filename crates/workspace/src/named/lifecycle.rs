//! Where a workspace is in its life, and what may come next: pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a workspace is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Made, and never started.
    Created,
    /// Its machine boots, or its setup commands run.
    Starting,
    /// Commands can be run in it.
    Running,
    /// Its vCPUs are stopped for a while.
    Paused,
    /// It was asked to end and has not.
    Stopping,
    /// It ended as it was asked to, or of its own accord.
    Stopped,
    /// It ended otherwise, or did not come up.
    Failed,
}

/// Something that happens to a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Its shim begins.
    Start,
    /// Commands can be run.
    Ready,
    /// Its vCPUs are stopped.
    Pause,
    /// They go on.
    Resume,
    /// It is asked to end.
    Halt,
    /// It ended in order.
    End,
    /// It ended otherwise.
    Fail,
    /// Its machine ended, and another is started after a while.
    Restart,
    /// Its shim was killed, and another takes up its machine.
    TakeUp,
}

/// A step that cannot be taken from where a workspace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a workspace that is {state} cannot {step}")]
pub struct Refused {
    /// Where it is.
    pub state: State,
    /// What cannot happen to it.
    pub step: Step,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
    ];

    /// Where it is after a step.
    ///
    /// # Errors
    /// [`Refused`] for a step that cannot be taken from here.
    pub fn after(self, step: Step) -> Result<Self, Refused> {
        match (self, step) {
            (Self::Created | Self::Stopped | Self::Failed, Step::Start) => Ok(Self::Starting),
            (Self::Starting, Step::Ready) | (Self::Paused, Step::Resume) => Ok(Self::Running),
            (Self::Running, Step::Pause) => Ok(Self::Paused),
            (Self::Starting | Self::Running | Self::Paused, Step::Halt) => Ok(Self::Stopping),
            (Self::Running | Self::Stopping, Step::End) => Ok(Self::Stopped),
            (Self::Starting | Self::Running | Self::Paused | Self::Stopping, Step::Fail) => {
                Ok(Self::Failed)
            }
            (Self::Starting | Self::Running | Self::Paused | Self::Stopping, Step::Restart) => {
                Ok(Self::Starting)
            }
            (Self::Running | Self::Paused, Step::TakeUp) => Ok(Self::Starting),
            (state, step) => Err(Refused { state, step }),
        }
    }

    /// Whether it has no machine, and so no shim.
    pub fn is_resting(self) -> bool {
        matches!(self, Self::Created | Self::Stopped | Self::Failed)
    }

    /// Its name, as it stands in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "be started",
            Self::Ready => "become ready",
            Self::Pause => "be paused",
            Self::Resume => "be resumed",
            Self::Halt => "be halted",
            Self::End => "end",
            Self::Fail => "fail",
            Self::Restart => "be started again",
            Self::TakeUp => "be taken up",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEPS: [Step; 7] =
        [Step::Start, Step::Ready, Step::Pause, Step::Resume, Step::Halt, Step::End, Step::Fail];

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(prop::sample::select(&STEPS[..]), 0..40)
    }

    fn walk(steps: &[Step]) -> Vec<State> {
        let mut path = vec![State::Created];
        for step in steps {
            let here = path[path.len() - 1];
            path.push(here.after(*step).unwrap_or(here));
        }
        path
    }

    proptest! {
        #[test]
        fn nothing_runs_that_was_not_started(steps in steps()) {
            for pair in walk(&steps).windows(2) {
                if pair[0].is_resting() && !pair[1].is_resting() {
                    prop_assert_eq!(pair[1], State::Starting);
                }
            }
        }

        #[test]
        fn nobody_is_created_twice(steps in steps()) {
            let path = walk(&steps);
            let left = path.iter().position(|state| *state != State::Created);
            if let Some(left) = left {
                prop_assert!(path[left..].iter().all(|state| *state != State::Created));
            }
        }

        #[test]
        fn what_stops_does_not_run_on(steps in steps()) {
            for pair in walk(&steps).windows(2) {
                if pair[0] == State::Stopping {
                    // Or is started again by its own policy.
                    let goes_on = matches!(pair[1], State::Stopping | State::Starting);
                    prop_assert!(goes_on || pair[1].is_resting());
                }
            }
        }

        #[test]
        fn whatever_happened_it_can_be_brought_to_rest(steps in steps()) {
            let here = *walk(&steps).last().unwrap();
            prop_assert!(here.is_resting() || here.after(Step::Fail) == Ok(State::Failed));
            prop_assert!(!here.is_resting() || here.after(Step::Start) == Ok(State::Starting));
        }
    }

    #[test]
    fn names_are_those_of_the_files() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }

    #[test]
    fn refusals_name_both() {
        let refused = State::Stopped.after(Step::Pause).unwrap_err();
        assert_eq!(refused.to_string(), "a workspace that is stopped cannot be paused");
    }
}
