//! The native monitor.
//!
//! Where KVM only interprets, `kvm` cannot be had, and `kvm_bare` judges what guests of a few
//! instructions can show: the monitor is the same, and no kernel boots there.

use std::sync::Arc;

use microagent_backend::Backend;
use microagent_conformance::{BareGuests, Guests};
use microagent_kvm::{Emulated, KvmBackend, KvmOptions};

use crate::host::{linux, monitor};
use crate::wired::{Lacks, Wired};

/// The native monitor on real KVM, and on whatever there is.
pub(crate) fn wired() -> Vec<Wired> {
    let bare = || Err("guests of a kernel are judged by kvm, on KVM that is real".to_owned());
    vec![
        one("kvm", "kvm", Emulated::Refuse, linux()),
        one("kvm_bare", "kvm-bare", Emulated::Allow, bare()),
    ]
}

fn one(
    name: &'static str,
    required_as: &'static str,
    emulated: Emulated,
    device_guests: Result<Arc<dyn Guests>, String>,
) -> Wired {
    let backend = monitor().map(|monitor| {
        let options = KvmOptions { emulated, monitor, cache_dir: None };
        Arc::new(KvmBackend::new(options)) as Arc<dyn Backend>
    });
    let (guests, lacks) = (Arc::new(BareGuests), Lacks::Hardware);
    Wired { name, required_as, lacks, backend, guests, device_guests }
}
