//! The orderly end of a machine whose disks outlive it.

use std::time::Duration;

use microagent_backend::{ConsoleLog, Exit};
use microagent_guest_protocol::ending::UNTIL_WRITE_BACK;
use microagent_vsock::Session;

use super::Flow;
use super::machine::{end_text, last_lines};
use crate::outputs::one_line;
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
            waited = machine.wait(DEADLINE) => judge(waited, session, machine.console()).await,
            signal = io.interrupts.signal() => {
                Err(not_written_back(format!("signal {signal} came first")))
            }
        }
    }
}

/// Whether a machine that was asked to end, and of which this came, has written back its disks.
/// The word of its agent decides: the end alone looks the same whether it has or not.
///
/// # Errors
/// `NotWrittenBack`
pub(crate) async fn judge(
    waited: microagent_backend::Result<Option<Exit>>,
    session: &Session,
    console: &ConsoleLog,
) -> Result<(), RunError> {
    match waited {
        Ok(Some(Exit::PowerOff | Exit::Reset)) => heard(session.written_back().await),
        Ok(Some(exit)) => {
            Err(RunError::NotWrittenBack { reason: end_text(&exit), console: last_lines(console) })
        }
        Ok(None) => Err(not_written_back(format!("it did not end within {DEADLINE:?}"))),
        Err(error) => Err(not_written_back(error.to_string())),
    }
}

/// Takes the agent's word of what it could not write back.
pub(crate) fn heard(told: Option<Vec<String>>) -> Result<(), RunError> {
    match told {
        Some(failures) if failures.is_empty() => Ok(()),
        Some(failures) => Err(not_written_back(one_line(&failures.join("; ")))),
        None => Err(not_written_back("it ended without a word of it".into())),
    }
}

pub(crate) fn not_written_back(reason: String) -> RunError {
    RunError::NotWrittenBack { reason, console: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(told: Option<&[&str]>, expect: Result<(), &str>) {
        let told = told.map(|failures| failures.iter().map(|&text| text.to_owned()).collect());
        let expect =
            expect.map_err(|reason| format!("the guest did not write back its disks: {reason}"));
        assert_eq!(heard(told).map_err(|error| error.to_string()), expect);
    }

    #[test]
    fn only_who_says_so_has_written_back() {
        check(Some(&[]), Ok(()));
        check(Some(&["cannot write back /: EIO"]), Err("cannot write back /: EIO"));
        check(Some(&["/a: EIO", "/b: EIO"]), Err("/a: EIO; /b: EIO"));
        check(Some(&["\x1b[2J/: EIO\n"]), Err(" [2J/: EIO"));
        let long = "x".repeat(1 << 20);
        check(Some(&[&long]), Err(&long[..2048]));
        check(None, Err("it ended without a word of it"));
    }

    #[test]
    fn an_agent_that_takes_all_its_time_can_still_write_back() {
        assert!(DEADLINE > UNTIL_WRITE_BACK + Duration::from_secs(60));
    }
}
