//! What must not be anywhere below a package, third-party packages included.

use std::collections::BTreeSet;
use std::process::Command;

use microagent_tests_layers::{Layers, root};

/// The full names of a package and of all below it, as it is built on its own.
fn tree(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "-e", "normal", "--prefix", "none", "--format", "{p}", "-p"])
        .arg(format!("microagent-{package}"))
        .output()
        .expect("run cargo tree");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree -p microagent-{package}: {errors}");
    let text = String::from_utf8(output.stdout).expect("names are UTF-8");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn check(package: &str) {
    let layers = Layers::read().expect("ci/layers.toml");
    let rules: Vec<_> = layers.never.iter().filter(|rule| rule.package == package).collect();
    assert!(!rules.is_empty(), "ci/layers.toml has no [[never]] for {package}");
    let tree = tree(package);
    assert!(tree.contains(&format!("microagent-{package}")), "{tree:?}");
    for rule in rules {
        for name in &tree {
            let pattern = rule.pattern_for(name);
            assert!(pattern.is_none(), "{package} sees {name}, but: {}", rule.reason);
        }
    }
}

#[test]
fn workspace_sees_no_backend() {
    check("workspace");
}

#[test]
fn devices_see_no_kvm() {
    check("devices");
}

#[test]
fn the_monitor_has_no_tokio_tls_or_libloading() {
    check("vmm");
}

#[test]
fn the_guest_agent_stays_small() {
    check("guest-agent");
}

#[test]
fn every_rule_is_checked_and_says_why() {
    let checked = ["workspace", "devices", "vmm", "guest-agent"];
    for rule in Layers::read().unwrap().never {
        assert!(checked.contains(&rule.package.as_str()), "{} has no test here", rule.package);
        assert!(!rule.reason.trim().is_empty(), "{} has no reason", rule.package);
    }
}
