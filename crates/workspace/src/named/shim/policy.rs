//! Whether a machine that ended is started again, and when: pure.

use std::time::Duration;

use crate::named::manifest::RestartPolicy;

/// How long the first restart waits.
const FIRST: Duration = Duration::from_secs(1);
/// How long any restart waits at most.
const LONGEST: Duration = Duration::from_secs(60);
/// How long a machine must have been up for what came before it to be forgotten.
const STEADY: Duration = Duration::from_secs(60);

/// How a machine came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Somebody asked for it.
    Asked,
    /// Its command ended with 0, or the guest powered itself off.
    Well,
    /// Its command ended otherwise, or the machine did.
    Badly,
    /// It has never been up since the workspace was started.
    NeverUp,
}

/// What is remembered from one restart to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// How long to wait before a machine that was up for `up` is started again; none if it is
    /// not.
    pub(super) fn after(
        &mut self,
        policy: RestartPolicy,
        ended: Ended,
        up: Duration,
    ) -> Option<Duration> {
        let again = match (policy, ended) {
            (RestartPolicy::Never, _) | (_, Ended::Asked | Ended::NeverUp) => false,
            (RestartPolicy::OnFailure, ended) => ended == Ended::Badly,
            (RestartPolicy::Always, _) => true,
        };
        if up >= STEADY {
            self.next = FIRST;
        }
        let wait = self.next;
        if again {
            self.next = (wait * 2).min(LONGEST);
        }
        again.then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: RestartPolicy, ended: Ended, again: bool) {
        let wait = Backoff::new().after(policy, ended, Duration::ZERO);
        assert_eq!(wait, again.then_some(FIRST), "{policy:?} {ended:?}");
    }

    #[test]
    fn policies_differ_in_what_they_take_for_a_failure() {
        use RestartPolicy::{Always, Never, OnFailure};
        for ended in [Ended::Asked, Ended::Well, Ended::Badly, Ended::NeverUp] {
            check(Never, ended, false);
        }
        check(OnFailure, Ended::Asked, false);
        check(OnFailure, Ended::Well, false);
        check(OnFailure, Ended::Badly, true);
        check(OnFailure, Ended::NeverUp, false);
        check(Always, Ended::Asked, false);
        check(Always, Ended::Well, true);
        check(Always, Ended::Badly, true);
        check(Always, Ended::NeverUp, false);
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_one() {
        let mut backoff = Backoff::new();
        let mut next = |up| {
            let wait = backoff.after(RestartPolicy::Always, Ended::Badly, Duration::from_secs(up));
            wait.unwrap().as_secs()
        };
        let waits: Vec<_> = (0..8).map(|_| next(0)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!([next(59), next(60), next(0)], [60, 1, 2]);
    }
}
