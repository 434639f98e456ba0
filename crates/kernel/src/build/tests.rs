use super::*;

/// Runs a script of the test's in the place of the real one, which takes minutes.
fn run_script(text: &str) -> (Result<(), KernelError>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("build");
    write(&script, text).unwrap();
    let mut lines = Vec::new();
    let options = BuildOptions { source: Some("tree".into()) };
    let result = run(&script, Path::new("out"), &options, |line| lines.push(line.to_owned()));
    (result, lines)
}

#[test]
fn the_script_gets_its_arguments_and_its_lines_are_passed_on() {
    let (result, lines) = run_script("echo hidden; echo \"$@\" >&2; echo two >&2");
    result.unwrap();
    assert_eq!(lines, ["--out out --source tree", "two"]);
}

#[test]
fn a_failure_carries_the_status_and_the_last_lines() {
    let (result, _) = run_script("for i in {1..50}; do echo line $i >&2; done; exit 3");
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit status: 3"), "{text}");
    assert!(text.contains("line 50") && text.contains("line 31") && !text.contains("line 30"));
    assert!(error.hint().unwrap().contains("apt-get install linux-source"));
}

#[test]
fn a_script_that_never_stops_talking_is_stopped() {
    let (result, lines) = run_script("while echo 0123456789012345678901234567890 >&2; do :; done");
    // Whether it dies of its signal or of the failed write, it ends.
    assert!(lines.len() as u64 * 32 <= MAX_OUTPUT + 32);
    drop(result);
}

#[test]
fn the_embedded_configuration_asks_for_no_modules() {
    assert!(CONFIG.lines().any(|line| line == "CONFIG_MODULES=n"));
    assert!(!CONFIG.contains("=m\n"));
    assert!(SCRIPT.contains(CONFIG_NAME.trim_end_matches("x86_64.config")));
}
