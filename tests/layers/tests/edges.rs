//! Who uses whom: exactly what `ci/layers.toml` says.

use std::collections::BTreeSet;

use microagent_tests_layers::{Layers, Workspace};

fn read() -> (Layers, Workspace) {
    (Layers::read().expect("ci/layers.toml"), Workspace::read().expect("cargo metadata"))
}

/// What is in `a` and not in `b`.
fn beyond(a: &BTreeSet<String>, b: Option<&BTreeSet<String>>) -> BTreeSet<String> {
    a.iter().filter(|name| !b.is_some_and(|b| b.contains(*name))).cloned().collect()
}

#[test]
fn every_package_is_in_the_table_and_every_row_is_a_package() {
    let (layers, workspace) = read();
    let mut rows: BTreeSet<&String> = layers.edges.keys().collect();
    rows.extend(&layers.tests.packages);
    let packages: BTreeSet<&String> = workspace.edges.keys().collect();
    assert_eq!(rows, packages, "left: ci/layers.toml, right: cargo metadata");
}

#[test]
fn no_edge_but_those_of_the_table() {
    let (layers, workspace) = read();
    let judged = workspace.edges.iter().filter(|(name, _)| !layers.tests.packages.contains(*name));
    for (name, used) in judged {
        let more = beyond(used, layers.edges.get(name));
        assert!(more.is_empty(), "{name} uses {more:?}: not allowed by ci/layers.toml");
    }
}

#[test]
fn tests_of_a_package_use_what_it_uses_or_what_is_listed() {
    let (layers, workspace) = read();
    let judged = workspace.dev.iter().filter(|(name, _)| !layers.tests.packages.contains(*name));
    for (name, used) in judged {
        let mut allowed = layers.edges.get(name).cloned().unwrap_or_default();
        allowed.extend(layers.dev.get(name).into_iter().flatten().cloned());
        let more = beyond(used, Some(&allowed));
        assert!(more.is_empty(), "tests of {name} use {more:?}: not in [dev] of ci/layers.toml");
    }
}

#[test]
fn nothing_uses_a_package_of_tests() {
    let (layers, workspace) = read();
    // Tests of tests may.
    let judged = workspace.edges.iter().filter(|(name, _)| !layers.tests.packages.contains(*name));
    for (name, used) in judged {
        let tests: Vec<_> = used.intersection(&layers.tests.packages).collect();
        assert!(tests.is_empty(), "{name} uses {tests:?}");
    }
}

#[test]
fn the_table_names_only_packages_that_there_are() {
    let (layers, workspace) = read();
    for (name, allowed) in layers.edges.iter().chain(&layers.dev) {
        let unknown: Vec<_> =
            allowed.iter().filter(|to| !workspace.edges.contains_key(*to)).collect();
        assert!(unknown.is_empty(), "{name} may use {unknown:?}, which do not exist");
    }
}

#[test]
fn the_edges_have_no_cycle() {
    let (_, workspace) = read();
    for name in workspace.edges.keys() {
        assert!(!workspace.below(name).contains(name), "{name} is below itself");
    }
}

#[test]
fn workspace_sees_no_backend() {
    let (_, workspace) = read();
    let below = workspace.below("workspace");
    for backend in ["fake", "qemu", "kvm", "vmm", "cloud-hypervisor"] {
        assert!(!below.contains(backend), "workspace sees {backend}");
    }
}
