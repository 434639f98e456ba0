//! What of the style can be counted.

use microagent_tests_layers::{Source, root, sources};

/// A file longer than this must say why.
const LONG: usize = 800;
/// How its module doc says so.
const REASON: &str = "One file because";
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "manager", "inner"];

fn failures(check: impl Fn(&Source) -> Option<String>) -> Vec<String> {
    let with_path = |s: &Source| check(s).map(|what| format!("{}: {what}", s.path.display()));
    sources().expect("read the sources").iter().filter_map(with_path).collect()
}

fn name(source: &Source) -> &str {
    source.path.file_stem().and_then(|n| n.to_str()).expect("names of modules are UTF-8")
}

#[test]
fn long_files_say_why() {
    let found = failures(|source| {
        let lines = source.text.lines().count();
        let excused = source.module_doc().contains(REASON);
        (lines > LONG && !excused).then(|| format!("{lines} lines, and no '{REASON} ...'"))
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn modules_are_named_for_what_they_hold() {
    let found = failures(|source| {
        let names = source.path.iter().filter_map(|part| part.to_str());
        let mut names = names.map(|part| part.trim_end_matches(".rs"));
        let empty = names.find(|part| EMPTY_NAMES.contains(part) || *part == "mod");
        empty.map(|part| format!("'{part}' says nothing"))
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn lib_files_only_declare() {
    const BODIES: [&str; 6] = ["fn ", "pub fn ", "impl ", "impl<", "struct ", "enum "];
    let found = failures(|source| {
        let lib = name(source) == "lib" && source.path.iter().any(|part| part == "src");
        // Message types of one small crate may stand in its only file.
        let alone = source.path.starts_with("crates/vmm-protocol");
        let body = |(_, code): &(usize, &str)| {
            BODIES.iter().any(|body| code.trim_start().starts_with(body))
        };
        let line = source.code().find(body).filter(|_| lib && !alone);
        line.map(|(line, code)| format!("line {line}: {}", code.trim()))
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn every_module_says_what_it_is() {
    // A `tests.rs` is said to be by its name.
    let silent = |source: &Source| name(source) != "tests" && source.module_doc().is_empty();
    let found = failures(|source| silent(source).then(|| "no module doc".to_owned()));
    assert_eq!(found, [""; 0]);
}

#[test]
fn no_glob_reexports() {
    let found = failures(|source| {
        let glob = |code: &str| code.trim_start().starts_with("pub use") && code.contains("::*");
        let line = source.code().find(|(_, code)| glob(code));
        line.map(|(line, _)| format!("line {line}: a glob re-export"))
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn no_text_names_the_place_where_it_was_built() {
    let place = root().display().to_string();
    // A root such as `/src` is an ordinary word of guest paths and shows nothing.
    if root().components().count() < 3 {
        return;
    }
    let found = failures(|source| source.text.contains(&place).then(|| format!("names {place}")));
    assert_eq!(found, [""; 0]);
}
