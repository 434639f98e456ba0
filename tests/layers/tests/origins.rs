//! Where dependencies come from, and under which licences.

use cargo_metadata::{Metadata, MetadataCommand};
use microagent_tests_layers::root;

/// What may be given away with a program under Apache-2.0 without asking anybody.
const LICENCES: [&str; 9] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

fn dependencies() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).other_options(["--locked".to_owned()]);
    command.exec().expect("cargo metadata")
}

/// Whether an SPDX expression, or a list in the older form with slashes, lets us choose only
/// licences of the list. Every alternative is taken to end at an `AND`.
fn is_allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain.split(" AND ").all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn expressions_are_understood() {
    let check = |text: &str, expect: bool| assert_eq!(is_allowed(text), expect, "{text}");
    check("MIT", true);
    check("GPL-3.0-only", false);
    check("GPL-3.0-only OR MIT", true);
    check("GPL-3.0-only/MIT", true);
    check("GPL-3.0-only AND MIT", false);
    check("(GPL-3.0-only OR Apache-2.0) AND Unicode-3.0", true);
    check("", false);
}

#[test]
fn dependencies_are_released_and_their_licences_let_us_give_them_away() {
    let metadata = dependencies();
    let foreign = metadata.packages.iter().filter(|package| package.source.is_some());
    let refused: Vec<_> = foreign
        .filter(|package| {
            let released = package.source.as_ref().is_some_and(|from| from.is_crates_io());
            let licence = package.license.as_deref().unwrap_or_default();
            !released || !is_allowed(licence)
        })
        .map(|package| format!("{} {:?} {:?}", package.name, package.license, package.source))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
