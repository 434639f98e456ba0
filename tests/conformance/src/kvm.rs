//! The native monitor.
//!
//! Where KVM only interprets, `kvm` cannot be had, and `kvm_bare` stands in: the monitor is
//! the same and is judged by what guests of a few instructions can show, since no kernel boots
//! there.

use std::sync::Arc;

use microagent_backend::Backend;
use microagent_conformance::{BareGuests, Guests};
use microagent_kvm::{Emulated, KvmBackend, KvmOptions};

use crate::host::{linux, monitor};
use crate::runtime;
use crate::wired::{Lacks, Wired};

/// The native monitor, and what stands in for it here, if anything must.
pub(crate) fn wired() -> Vec<Wired> {
    let kvm = one(["kvm", "kvm"], Emulated::Refuse, Arc::new(BareGuests::new()), linux());
    let why = "no kernel boots where KVM interprets".to_owned();
    let bare = Arc::new(BareGuests::interpreted());
    let bare = one(["kvm_bare", "kvm-bare"], Emulated::Allow, bare, Err(why));
    match (works(&kvm), works(&bare)) {
        (false, true) => vec![kvm, bare],
        _ => vec![kvm],
    }
}

fn works(wired: &Wired) -> bool {
    let (Ok(backend), Ok(runtime)) = (wired.backend.clone(), runtime()) else { return false };
    runtime.block_on(async move { backend.probe().await }).is_ok()
}

fn one(
    [name, required_as]: [&'static str; 2],
    emulated: Emulated,
    guests: Arc<dyn Guests>,
    device_guests: Result<Arc<dyn Guests>, String>,
) -> Wired {
    let backend = monitor().map(|monitor| {
        let options = KvmOptions { emulated, monitor, cache_dir: None };
        Arc::new(KvmBackend::new(options)) as Arc<dyn Backend>
    });
    Wired { name, required_as, lacks: Lacks::Hardware, backend, guests, device_guests }
}
