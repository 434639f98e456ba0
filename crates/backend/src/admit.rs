//! Comparing what is asked for with what can be had.

use std::fmt;

use microagent_machine::{Feature, MachineSpec};
use serde::{Deserialize, Serialize};

use crate::{Capabilities, Error, ErrorKind};

/// One reason why a backend cannot run a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Rejection {
    /// A feature that it does not offer.
    Feature {
        /// Which.
        feature: Feature,
        /// What to do about it, where something can be done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remedy: Option<String>,
    },
    /// A guest of another instruction set.
    Architecture {
        /// What was asked for, as `uname -m` names it.
        asked: String,
    },
    /// More of something than it can give, or less than one of it.
    Limit {
        /// Of what: `vcpus`, `memory`, `disks`, or `disks beside a network` where there would be
        /// more without one.
        what: String,
        /// How much was asked for (MiB for memory).
        asked: u64,
        /// The most that can be had for this spec.
        limit: u64,
    },
}

impl Rejection {
    /// The error for a machine that the backend `name` cannot run, for all these reasons.
    pub fn error(name: &str, rejections: &[Rejection]) -> Error {
        let why: Vec<_> = rejections.iter().map(ToString::to_string).collect();
        let message = format!("{name} cannot run this machine: {}", why.join("; "));
        let remedies = rejections.iter().filter_map(|rejection| match rejection {
            Rejection::Feature { remedy, .. } => remedy.as_deref(),
            Rejection::Architecture { .. } | Rejection::Limit { .. } => None,
        });
        let remedies: Vec<_> = remedies.collect();
        let error = Error::new(ErrorKind::Unsupported, message);
        if remedies.is_empty() { error } else { error.with_hint(remedies.join("; ")) }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Feature { feature, remedy: _ } => write!(f, "does not offer {feature}"),
            Rejection::Architecture { asked } => write!(f, "does not run {asked} guests"),
            Rejection::Limit { what, asked: 0, .. } => write!(f, "needs at least one of {what}"),
            Rejection::Limit { what, asked, limit } => {
                write!(f, "{what}: {asked} asked for, at most {limit} here")
            }
        }
    }
}

/// Every reason why a backend with `caps` cannot run `spec`; none means that it can.
///
/// The only place where the two are compared.
pub fn admit(spec: &MachineSpec, caps: &Capabilities) -> Vec<Rejection> {
    let mut rejections = Vec::new();
    if !caps.architectures.contains(&spec.arch) {
        rejections.push(Rejection::Architecture { asked: spec.arch.name().into() });
    }
    let missing = spec.required_features().into_iter().filter(|f| !caps.features.contains(f));
    rejections.extend(missing.map(|feature| Rejection::Feature {
        feature,
        remedy: caps.remedies.get(&feature).cloned(),
    }));
    let mut bound = |what: &str, asked: u64, least: u64, limit: u64| {
        if asked < least || asked > limit {
            rejections.push(Rejection::Limit { what: what.into(), asked, limit });
        }
    };
    bound("vcpus", spec.vcpus.into(), 1, caps.limits.vcpus.into());
    bound("memory", spec.memory.0.into(), 1, caps.limits.memory.0.into());
    let most = caps.limits.disks_for(spec);
    // Whoever asked for no network by name shall learn what takes the place of a disk.
    let isolated = MachineSpec { net: None, ..spec.clone() };
    let in_its_place = caps.limits.disks_for(&isolated) > most;
    let disks = if in_its_place { "disks beside a network" } else { "disks" };
    bound(disks, spec.disks.len() as u64, 0, most.into());
    rejections
}

impl crate::Limits {
    /// The most disks that a machine like `spec` can have, given its other devices.
    pub fn disks_for(&self, spec: &MachineSpec) -> u32 {
        let free = self.virtio_slots.map(|slots| slots.saturating_sub(spec.other_devices()));
        free.map_or(self.disks, |free| free.min(self.disks))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use microagent_machine::{Access, Arch, Cid, Disk, DiskId, MiB, UserNet, Vsock};

    use super::*;
    use crate::{Acceleration, IsolationPlan, Limits, PowerOff};

    fn caps() -> Capabilities {
        Capabilities {
            backend: "test".into(),
            version: "1".into(),
            architectures: vec![Arch::X86_64],
            features: BTreeSet::from([Feature::Console, Feature::Disk, Feature::Vsock]),
            remedies: BTreeMap::from([(Feature::UserNet, "install it".to_owned())]),
            cautions: BTreeMap::new(),
            limits: Limits { vcpus: 4, memory: MiB(1024), virtio_slots: Some(4), disks: 8 },
            acceleration: Acceleration::Emulated { evidence: "test".into() },
            power_off: PowerOff::Reset,
            isolation: IsolationPlan::default(),
        }
    }

    fn spec(disks: usize) -> MachineSpec {
        let disk = |n| Disk {
            id: DiskId::new(format!("d{n}")).unwrap(),
            path: format!("/d{n}").into(),
            access: Access::ReadWrite,
        };
        MachineSpec {
            arch: Arch::X86_64,
            vcpus: 1,
            memory: MiB(1024),
            disks: (0..disks).map(disk).collect(),
            vsock: Some(Vsock { cid: Cid::GUEST }),
            net: None,
            rng: false,
            boot: None,
        }
    }

    #[test]
    fn the_limit_itself_passes() {
        assert_eq!(admit(&spec(3), &caps()), []);
    }

    #[test]
    fn one_more_is_refused_with_both_numbers() {
        let expect = Rejection::Limit { what: "disks".into(), asked: 4, limit: 3 };
        assert_eq!(admit(&spec(4), &caps()), [expect]);
    }

    #[test]
    fn a_network_in_the_place_of_a_disk_is_named() {
        let (mut caps, mut asked) = (caps(), spec(3));
        caps.features.insert(Feature::UserNet);
        asked.net = Some(UserNet::default());
        let says = |asked: &MachineSpec, caps: &Capabilities| {
            admit(asked, caps).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(says(&asked, &caps), ["disks beside a network: 3 asked for, at most 2 here"]);
        caps.limits = Limits { virtio_slots: None, disks: 2, ..caps.limits };
        assert_eq!(says(&asked, &caps), ["disks: 3 asked for, at most 2 here"]);
    }

    #[test]
    fn all_refusals_come_at_once() {
        let mut asked = spec(4);
        asked.vcpus = 5;
        asked.rng = true;
        let kinds: Vec<_> = admit(&asked, &caps()).iter().map(ToString::to_string).collect();
        assert_eq!(
            kinds,
            [
                "does not offer rng",
                "does not offer multiple-vcpus",
                "vcpus: 5 asked for, at most 4 here",
                "disks: 4 asked for, at most 2 here",
            ]
        );
    }

    #[test]
    fn what_can_be_done_about_it_is_the_hint() {
        let check = |change: &dyn Fn(&mut MachineSpec), expect: Option<&str>| {
            let mut asked = spec(1);
            change(&mut asked);
            let error = Rejection::error("test", &admit(&asked, &caps()));
            assert_eq!(error.hint.as_deref(), expect, "{error}");
        };
        check(&|asked| asked.rng = true, None);
        check(&|asked| asked.net = Some(UserNet::default()), Some("install it"));
    }

    #[test]
    fn nothing_at_all_is_refused_too() {
        let mut asked = spec(0);
        asked.vcpus = 0;
        assert_eq!(admit(&asked, &caps())[0].to_string(), "needs at least one of vcpus");
    }
}
