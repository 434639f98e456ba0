//! What a user may choose about this backend.

use std::path::PathBuf;

use microagent_backend::{Error, ErrorKind, Result};

/// What a user may choose about this backend, and what it needs from the program.
#[derive(Debug, Clone, Default)]
pub struct QemuOptions {
    /// The QEMU that the user named; otherwise `qemu-system-x86_64` of `PATH`.
    pub program: Option<PathBuf>,
    /// How guest code is to be run.
    pub accel: Accel,
    /// The guest's way to a network.
    pub way_out: WayOut,
    /// The program `microagent-vmm`, an absolute path.
    pub monitor: PathBuf,
    /// An existing directory in which to remember what a QEMU can do, so that it is asked
    /// once and not at every run; without one it is asked once by each process.
    pub cache_dir: Option<PathBuf>,
}

/// How guest code is to be run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Accel {
    /// By KVM where it is real, else by TCG.
    #[default]
    Auto,
    /// By KVM, or not at all.
    Kvm,
    /// By QEMU's own translator.
    Tcg,
}

/// The guest's way to a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WayOut {
    /// passt, behind a gateway that keeps the host's loopback back.
    #[default]
    Passt,
    /// QEMU's own user network, which keeps nothing back.
    Slirp,
}

/// All options with their values, for messages.
const KNOWN: &str = "known are: accel=auto|kvm|tcg, net=passt|slirp";

impl QemuOptions {
    /// Reads what stands after the colon in `qemu:accel=tcg`: pairs separated by commas,
    /// possibly none.
    ///
    /// # Errors
    /// `Usage` for what is unknown, with all that is known in the hint.
    pub fn parse_options(text: &str) -> Result<Self> {
        let wrong = |what: String| Error::new(ErrorKind::Usage, what).with_hint(KNOWN);
        let (mut accel, mut way_out) = (None, None);
        for pair in text.split(',').filter(|_| !text.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let given_before = match (key, value) {
                ("accel", "auto") => accel.replace(Accel::Auto).is_some(),
                ("accel", "kvm") => accel.replace(Accel::Kvm).is_some(),
                ("accel", "tcg") => accel.replace(Accel::Tcg).is_some(),
                ("net", "passt") => way_out.replace(WayOut::Passt).is_some(),
                ("net", "slirp") => way_out.replace(WayOut::Slirp).is_some(),
                ("accel" | "net", _) => {
                    return Err(wrong(format!("'{value}' is no value of qemu's option '{key}'")));
                }
                _ => return Err(wrong(format!("qemu has no option '{key}'"))),
            };
            if given_before {
                return Err(wrong(format!("qemu's option '{key}' is given twice")));
            }
        }
        let (accel, way_out) = (accel.unwrap_or_default(), way_out.unwrap_or_default());
        Ok(Self { accel, way_out, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_options() {
        let check = |text: &str, accel, way_out| {
            let options = QemuOptions::parse_options(text).unwrap();
            assert_eq!((options.accel, options.way_out), (accel, way_out), "{text:?}");
        };
        check("", Accel::Auto, WayOut::Passt);
        check("accel=auto", Accel::Auto, WayOut::Passt);
        check("accel=kvm", Accel::Kvm, WayOut::Passt);
        check("accel=tcg", Accel::Tcg, WayOut::Passt);
        check("net=passt", Accel::Auto, WayOut::Passt);
        check("net=slirp,accel=tcg", Accel::Tcg, WayOut::Slirp);
    }

    #[test]
    fn unknown_options_name_the_known() {
        let check = |text: &str, expect: &str| {
            let error = QemuOptions::parse_options(text).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage);
            assert_eq!(error.hint.as_deref(), Some(KNOWN));
            assert_eq!(error.message, expect);
        };
        check("speed=9", "qemu has no option 'speed'");
        check("accel", "'' is no value of qemu's option 'accel'");
        check("accel=xen", "'xen' is no value of qemu's option 'accel'");
        check("accel=kvm,accel=tcg", "qemu's option 'accel' is given twice");
        check("accel=kvm,", "qemu has no option ''");
        check("net=tap", "'tap' is no value of qemu's option 'net'");
        check("net=slirp,net=passt", "qemu's option 'net' is given twice");
    }
}
