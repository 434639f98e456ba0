//! Everything but `run` and `rootfs build`.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::process::Command;

use microagent_tests_cli::{Sandbox, tools};

/// SHA-256 of a file, by another program.
fn sum(path: &std::path::Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("run sha256sum");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn a_kernel_is_installed_listed_verified_and_used() {
    let Some(sandbox) = Sandbox::new() else { return };
    let kernel = sandbox.setting().kernel.clone();
    let path = kernel.to_str().unwrap();
    let call = |arguments: &[&str]| sandbox.call(arguments).without("MICROAGENT_KERNEL").output();
    call(&["kernel", "list"]).code(0);
    call(&["kernel", "verify"]).refuses(125, &["kernel"]);
    let wrong = "0".repeat(64);
    call(&["kernel", "install", "--from", path, "--sha256", &wrong])
        .refuses(125, &[&wrong, &sum(&kernel)]);
    call(&["kernel", "install", "--from", path, "--sha256", "12"]).refuses(125, &["12"]);
    call(&["kernel", "install", "--from", "/etc/passwd"]).refuses(125, &["/etc/passwd"]);
    call(&["kernel", "install", "--from", "/no/such"]).refuses(125, &["/no/such"]);
    call(&["kernel", "install", "--from", path, "--sha256", &sum(&kernel)]).code(0);
    let installed = sandbox.state().join("kernels/x86_64/vmlinux");
    assert_eq!(sum(&installed), sum(&kernel));
    call(&["kernel", "list"]).code(0).shows(&[installed.to_str().unwrap(), &sum(&kernel)[..12]]);
    call(&["kernel", "verify"]).code(0).shows(&[&sum(&kernel)]);
    let json = call(&["--json", "kernel", "list"]).json();
    assert_eq!(json["kernels"][0]["manifest"]["sha256"].as_str(), Some(&*sum(&kernel)), "{json}");
    // Runs find it from then on, and refuse it when it was changed.
    if let Some(image) = microagent_tests_cli::images::busybox() {
        let run = || sandbox.run(&["--image", &image.reference("plain"), "echo", "ran"]);
        run().without("MICROAGENT_KERNEL").output().code(0).prints("ran\n");
        let mut bytes = fs::read(&installed).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&installed, bytes).unwrap();
        run().without("MICROAGENT_KERNEL").output().refuses(125, &["SHA-256", &sum(&kernel)]);
    }
    call(&["kernel", "verify"]).refuses(125, &["SHA-256"]);
    call(&["kernel", "list"]).code(0).shows(&["SHA-256"]);
}

#[test]
fn profiles_and_versions_are_told_as_text_and_as_json() {
    let Some(sandbox) = Sandbox::new() else { return };
    let outcome = sandbox.call(&["profiles"]).output();
    let stdout = outcome.code(0).stdout();
    let table: Vec<Vec<_>> = stdout.lines().map(|l| l.split_whitespace().collect()).collect();
    for row in ["tiny 256 1 512", "small 512 2 1024", "medium 2048 2 8192", "large 4096 4 16384"] {
        assert!(table.contains(&row.split(' ').collect()), "no {row}: {stdout}");
    }
    let json = sandbox.call(&["profiles", "--json"]).output().json();
    let large =
        serde_json::json!({ "name": "large", "memory_mib": 4096, "cpus": 4, "size_mib": 16384 });
    assert_eq!(json["profiles"][3], large, "{json}");
    let version = sandbox.call(&["version"]).output();
    version.code(0).shows(&["microagent "]);
    let json = sandbox.call(&["version", "--json"]).output().json();
    let number = json["microagent"].as_str().unwrap();
    sandbox.call(&["--version"]).output().code(0).prints(&version.stdout());
    version.shows(&[number]);
    assert!(!sandbox.state().exists(), "telling makes nothing");
}

#[test]
fn completions_are_scripts_that_shells_read() {
    let Some(sandbox) = Sandbox::new() else { return };
    for shell in ["bash", "zsh", "fish"] {
        let outcome = sandbox.call(&["completion", shell]).output();
        outcome.code(0).is_silent().shows(&["microagent", "size-mib"]);
        assert!(!outcome.stdout().contains("cap-add"), "hidden flags are completed");
    }
    if tools(&["bash"]) {
        let script = sandbox.write("bash", sandbox.call(&["completion", "bash"]).output().stdout);
        let status = Command::new("bash").arg("-n").arg(script).status().unwrap();
        assert!(status.success());
    }
    sandbox.call(&["completion", "tcsh"]).output().code(2).says(&["tcsh"]);
}

#[test]
fn help_names_every_flag_and_goes_to_standard_output() {
    let Some(sandbox) = Sandbox::new() else { return };
    let help = sandbox.call(&["run", "--help"]).output();
    help.code(0).is_silent();
    for flag in [
        "--image",
        "--exec",
        "--setup",
        "--entrypoint",
        "--shell",
        "--hostname",
        "--env",
        "--env-file",
        "--user",
        "--workdir",
        "--name",
        "--kernel",
        "--state-dir",
        "--profile",
        "--memory",
        "--cpus",
        "--size-mib",
        "--timeout",
        "--keep",
        "--rm",
        "--mke2fs",
        "--supervisor",
        "--pull",
        "--interactive",
        "--tty",
        "--mediation",
        "--mediation-optional",
        "--trace",
        "--dry-run",
        "--json",
        "--quiet",
        "--verbose",
    ] {
        assert!(help.stdout().contains(flag), "no {flag}: {}", help.text());
    }
    for command in [
        "run",
        "image",
        "rootfs",
        "kernel",
        "backends",
        "doctor",
        "compare",
        "perf",
        "profiles",
        "completion",
        "version",
    ] {
        sandbox.call(&["--help"]).output().code(0).shows(&[command]);
    }
}

#[test]
fn output_that_nobody_reads_is_no_crash() {
    let Some(sandbox) = Sandbox::new() else { return };
    let (reader, writer) = std::io::pipe().expect("make a pipe");
    drop(reader);
    let call = sandbox.call(&["completion", "bash"]);
    let output =
        call.command().stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
}
