//! What a run of all cases found of one backend, to be kept.

use std::collections::BTreeMap;

use microagent_backend::Capabilities;
use microagent_machine::Feature;
use serde::Serialize;

use crate::{Case, Matrix, Verdict};

/// What a run of all cases that judge a backend found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The backend, as it is called in the names of tests.
    pub backend: String,
    /// The version of the hypervisor, as it names itself.
    pub version: String,
    /// How guest code is run: `hardware`, `nested` or `emulated`.
    pub acceleration: String,
    /// How many cases it passed; those about what it does not declare are none of them.
    pub passed: usize,
    /// How many could not be judged where it ran.
    pub skipped: usize,
    /// What came of each feature.
    pub features: BTreeMap<String, Found>,
}

/// What came of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// It is declared, and every case that exercises it passed.
    Passed,
    /// It is not declared, and asking for it is refused.
    NotDeclared,
    /// It is declared, and no case that exercises it could be judged where it ran.
    Skipped,
}

impl Matrix {
    /// What came of `backend`, which has these capabilities; `None` unless each of these cases
    /// was judged and none failed.
    pub fn record(&self, backend: &str, cases: &[Case], caps: &Capabilities) -> Option<Record> {
        let verdicts: Vec<_> = cases
            .iter()
            .map(|case| Some((case, self.verdict(backend, case)?)))
            .collect::<Option<_>>()?;
        if verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Failed(_))) {
            return None;
        }
        let count = |which: fn(&Verdict) -> bool| verdicts.iter().filter(|(_, v)| which(v)).count();
        let found = |feature: &Feature| {
            let mut of = verdicts.iter().filter(|(case, _)| case.needs.contains(feature));
            match caps.features.contains(feature) {
                false => Found::NotDeclared,
                true if of.any(|(_, verdict)| **verdict == Verdict::Passed) => Found::Passed,
                true => Found::Skipped,
            }
        };
        let features = Feature::ALL.iter().map(|f| (f.name().to_owned(), found(f))).collect();
        Some(Record {
            backend: backend.to_owned(),
            version: caps.version.clone(),
            acceleration: caps.acceleration.name().to_owned(),
            passed: count(|verdict| *verdict == Verdict::Passed),
            skipped: count(|verdict| matches!(verdict, Verdict::Skipped(_))),
            features,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use microagent_backend::{Acceleration, IsolationPlan, Limits, PowerOff};
    use microagent_machine::{Arch, MiB};

    use super::*;
    use crate::Tier;

    fn case(name: &'static str, needs: &'static [Feature]) -> Case {
        Case { name, tier: Tier::T0, needs, run: |_| Box::pin(async { Ok(()) }) }
    }

    fn caps() -> Capabilities {
        Capabilities {
            backend: "test".into(),
            version: "7".into(),
            architectures: vec![Arch::X86_64],
            features: BTreeSet::from([Feature::Console, Feature::Disk]),
            remedies: Default::default(),
            cautions: Default::default(),
            limits: Limits { vcpus: 1, memory: MiB(64), virtio_slots: None, disks: 1 },
            acceleration: Acceleration::Nested { evidence: "test".into() },
            power_off: PowerOff::Reset,
            isolation: IsolationPlan::default(),
        }
    }

    fn recorded(verdicts: &[(&'static str, Verdict)]) -> Option<Record> {
        let cases = [case("a", &[]), case("b", &[Feature::Disk]), case("c", &[Feature::Rng])];
        let mut matrix = Matrix::default();
        for (name, verdict) in verdicts {
            matrix.add("x", Tier::T0, name, verdict.clone());
        }
        matrix.record("x", &cases, &caps())
    }

    #[test]
    fn a_record_is_of_all_cases_and_of_no_failure() {
        let lacks = ("c", Verdict::NotDeclared(Feature::Rng));
        let of = |disk: Verdict| [("a", Verdict::Passed), ("b", disk), lacks.clone()];
        assert_eq!(recorded(&of(Verdict::Passed)[..2]), None);
        assert_eq!(recorded(&of(Verdict::Failed("how".into()))), None);
        let record = recorded(&of(Verdict::Passed)).unwrap();
        assert_eq!((record.passed, record.skipped), (2, 0));
        assert_eq!((&*record.version, &*record.acceleration), ("7", "nested"));
        let of_feature = |record: &Record, feature: Feature| record.features[feature.name()];
        assert_eq!(of_feature(&record, Feature::Disk), Found::Passed);
        assert_eq!(of_feature(&record, Feature::Rng), Found::NotDeclared);
        assert_eq!(of_feature(&record, Feature::Console), Found::Skipped);
        let record = recorded(&of(Verdict::Skipped("why".into()))).unwrap();
        assert_eq!((record.passed, record.skipped), (1, 1));
        assert_eq!(of_feature(&record, Feature::Disk), Found::Skipped);
    }
}
