//! `unsafe` stands only where `ci/layers.toml` says, with a reason.

use microagent_tests_layers::{Layers, Source, root, sources};

// Written in two halves, so that this file does not find itself.
const WORD: &str = concat!("un", "safe");
const ALLOW: &str = concat!("allow(un", "safe_code)");

/// Whether `unsafe` is a word of its own in a line of code: not part of `unsafe_code`, and
/// not in a string.
fn says_unsafe(code: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '"' || c == '[';
    code.match_indices(WORD).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + WORD.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn uses(source: &Source) -> Vec<usize> {
    let uses = source.code().filter(|(_, code)| says_unsafe(code) || code.contains(ALLOW));
    uses.map(|(line, _)| line).collect()
}

#[test]
fn no_unsafe_but_in_the_places_listed() {
    let places = Layers::read().unwrap().unsafe_places;
    let elsewhere =
        |source: &&Source| !places.iter().any(|place| source.path.starts_with(&place.path));
    for source in sources().unwrap().iter().filter(elsewhere) {
        let lines = uses(source);
        assert!(lines.is_empty(), "{}: {WORD} in lines {lines:?}", source.path.display());
    }
}

#[test]
fn every_place_exists_and_says_why() {
    for place in Layers::read().unwrap().unsafe_places {
        assert!(root().join(&place.path).exists(), "{} does not exist", place.path.display());
        assert!(!place.reason.trim().is_empty(), "{} has no reason", place.path.display());
    }
}

#[test]
fn every_exception_for_a_single_file_is_needed() {
    let places = Layers::read().unwrap().unsafe_places;
    for place in places.iter().filter(|place| place.path.extension().is_some()) {
        let sources = sources().unwrap();
        let source = sources.iter().find(|s| s.path == place.path).unwrap();
        assert!(!uses(source).is_empty(), "{} needs no exception", place.path.display());
    }
}

#[test]
fn words_are_told_apart() {
    let yes = |code: &str| assert!(says_unsafe(&code.replace('@', WORD)), "{code}");
    let no = |code: &str| assert!(!says_unsafe(&code.replace('@', WORD)), "{code}");
    yes("@ { *p }");
    yes("let x = @{ *p };");
    yes("pub @ fn f()");
    no("deny(@_code)");
    no("\"@\"");
    no("let not_@ = 1;");
}
