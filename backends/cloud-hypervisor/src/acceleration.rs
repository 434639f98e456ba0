//! What runs the guest's code: the processor, or there is no machine.

use std::path::Path;

use microagent_backend::{Acceleration, Error, ErrorKind, Result};
use microagent_guarded::KvmProbe;

/// What to use where KVM cannot be.
const INSTEAD: &str = "use '--supervisor qemu:accel=tcg', which needs no KVM, or a host with \
                       real KVM that this user may use";

/// What runs the guests of KVM here, as the program `monitor` finds out where it is not known.
///
/// # Errors
/// `Unavailable` where that is not the processor.
pub(crate) async fn decide(kvm: &KvmProbe, monitor: &Path) -> Result<Acceleration> {
    or_refused(kvm.acceleration(monitor).await)
}

fn or_refused(kvm: std::result::Result<Acceleration, String>) -> Result<Acceleration> {
    kvm.map_err(|reason| {
        let what = format!("cloud-hypervisor needs KVM, which cannot be used here: {reason}");
        Error::new(ErrorKind::Unavailable, what).with_hint(INSTEAD)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_processor_will_do() {
        let real = Acceleration::Nested { evidence: "why".into() };
        assert_eq!(or_refused(Ok(real)).unwrap().name(), "nested");
        let refused = or_refused(Err("KVM only interprets guests: why".into())).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable);
        assert!(refused.message.ends_with("used here: KVM only interprets guests: why"));
        assert!(refused.hint.is_some_and(|hint| hint.contains("qemu:accel=tcg")));
    }

    #[tokio::test]
    async fn what_cannot_be_found_out_is_not_used() {
        let nobody = Path::new("/nonexistent/vmm");
        let error = decide(&KvmProbe::new(None), nobody).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
    }
}
