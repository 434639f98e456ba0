//! `--supervisor` with what is no hypervisor: supervisor executables, plugins, and files that
//! are neither.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::{Invocation, Outcome, Sandbox, mentioning, tools, until};

/// How long it may take to be told that a path is no supervisor.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);
/// A `--version` that ends at once, for scripts that do something else when they are asked.
const QUICK_VERSION: &str = "[ \"$1\" = --version ] && exit\n";

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

fn call(sandbox: &Sandbox, image: &Busybox, supervisor: &Path) -> Invocation {
    let (image, supervisor) = (image.reference("plain"), supervisor.to_str().unwrap());
    sandbox.run(&["--supervisor", supervisor, "--image", &image, "--exec", "echo ran"])
}

fn with(sandbox: &Sandbox, image: &Busybox, supervisor: &Path) -> Outcome {
    call(sandbox, image, supervisor).output()
}

/// Fails unless `path` is refused with one line that says `says`, in time, and nothing that
/// has to do with it is left.
fn refused(sandbox: &Sandbox, image: &Busybox, path: &Path, code: i32, says: &str) {
    let outcome = with(sandbox, image, path);
    outcome.refuses(code, &[path.to_str().unwrap(), says]);
    let lines = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let lines: Vec<_> = lines.lines().filter(|line| !line.starts_with("hint:")).collect();
    assert!(lines.len() == 1, "more than one line: {}", outcome.text());
    assert!(outcome.took < REFUSED_WITHIN, "took {:?}: {}", outcome.took, outcome.text());
    let gone = || match mentioning(path) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    };
    until(Duration::from_secs(2), gone).unwrap();
    assert!(!sandbox.state().exists(), "a state directory was made for {}", path.display());
}

fn script(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    sandbox.script(name, &format!("#!/bin/sh\n{text}\n"))
}

#[test]
fn what_does_not_speak_the_protocol_is_refused_in_time() {
    let Some((sandbox, image)) = parts() else { return };
    let check = |name: &str, text: &str, code: i32, says: &str| {
        let path = script(&sandbox, name, text);
        refused(&sandbox, image, &path, code, says);
    };
    let quick = |text: &str| format!("{QUICK_VERSION}{text}");
    check("hangs", "exec sleep 1000", 125, "--version within");
    check("hangs-later", &quick("sleep 1000"), 125, "did not answer 'probe' within");
    check("exits", "exit 3", 2, "exit status: 3");
    check("floods", "exec head -c 1073741824 /dev/zero", 2, "more than 1048576 bytes");
    check("floods-log", "exec head -c 1073741824 /dev/zero >&2", 2, "did not answer");
    check("half", &quick("printf '{\"protocol\":1,\"ok\"'"), 2, "EOF");
    check("two", &quick("echo '{\"protocol\":1,\"ok\":{}} {}'"), 2, "trailing characters");
    check("later", &quick("echo '{\"protocol\":2}'"), 2, "protocol version 2, expected 1");
    check("crashes", &quick("kill -SEGV $$"), 2, "signal: 11");
    refused(&sandbox, image, Path::new("/bin/true"), 2, "no hypervisor that is known");
    let text = sandbox.write("text", "hello\n");
    refused(&sandbox, image, &text, 2, "not executable");
    let directory = sandbox.file("directory");
    fs::create_dir(&directory).unwrap();
    refused(&sandbox, image, &directory, 2, "is a directory");
    refused(&sandbox, image, &sandbox.file("missing"), 2, "does not exist");
    refused(&sandbox, image, &sandbox.file("missing.so"), 2, "does not exist");
}

/// A plugin in C, which is what the ABI is said in.
fn plugin(sandbox: &Sandbox, name: &str, source: &str) -> PathBuf {
    const DECLARED: &str = "
        #include <stdint.h>
        #include <stddef.h>
        struct buffer { uint8_t *data; size_t len; };
        struct table {
            uint32_t version, size;
            int32_t (*call)(const uint8_t *, size_t, struct buffer *);
            void (*release)(struct buffer *);
        };
        static void release(struct buffer *b) { (void)b; }
    ";
    let code = sandbox.write(&format!("{name}.c"), format!("{DECLARED}{source}"));
    let path = sandbox.file(&format!("{name}.so"));
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&path).arg(&code).status();
    assert!(built.unwrap().success(), "{name}");
    path
}

