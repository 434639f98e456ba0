//! What runs the guest's code: KVM only where the processor does it.
//!
//! That `/dev/kvm` opens shows little: there are hosts where every call on it succeeds and
//! guest code is then interpreted, at a thousandth of the speed.

use std::path::Path;

use microagent_backend::{Acceleration, Error, ErrorKind, Result};
use microagent_guarded::KvmProbe;

use crate::Accel;

/// What runs the guest's code, given what was asked for. KVM is looked at, by the program
/// `monitor` and where it is not known yet, only if it may be used.
///
/// # Errors
/// `Unavailable` if KVM was asked for and is not real here.
pub(crate) async fn decide(asked: Accel, kvm: &KvmProbe, monitor: &Path) -> Result<Acceleration> {
    match asked {
        Accel::Tcg => Ok(Acceleration::Emulated { evidence: "accel=tcg was asked for".into() }),
        Accel::Auto => Ok(or_translated(kvm.acceleration(monitor).await)),
        Accel::Kvm => or_refused(kvm.acceleration(monitor).await),
    }
}

fn or_translated(kvm: std::result::Result<Acceleration, String>) -> Acceleration {
    kvm.unwrap_or_else(|evidence| Acceleration::Emulated { evidence })
}

fn or_refused(kvm: std::result::Result<Acceleration, String>) -> Result<Acceleration> {
    kvm.map_err(|reason| {
        Error::new(ErrorKind::Unavailable, format!("qemu cannot use KVM here: {reason}"))
            .with_hint("use a host with KVM, or accel=tcg, which needs none")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_used_or_refused() {
        let real = || Ok(Acceleration::Nested { evidence: "why".into() });
        let none = || Err("KVM only interprets guests: why".to_owned());
        assert_eq!(or_translated(real()).name(), "nested");
        assert_eq!(or_refused(real()).unwrap().name(), "nested");
        let translated = or_translated(none());
        assert_eq!(translated.name(), "emulated");
        assert_eq!(translated.evidence(), "KVM only interprets guests: why");
        let refused = or_refused(none()).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable);
        assert_eq!(refused.message, "qemu cannot use KVM here: KVM only interprets guests: why");
    }

    #[tokio::test]
    async fn what_cannot_be_found_out_is_not_used() {
        let (kvm, nobody) = (KvmProbe::new(None), Path::new("/nonexistent/vmm"));
        let check = async |asked, expect: std::result::Result<&str, ErrorKind>| {
            let got = decide(asked, &kvm, nobody).await;
            assert_eq!(got.map(|a| a.name()).map_err(|e| e.kind), expect, "{asked:?}");
        };
        check(Accel::Tcg, Ok("emulated")).await;
        check(Accel::Auto, Ok("emulated")).await;
        check(Accel::Kvm, Err(ErrorKind::Unavailable)).await;
    }
}
