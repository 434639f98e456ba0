//! Whether KVM here runs guest code by the processor.
//!
//! That `/dev/kvm` opens shows little: there are hosts where every call on it succeeds and
//! guest code is then interpreted, at a thousandth of the speed. Real KVM needs the
//! processor's own virtualisation, whose flag such hosts lack.

use std::fs::File;
use std::io::Read;

use microagent_backend::{Acceleration, Error, ErrorKind, Result};
use rustix::fs::{Mode, OFlags};

use crate::Accel;

/// How much of `/proc/cpuinfo` is read, in bytes: more than the entry of one processor, and
/// far less than those of a large host.
const CPUINFO: u64 = 16 << 10;

/// What the host shows about KVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// Why `/dev/kvm` cannot be opened, if so.
    pub(crate) kvm: std::result::Result<(), String>,
    /// The flags of its first processor.
    pub(crate) flags: Vec<String>,
}

impl Host {
    /// Looks at this host.
    pub(crate) fn look() -> Self {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let kvm = rustix::fs::open("/dev/kvm", flags, Mode::empty());
        let mut cpuinfo = String::new();
        if let Ok(file) = File::open("/proc/cpuinfo") {
            // Cut short in the middle of a character it is no less readable before that.
            let _ = file.take(CPUINFO).read_to_string(&mut cpuinfo);
        }
        Self { kvm: kvm.map(drop).map_err(|e| e.to_string()), flags: flags_in(&cpuinfo) }
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    /// What speaks for real KVM, or against it.
    fn kvm(&self) -> std::result::Result<String, String> {
        if let Err(reason) = &self.kvm {
            return Err(format!("/dev/kvm cannot be opened: {reason}"));
        }
        match ["vmx", "svm"].into_iter().find(|flag| self.has(flag)) {
            Some(flag) => Ok(format!("/dev/kvm opens and the processor offers {flag}")),
            None => Err("/dev/kvm opens, but the processor offers neither vmx nor svm: KVM \
                         would interpret the guest"
                .into()),
        }
    }
}

/// What runs the guest's code, given what was asked for.
///
/// # Errors
/// `Unavailable` if KVM was asked for and is not real here.
pub(crate) fn decide(asked: Accel, host: &Host) -> Result<Acceleration> {
    let real = |evidence| match host.has("hypervisor") {
        true => Acceleration::Nested { evidence },
        false => Acceleration::Hardware { evidence },
    };
    match (asked, host.kvm()) {
        (Accel::Tcg, _) => {
            Ok(Acceleration::Emulated { evidence: "accel=tcg was asked for".into() })
        }
        (Accel::Auto | Accel::Kvm, Ok(evidence)) => Ok(real(evidence)),
        (Accel::Auto, Err(evidence)) => Ok(Acceleration::Emulated { evidence }),
        (Accel::Kvm, Err(reason)) => {
            Err(Error::new(ErrorKind::Unavailable, format!("qemu cannot use KVM here: {reason}"))
                .with_hint("use a host with KVM, or accel=tcg, which needs none"))
        }
    }
}

fn flags_in(cpuinfo: &str) -> Vec<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("flags"));
    let flags = line.and_then(|line| line.split_once(':')).map_or("", |(_, flags)| flags);
    flags.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: Accel, opens: bool, flags: &str, expect: std::result::Result<&str, ErrorKind>) {
        let kvm = if opens { Ok(()) } else { Err("No such file or directory".into()) };
        let host = Host { kvm, flags: flags_in(&format!("model : x\nflags\t\t: {flags}\n")) };
        let got = decide(asked, &host).map(|a| a.name()).map_err(|e| e.kind);
        assert_eq!(got, expect, "{asked:?} {host:?}");
    }

    #[test]
    fn kvm_is_real_only_with_the_processors_help() {
        check(Accel::Auto, true, "fpu vmx", Ok("hardware"));
        check(Accel::Auto, true, "fpu svm hypervisor", Ok("nested"));
        check(Accel::Auto, true, "fpu hypervisor", Ok("emulated"));
        check(Accel::Auto, false, "fpu vmx", Ok("emulated"));
        check(Accel::Kvm, true, "vmx", Ok("hardware"));
        check(Accel::Kvm, true, "svmx", Err(ErrorKind::Unavailable));
        check(Accel::Kvm, false, "svm", Err(ErrorKind::Unavailable));
        check(Accel::Tcg, true, "vmx", Ok("emulated"));
    }

    #[test]
    fn no_flags_are_no_evidence() {
        assert!(flags_in("").is_empty());
        assert!(flags_in("flags").is_empty());
    }
}
