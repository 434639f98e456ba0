//! QEMU, with each way of running guest code.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use microagent_backend::Backend;
use microagent_conformance::BareGuests;
use microagent_qemu::{Accel, QemuBackend, QemuOptions};

use crate::host::{linux, monitor};
use crate::wired::{Lacks, Wired};

/// The QEMU of `PATH` in both ways, and the one that `MICROAGENT_QEMU10` names, if any.
pub(crate) fn wired() -> Vec<Wired> {
    let newer = env::var_os("MICROAGENT_QEMU10").map(PathBuf::from);
    let mut all = vec![one("qemu_tcg", None, Accel::Tcg), one("qemu_kvm", None, Accel::Kvm)];
    all.extend(newer.map(|program| one("qemu10_tcg", Some(program), Accel::Tcg)));
    all
}

fn one(name: &'static str, program: Option<PathBuf>, accel: Accel) -> Wired {
    let backend = monitor().map(|monitor| {
        let options = QemuOptions { program, accel, monitor, ..QemuOptions::default() };
        Arc::new(QemuBackend::new(options)) as Arc<dyn Backend>
    });
    let (required_as, lacks) = match accel {
        Accel::Kvm => ("qemu-kvm", Lacks::Hardware),
        _ => ("qemu", Lacks::Tool),
    };
    let (guests, device_guests) = (Arc::new(BareGuests::new()), linux());
    Wired { name, required_as, lacks, backend, guests, device_guests }
}
