//! What is declared is exercised: no feature without a case. And the example stays one that is
//! read at a sitting.

use std::collections::BTreeSet;

use microagent_conformance::cases;
use microagent_machine::Feature;
use microagent_tests_conformance::{runtime, wired};

fn exercised() -> BTreeSet<Feature> {
    cases().iter().flat_map(|case| case.needs).copied().collect()
}

#[test]
fn every_feature_is_exercised() {
    let all: BTreeSet<_> = Feature::ALL.iter().copied().collect();
    assert_eq!(exercised(), all);
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

#[test]
fn the_example_of_a_supervisor_is_short() {
    let example = include_str!("../../../docs/examples/supervisor.py");
    assert!(example.lines().count() <= 60, "{} lines", example.lines().count());
}