#[test]
fn what_is_no_plugin_is_refused_in_time() {
    let Some((sandbox, image)) = parts() else { return };
    if !tools(&["cc"]) {
        return;
    }
    let check = |name: &str, source: &str, code: i32, says: &str| {
        let path = plugin(&sandbox, name, source);
        refused(&sandbox, image, &path, code, says);
    };
    let exported = |version: u32, size: &str, call: &str| {
        format!(
            "static int32_t call(const uint8_t *r, size_t n, struct buffer *b) {{ {call} }}
             const struct table microagent_plugin = {{ {version}, {size}, call, release }};"
        )
    };
    let whole = "sizeof(struct table)";
    check("no-symbol", "int other;", 2, "exports no 'microagent_plugin'");
    check("version", &exported(2, whole, "return 0;"), 2, "version 2, expected 1");
    check("size", &exported(1, "8", "return 0;"), 2, "8 bytes, expected 24 or more");
    check("code", &exported(1, whole, "return 7;"), 125, "the code 7");
    check("nothing", &exported(1, whole, "return 0;"), 125, "answered with 0 bytes");
    check("segfault", &exported(1, whole, "return *(volatile int *)0;"), 125, "signal: 11");
    check("exit", &exported(1, whole, "__builtin_trap();"), 125, "signal: 4");
    let early = "__attribute__((constructor)) static void f(void) { *(volatile int *)0 = 1; }";
    check("early", early, 125, "signal: 11");
    let half = "static uint8_t t[] = \"{\\\"protocol\\\":1\"; b->data = t; b->len = 13; return 0;";
    check("half", &exported(1, whole, half), 125, "does not know");
    let garbage = sandbox.write("garbage.so", "x");
    refused(&sandbox, image, &garbage, 2, "cannot be loaded");
}

/// A plugin that is a dependency of this package.
fn built(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().with_file_name(name)
}

#[test]
fn a_plugin_that_panics_is_a_failed_request() {
    let Some((sandbox, image)) = parts() else { return };
    let plugin = built("libmicroagent_panicking_plugin.so");
    refused(&sandbox, image, &plugin, 125, "the plugin panicked: no backend today");
}

#[test]
fn what_a_supervisor_cannot_do_is_refused_with_who_can() {
    let Some((sandbox, image)) = parts() else { return };
    if !tools(&["python3"]) {
        return;
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/supervisor.py");
    for path in [example, built("libmicroagent_fake_plugin.so")] {
        let outcome = call(&sandbox, image, &path).args(&["--cpus", "2"]).output();
        let lacking = ["vsock", "rng", "multiple-vcpus"].map(|f| format!("does not offer {f}"));
        let mut says: Vec<_> = lacking.iter().map(String::as_str).collect();
        says.extend(["vcpus: 2 asked for, at most 1 here", "qemu", "can: --supervisor"]);
        outcome.refuses(125, &says);
    }
}

#[test]
fn a_doctor_wants_a_supervisor_that_can_run_what_run_makes() {
    let Some((sandbox, _)) = parts() else { return };
    let doctor = sandbox.call(&["doctor", "--json"]);
    let plugin = built("libmicroagent_fake_plugin.so");
    let json = doctor.env("MICROAGENT_SUPERVISOR", plugin).output().code(1).json();
    let findings = json["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["name"] == "supervisor").unwrap();
    let detail = finding["detail"].as_str().unwrap();
    assert!(finding["verdict"] == "failed" && detail.contains("does not offer vsock"), "{finding}");
}

#[test]
fn a_doctor_says_that_a_supervisor_has_no_network() {
    let Some((sandbox, _)) = parts() else { return };
    let hosted = env!("CARGO_BIN_EXE_hosted-supervisor");
    let finding = || {
        let doctor = sandbox.call(&["doctor", "--json"]).env("MICROAGENT_SUPERVISOR", hosted);
        let json = doctor.output().code(0).json();
        let findings = json["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["name"] == "supervisor").unwrap().clone()
    };
    let found = finding();
    assert_eq!(found["verdict"], "degraded", "{found}");
    assert!(found["remedy"].as_str().unwrap().contains("--network isolated"), "{found}");
    fs::create_dir(sandbox.state()).unwrap();
    fs::set_permissions(sandbox.state(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(sandbox.state().join("config.toml"), "network = \"isolated\"\n").unwrap();
    let found = finding();
    assert_eq!(found["verdict"], "ok", "{found}");
}

#[test]
fn qemu_behind_the_protocol_runs_a_command() {
    let Some((sandbox, image)) = parts() else { return };
    let program = sandbox.setting().program.display();
    let text = format!("exec '{program}' supervise-backend qemu:accel=tcg");
    let path = script(&sandbox, "supervisor", &text);
    with(&sandbox, image, &path).code(0).prints("ran\n");
}

#[test]
fn the_flag_goes_over_the_environment_and_that_over_the_configuration() {
    let Some((sandbox, image)) = parts() else { return };
    fs::create_dir(sandbox.state()).unwrap();
    fs::set_permissions(sandbox.state(), fs::Permissions::from_mode(0o700)).unwrap();
    let config = sandbox.state().join("config.toml");
    fs::write(&config, "supervisor = \"from-config\"\n").unwrap();
    let image = image.reference("plain");
    let run = || sandbox.run(&["--image", &image, "--exec", "true"]);
    let says = |text: &str| format!("no supervisor '{text}'");
    run().without("MICROAGENT_SUPERVISOR").output().refuses(2, &[&says("from-config")]);
    let env = || run().env("MICROAGENT_SUPERVISOR", "from-env");
    env().output().refuses(2, &[&says("from-env")]);
    env().args(&["--supervisor", "from-flag"]).output().refuses(2, &[&says("from-flag")]);
}
