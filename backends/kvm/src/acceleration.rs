//! What a machine is run by here, or why there can be none.

use microagent_backend::{Acceleration, Error, ErrorKind, Result};
use microagent_vmm_protocol::{ProbeReport, ProbeVerdict};

use crate::Emulated;

/// What to use instead of KVM that only interprets.
const INSTEAD: &str =
    "use '--supervisor qemu:accel=tcg', which is made for that, or a host with real KVM";
/// What to do where KVM cannot be used.
const UNUSABLE: &str =
    "use '--supervisor qemu:accel=tcg', which needs no KVM, or give this user access to /dev/kvm";

/// What runs guest code, by what was found out about KVM.
///
/// # Errors
/// `Unavailable` where KVM cannot be used, or interprets and that is not allowed.
pub(crate) fn decide(report: ProbeReport, emulated: Emulated) -> Result<Acceleration> {
    let evidence = report.evidence;
    let unavailable = |message| Err(Error::new(ErrorKind::Unavailable, message));
    match (report.verdict, emulated) {
        (ProbeVerdict::Hardware, _) => Ok(Acceleration::Hardware { evidence }),
        (ProbeVerdict::Nested, _) => Ok(Acceleration::Nested { evidence }),
        (ProbeVerdict::Emulated, Emulated::Allow) => Ok(Acceleration::Emulated { evidence }),
        (ProbeVerdict::Emulated, Emulated::Refuse) => {
            let message = format!("KVM here interprets guest code in software: {evidence}");
            unavailable(message).map_err(|e| e.with_hint(INSTEAD))
        }
        (ProbeVerdict::Unavailable, _) => {
            let message = format!("KVM cannot be used here: {evidence}");
            unavailable(message).map_err(|e| e.with_hint(UNUSABLE))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdict: ProbeVerdict, emulated: Emulated, expect: std::result::Result<&str, &str>) {
        let evidence = "why".to_owned();
        let report = ProbeReport { version: 1, verdict, evidence, ratio: None, took_ms: 1 };
        let got = decide(report, emulated);
        if let Err(error) = &got {
            assert_eq!(error.kind, ErrorKind::Unavailable);
            assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("qemu:accel=tcg")));
        }
        let got = got.map(|a| a.name()).map_err(|e| e.message);
        assert_eq!(got, expect.map_err(str::to_owned), "{verdict:?} {emulated:?}");
    }

    #[test]
    fn what_interprets_is_refused_unless_it_is_allowed() {
        use Emulated::{Allow, Refuse};
        check(ProbeVerdict::Hardware, Refuse, Ok("hardware"));
        check(ProbeVerdict::Nested, Refuse, Ok("nested"));
        check(ProbeVerdict::Nested, Allow, Ok("nested"));
        check(ProbeVerdict::Emulated, Allow, Ok("emulated"));
        let refusal = "KVM here interprets guest code in software: why";
        check(ProbeVerdict::Emulated, Refuse, Err(refusal));
        for emulated in [Refuse, Allow] {
            check(ProbeVerdict::Unavailable, emulated, Err("KVM cannot be used here: why"));
        }
    }
}
