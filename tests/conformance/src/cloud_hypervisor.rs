//! Cloud Hypervisor: the one of `PATH`, or that `MICROAGENT_CLOUD_HYPERVISOR` names.

use std::sync::Arc;

use microagent_backend::{Backend, PowerOff};
use microagent_cloud_hypervisor::{CloudHypervisorBackend, CloudHypervisorOptions};
use microagent_conformance::BareGuests;

use crate::host::{linux_that_powers_off_by, monitor};
use crate::wired::{Lacks, Wired};

/// Cloud Hypervisor, whose guests power off by ACPI.
pub(crate) fn wired() -> Wired {
    let backend = monitor().map(|monitor| {
        let options = CloudHypervisorOptions { monitor, ..CloudHypervisorOptions::default() };
        Arc::new(CloudHypervisorBackend::new(options)) as Arc<dyn Backend>
    });
    Wired {
        name: "cloud_hypervisor",
        required_as: "cloud-hypervisor",
        lacks: Lacks::Hardware,
        backend,
        guests: Arc::new(BareGuests::new()),
        device_guests: linux_that_powers_off_by(PowerOff::Acpi),
    }
}
