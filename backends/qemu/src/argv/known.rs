//! Every argument is one that the QEMU at hand knows, by its own help.

use std::path::PathBuf;
use std::process::Command;

use super::tests::{boot, whole};
use super::{Facts, argv};
use crate::locate::locate;
use crate::options::WayOut;

/// The QEMUs at hand: the one of `PATH` and the one that `MICROAGENT_QEMU10` names.
fn programs() -> Vec<PathBuf> {
    let later = std::env::var_os("MICROAGENT_QEMU10").map(PathBuf::from);
    let programs: Vec<_> = locate(None).into_iter().chain(later).collect();
    if programs.is_empty() {
        let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
        assert!(!["qemu", "all"].iter().any(|name| required.contains(name)), "QEMU is required");
        eprintln!("SKIP: no qemu-system-x86_64 in PATH to check the arguments against");
    }
    programs
}

fn help(program: &PathBuf, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Checks `properties`, such as `a=1,b=2`, against lines such as `  a=<bool> - what it is`.
fn check_properties(properties: &str, help: &str, what: &str) {
    for property in properties.split(',').filter(|p| !p.is_empty() && !p.starts_with("id=")) {
        let (name, _) = property.split_once('=').unwrap();
        let known = help.lines().any(|line| line.trim_start().starts_with(&format!("{name}=")));
        assert!(known, "{what} does not know '{name}':\n{help}");
    }
}

#[test]
fn all_arguments_are_known() {
    for program in programs() {
        let all = help(&program, &["-help"]);
        for (kvm, way_out) in [(false, WayOut::Passt), (true, WayOut::Slirp)] {
            let facts = Facts { kvm, sandbox: true, way_out };
            let args = argv(&whole(), &boot(), &facts).unwrap();
            for (index, option) in args.iter().enumerate().filter(|(_, arg)| arg.starts_with('-')) {
                let known = all.lines().any(|line| line.split_whitespace().next() == Some(option));
                assert!(known, "{} does not know {option}", program.display());
                let value = args.get(index + 1).map_or("", String::as_str);
                let (kind, properties) = value.split_once(',').unwrap_or((value, ""));
                if ["-machine", "-device", "-object"].contains(&option.as_str()) {
                    let of_kind = format!("{kind},help");
                    let base: &[&str] = if option == "-device" { &["-M", "none"] } else { &[] };
                    let help = help(&program, &[base, &[option, &of_kind]].concat());
                    check_properties(properties, &help, kind);
                }
            }
        }
    }
}
