//! The commands of docs/tutorial.md, as they stand there.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use microagent_tests_cli::Sandbox;
use microagent_tests_cli::images::busybox;

/// The image that the page names, for which a small local one stands.
const NAMED: &str = "alpine:3";

struct Step {
    line: String,
    prints: Vec<String>,
}

/// What is typed in the page's console blocks, and what is printed then.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (line, line.strip_prefix("$ ")) {
            ("```console" | "```", _) => inside = line == "```console",
            (_, Some(typed)) if inside => {
                steps.push(Step { line: typed.to_owned(), prints: Vec::new() });
            }
            _ if inside => steps.last_mut().unwrap().prints.push(line.to_owned()),
            _ => {}
        }
    }
    steps
}

/// Whether a line is what the page says, `...` standing for anything.
fn is_as_said(line: &str, said: &str) -> bool {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, said) = (squeezed(line), squeezed(said));
    match said.split_once("...") {
        Some((before, after)) => line.starts_with(before.trim_end()) && line.ends_with(after),
        None => line == said,
    }
}

#[test]
fn every_command_of_the_tutorial_does_what_the_page_says() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tutorial.md");
    let steps = steps(&fs::read_to_string(path).unwrap());
    assert!(steps.len() > 20, "{} steps", steps.len());
    let program = sandbox.setting().program.parent().unwrap().to_owned();
    for Step { line, prints } in &steps {
        let typed = line.replace(NAMED, &image.reference("plain"));
        let typed = format!("PATH='{}':$PATH; {typed}", program.display());
        let outcome = sandbox.call(&[]).under(&["sh", "-c", &typed, "sh"]).output();
        assert!(outcome.stderr.is_empty(), "{}", outcome.text());
        let stdout = outcome.stdout();
        let anything = prints.iter().any(|said| said == "...");
        let lines: Vec<_> = stdout.lines().collect();
        assert!(anything || lines.len() == prints.len(), "{line}: {}", outcome.text());
        for (line, said) in lines.iter().zip(prints) {
            assert!(is_as_said(line, said), "{line:?} is not {said:?}: {}", outcome.text());
        }
    }
}
