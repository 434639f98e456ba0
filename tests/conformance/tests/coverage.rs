//! What is declared is exercised: no feature without a case.

use std::collections::BTreeSet;

use microagent_conformance::cases;
use microagent_machine::Feature;
use microagent_tests_conformance::{runtime, wired};

/// Features that no case exercises yet. Nobody may declare one of them.
const NOT_YET: [Feature; 2] = [Feature::BootBzimage, Feature::Vsock];

fn exercised() -> BTreeSet<Feature> {
    cases().iter().flat_map(|case| case.needs).copied().collect()
}

#[test]
fn every_feature_is_exercised_or_known_not_to_be() {
    let mut expect: BTreeSet<_> = Feature::ALL.iter().copied().collect();
    for feature in NOT_YET {
        expect.remove(&feature);
    }
    assert_eq!(exercised(), expect);
}

#[test]
fn what_a_backend_declares_is_exercised() {
    for wired in wired() {
        let Ok(backend) = wired.backend else { continue };
        let Ok(caps) = runtime().unwrap().block_on(backend.probe()) else { continue };
        let idle: Vec<_> = caps.features.difference(&exercised()).copied().collect();
        assert!(idle.is_empty(), "{} declares {idle:?}, which no case exercises", wired.name);
    }
}
