//! From what was seen to what it means. Nothing is looked at here.

use microagent_vmm_protocol::ProbeVerdict;

/// How much longer the loop may take in a guest of the processor's. Interpreters take
/// hundreds of times as long; anything that disturbs a real guest far less than this.
const MAX_RATIO: f64 = 20.0;

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observed {
    /// How the guest ended.
    pub(super) ended: Ended,
    /// How much longer the loop took in the guest than on the host, if it ended.
    pub(super) ratio: Option<f64>,
    /// Whether the host itself runs under a hypervisor.
    pub(super) host_is_guest: bool,
}

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// Before it ran: KVM does not offer what this step takes, and every kernel does.
    Before { step: &'static str },
    /// At a step.
    At { step: &'static str, how: Failure },
    /// After all of them.
    AfterAll,
}

/// How a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// KVM gave up, with this suberror of `KVM_EXIT_INTERNAL_ERROR`.
    Refused(u32),
    /// It raised this exception.
    Exception(u8),
    /// It did not do what it should.
    Wrong,
    /// It took the whole machine down.
    ShutDown,
    /// It did not end in time.
    Hung,
    /// The guest did something that no step does.
    Astray(String),
}

/// What it means.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    /// What runs a guest's code.
    pub(super) verdict: ProbeVerdict,
    /// What shows it, in one sentence without a full stop.
    pub(super) evidence: String,
    /// As in [`Observed`].
    pub(super) ratio: Option<f64>,
}

impl Finding {
    /// No guest can be run, for this reason.
    pub(super) fn unavailable(reason: String) -> Self {
        Self { verdict: ProbeVerdict::Unavailable, evidence: reason, ratio: None }
    }
}

/// What the observations mean.
pub(super) fn judge(observed: &Observed) -> Finding {
    let Observed { ended, ratio, host_is_guest } = observed;
    let failed = failure(ended);
    let (slow, speed) = match ratio {
        Some(ratio) => {
            let text = format!("a loop takes {ratio:.1} times as long in a guest as on the host");
            (*ratio > MAX_RATIO, Some(text))
        }
        None => (false, None),
    };
    let real = match host_is_guest {
        true => (ProbeVerdict::Nested, "the host is a guest itself"),
        false => (ProbeVerdict::Hardware, "the host is no guest"),
    };
    let (verdict, evidence) = match (failed, speed) {
        (Some(failed), Some(speed)) if slow => {
            (ProbeVerdict::Emulated, format!("{failed}, and {speed}"))
        }
        (Some(failed), _) => (ProbeVerdict::Emulated, failed),
        (None, Some(speed)) if slow => (ProbeVerdict::Emulated, speed),
        (None, Some(speed)) => (real.0, format!("{speed}, all instructions run, and {}", real.1)),
        // All steps were taken, and the loop is one of them.
        (None, None) => {
            (ProbeVerdict::Emulated, "the time stamp counter stands still in a guest".into())
        }
    };
    Finding { verdict, evidence, ratio: *ratio }
}

fn failure(ended: &Ended) -> Option<String> {
    let (step, how) = match ended {
        Ended::AfterAll => return None,
        Ended::Before { step } => {
            return Some(format!("KVM does not offer {step} to guests, and every kernel needs it"));
        }
        Ended::At { step, how } => (step, how),
    };
    Some(match how {
        Failure::Refused(suberror) => {
            format!("KVM cannot run {step} in a guest (internal error {suberror})")
        }
        Failure::Exception(vector) => {
            format!("{step} raises exception {vector} in a guest, though it is offered")
        }
        Failure::Wrong => format!("{step} does not do in a guest what it should"),
        Failure::ShutDown => format!("{step} shuts a guest down"),
        Failure::Hung => format!("{step} does not end in time in a guest"),
        Failure::Astray(what) => format!("{step} leads a guest astray: {what}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(step: &'static str, how: Failure) -> Ended {
        Ended::At { step, how }
    }

    #[test]
    fn a_verdict_follows_from_steps_ratio_and_host() {
        use ProbeVerdict::{Emulated, Hardware, Nested};
        let check = |ended, ratio, host_is_guest, verdict, evidence: &str| {
            let finding = judge(&Observed { ended, ratio, host_is_guest });
            let expect = Finding { verdict, evidence: evidence.to_owned(), ratio };
            assert_eq!(finding, expect);
        };
        check(
            Ended::AfterAll,
            Some(1.04),
            false,
            Hardware,
            "a loop takes 1.0 times as long in a guest as on the host, all instructions run, \
             and the host is no guest",
        );
        check(
            Ended::AfterAll,
            Some(20.0),
            true,
            Nested,
            "a loop takes 20.0 times as long in a guest as on the host, all instructions run, \
             and the host is a guest itself",
        );
        let slow = "a loop takes 870.0 times as long in a guest as on the host";
        check(Ended::AfterAll, Some(870.0), false, Emulated, slow);
        check(
            at("lock cmpxchg16b", Failure::Refused(1)),
            Some(870.0),
            true,
            Emulated,
            &format!("KVM cannot run lock cmpxchg16b in a guest (internal error 1), and {slow}"),
        );
        check(
            at("clac", Failure::Exception(6)),
            Some(2.0),
            true,
            Emulated,
            "clac raises exception 6 in a guest, though it is offered",
        );
        check(
            Ended::Before { step: "lock cmpxchg16b" },
            None,
            false,
            Emulated,
            "KVM does not offer lock cmpxchg16b to guests, and every kernel needs it",
        );
        check(
            at("a loop", Failure::Hung),
            None,
            false,
            Emulated,
            "a loop does not end in time in a guest",
        );
        check(
            Ended::AfterAll,
            None,
            false,
            Emulated,
            "the time stamp counter stands still in a guest",
        );
    }

    #[test]
    fn any_failure_is_emulation_and_names_the_step() {
        let check = |how| {
            let observed =
                Observed { ended: at("int3", how), ratio: Some(1.0), host_is_guest: false };
            let finding = judge(&observed);
            assert_eq!(finding.verdict, ProbeVerdict::Emulated);
            assert!(finding.evidence.contains("int3"), "{}", finding.evidence);
        };
        check(Failure::Refused(3));
        check(Failure::Exception(13));
        check(Failure::Wrong);
        check(Failure::ShutDown);
        check(Failure::Hung);
        check(Failure::Astray("MmioRead".into()));
    }
}
