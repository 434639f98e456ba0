//! The orderly end of a machine whose disks outlive it.

use std::time::Duration;

use microagent_backend::{ConsoleLog, Exit};
use microagent_guest_protocol::ending::UNTIL_WRITE_BACK;

use super::Flow;
use super::machine::{end_text, last_lines};
use crate::{RunError, RunIo};

/// How long a guest may write back its disks: all of its memory, to a slow one.
const WRITE_BACK: Duration = Duration::from_secs(120);

/// How long a guest that was asked to shut down may take before it is ended.
pub(crate) const DEADLINE: Duration = UNTIL_WRITE_BACK.saturating_add(WRITE_BACK);

impl Flow<'_> {
    /// Asks the guest to write back its disks and end, and waits until it has; no longer than
    /// to the next signal, whose sender would rather lose what was written.
    ///
    /// # Errors
    /// `NotWrittenBack`
    pub(super) async fn shut_down(&self, io: &mut RunIo) -> Result<(), RunError> {
        let (Some(session), Some(machine)) = (&self.session, &self.machine) else { return Ok(()) };
        session.shutdown();
        tokio::select! {
            biased;
            waited = machine.wait(DEADLINE) => judge(waited, machine.console()),
            signal = io.interrupts.signal() => {
                Err(not_written_back(format!("signal {signal} came first")))
            }
        }
    }
}

/// Whether a machine that ended so, with this on its console, has written back its disks. An
/// agent that could not says why there, and ends in a panic.
pub(crate) fn judge(
    waited: microagent_backend::Result<Option<Exit>>,
    console: &ConsoleLog,
) -> Result<(), RunError> {
    match waited {
        Ok(Some(Exit::PowerOff | Exit::Reset)) => Ok(()),
        Ok(Some(exit @ Exit::Panic)) => {
            Err(RunError::NotWrittenBack { reason: end_text(&exit), console: last_lines(console) })
        }
        Ok(Some(exit)) => Err(not_written_back(end_text(&exit))),
        Ok(None) => Err(not_written_back(format!("it did not end within {DEADLINE:?}"))),
        Err(error) => Err(not_written_back(error.to_string())),
    }
}

pub(crate) fn not_written_back(reason: String) -> RunError {
    RunError::NotWrittenBack { reason, console: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(waited: microagent_backend::Result<Option<Exit>>, expect: Result<(), &str>) {
        let dir = tempfile::tempdir().unwrap();
        let console = dir.path().join("console");
        let text =
            "up\nmicroagent-agent: cannot write back /: I/O error\nKernel panic - not\ntrace";
        std::fs::write(&console, text).unwrap();
        let judged = judge(waited, &ConsoleLog::new(console)).map_err(|error| error.to_string());
        assert_eq!(
            judged,
            expect
                .map_err(|reason| { format!("the guest did not write back its disks: {reason}") })
        );
    }

    #[test]
    fn only_an_orderly_end_has_written_back() {
        check(Ok(Some(Exit::PowerOff)), Ok(()));
        check(Ok(Some(Exit::Reset)), Ok(()));
        let lines = "cannot write back /: I/O error\n  Kernel panic - not\n  trace";
        let panicked =
            format!("its kernel panicked\nlast console lines:\n  microagent-agent: {lines}");
        check(Ok(Some(Exit::Panic)), Err(&panicked));
        check(Ok(Some(Exit::Killed)), Err("it was killed"));
        check(
            Ok(Some(Exit::Crashed { detail: "signal 9".into() })),
            Err("the hypervisor crashed: signal 9"),
        );
        check(Ok(None), Err("it did not end within 133s"));
    }

    #[test]
    fn an_agent_that_takes_all_its_time_can_still_write_back() {
        assert!(DEADLINE > UNTIL_WRITE_BACK + Duration::from_secs(60));
    }
}
