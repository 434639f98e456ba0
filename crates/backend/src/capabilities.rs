//! What a backend can do here and now.

use std::collections::{BTreeMap, BTreeSet};

use microagent_machine::{Arch, Feature, MiB};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a backend can do here and now: plain data, compared with a spec by
/// [`admit`](crate::admit()) alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// The backend's name.
    pub backend: String,
    /// The version of the hypervisor, as it names itself.
    pub version: String,
    /// Instruction sets of guests.
    pub architectures: Vec<Arch>,
    /// What it offers.
    pub features: BTreeSet<Feature>,
    /// What to do for a feature that it could offer and cannot here: install a program, say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remedies: BTreeMap<Feature, String>,
    /// What whoever uses a feature that it offers must know: less protection, say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cautions: BTreeMap<Feature, String>,
    /// How much of it.
    pub limits: Limits,
    /// How guest code is run.
    pub acceleration: Acceleration,
    /// The call by which a guest ends a machine of this backend.
    pub power_off: PowerOff,
    /// What will be applied to a machine's processes here.
    pub isolation: IsolationPlan,
}

/// How much a backend can give one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most vCPUs.
    pub vcpus: u32,
    /// Most guest memory.
    pub memory: MiB,
    /// Slots for virtio devices, disks and all others together; `None` if nothing but
    /// [`Limits::disks`] bounds them.
    pub virtio_slots: Option<u32>,
    /// Most disks, even where slots are left.
    pub disks: u32,
}

/// How guest code is run, with the evidence for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Acceleration {
    /// By the processor, on a host that is no guest itself.
    Hardware {
        /// What shows it.
        evidence: String,
    },
    /// By the processor, on a host that is a guest itself.
    Nested {
        /// What shows it.
        evidence: String,
    },
    /// By software.
    Emulated {
        /// What shows it.
        evidence: String,
    },
}

/// The call by which the guest's init ends the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PowerOff {
    /// A reset: the monitor exits instead of booting again.
    Reset,
    /// ACPI power-off.
    Acpi,
    /// A write to the exit port of the native monitor.
    ExitPort,
}

/// What will be applied to the processes of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IsolationPlan {
    /// A seccomp filter on every thread.
    pub seccomp: bool,
    /// A Landlock ruleset made from the spec.
    pub landlock: bool,
    /// `no_new_privs`.
    pub no_new_privs: bool,
    /// Limits on file size, descriptors and core dumps.
    pub rlimits: bool,
}

impl Acceleration {
    /// Whether real hardware runs the guest, at first or second hand.
    pub const fn is_real(&self) -> bool {
        !matches!(self, Acceleration::Emulated { .. })
    }

    /// `hardware`, `nested` or `emulated`.
    pub const fn name(&self) -> &'static str {
        match self {
            Acceleration::Hardware { .. } => "hardware",
            Acceleration::Nested { .. } => "nested",
            Acceleration::Emulated { .. } => "emulated",
        }
    }

    /// What shows it.
    pub fn evidence(&self) -> &str {
        match self {
            Acceleration::Hardware { evidence }
            | Acceleration::Nested { evidence }
            | Acceleration::Emulated { evidence } => evidence,
        }
    }
}
