//! Requests that make no sense: refused by name and value, before anything is made.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::{Outcome, Sandbox};

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

/// That there is no state directory; removes it if there is.
fn nothing_was_made(sandbox: &Sandbox, outcome: &Outcome) -> Result<(), String> {
    if !sandbox.state().exists() {
        return Ok(());
    }
    let _ = std::fs::remove_dir_all(sandbox.state());
    Err(format!("a state directory was made: {}", outcome.text()))
}

/// Fails with everything that went wrong in a table of cases.
fn assert_all(results: impl Iterator<Item = Result<(), String>>) {
    let wrong: Vec<_> = results.filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{} cases went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every line: arguments after `run --image IMAGE`, and what the refusal must name.
const REFUSED: &[(&[&str], &[&str])] = &[
    (&["--exec", "x", "y"], &["--exec"]),
    (&["--exec", "x", "--entrypoint", "y"], &["--exec", "--entrypoint"]),
    (&["--no-such-flag"], &["--no-such-flag"]),
    (&["--entrypoint", "a 'b"], &["--entrypoint", "a 'b"]),
    (&["--shell", "sh", "--exec", "x"], &["--shell", "sh", "absolute"]),
    (&["--shell", "", "--exec", "x"], &["--shell"]),
    (&["--workdir", "relative", "x"], &["--workdir", "relative", "absolute"]),
    (&["--hostname", "a_b", "x"], &["--hostname", "a_b"]),
    (&["--hostname", "", "x"], &["--hostname"]),
    (&["--hostname=-a", "x"], &["--hostname", "-a"]),
    (&["--name", "../escape", "x"], &["../escape"]),
    (&["--name", "", "x"], &["name"]),
    (&["--name", "a/b", "x"], &["a/b"]),
    (&["--name", ".hidden", "x"], &[".hidden"]),
    (&["--env", "=value", "x"], &["=value"]),
    (&["--env-file", "/no/such/file", "x"], &["--env-file", "/no/such/file"]),
    (&["--env-file", "/", "x"], &["--env-file", "/"]),
    (&["--profile", "huge", "x"], &["huge", "tiny", "small", "medium", "large"]),
    (&["--memory", "lots", "x"], &["--memory", "lots"]),
    (&["--memory", "0", "x"], &["--memory", "0"]),
    (&["--memory", "-5", "x"], &["-5"]),
    (&["--memory", "512MB5", "x"], &["512MB5"]),
    (&["--memory", "99999999G", "x"], &["99999999G"]),
    (&["--cpus", "0", "x"], &["0 vCPUs"]),
    (&["--cpus", "9999", "x"], &["9999"]),
    (&["--cpus", "two", "x"], &["--cpus", "two"]),
    (&["--size-mib", "0", "x"], &["--size-mib", "0"]),
    (&["--size-mib", "1.5", "x"], &["--size-mib", "1.5"]),
    (&["--timeout", "0", "x"], &["--timeout", "0"]),
    (&["--timeout", "soon", "x"], &["--timeout", "soon"]),
    (&["--timeout", "-1", "x"], &["-1"]),
    (&["--keep", "--rm", "x"], &["--keep", "--rm"]),
    (&["--pull", "sometimes", "x"], &["--pull", "sometimes", "missing"]),
    (&["--platform", "linux/arm64", "x"], &["linux/arm64", "linux/amd64"]),
    (&["--platform", "windows/amd64", "x"], &["windows/amd64"]),
    (&["--supervisor", "nonsense", "x"], &["nonsense", "qemu"]),
    (&["--supervisor", "", "x"], &["supervisor"]),
    (&["--supervisor", "kvm:speed=9", "x"], &["speed", "emulated=refuse|allow"]),
    (&["--supervisor", "cloud-hypervisor:accel=tcg", "x"], &["cloud-hypervisor", "accel"]),
    (&["--supervisor", "qemu:colour=blue", "x"], &["colour", "accel"]),
    (&["--supervisor", "qemu:accel=magic", "x"], &["magic", "kvm", "tcg"]),
    (&["--supervisor", "auto:accel=tcg", "x"], &["auto", "accel=tcg"]),
    (&["--mke2fs", "/no/such/mke2fs", "x"], &["--mke2fs", "/no/such/mke2fs"]),
    (&["--mediation", "5000", "x"], &["--mediation", "5000", "HOST:PORT"]),
    (&["--mediation", "1024=h:1", "x"], &["--mediation", "1024", "agent"]),
    (&["--mediation", "0=h:1", "x"], &["'0'", "4294967294"]),
    (&["--mediation", "4294967295=h:1", "x"], &["4294967295", "4294967294"]),
    (&["--mediation", "70000=h:1,listen", "x"], &["70000", "65535"]),
    (&["--mediation", "5000=h:0", "x"], &["h:0", "HOST:PORT"]),
    (&["--mediation", "5000=h:1,speak", "x"], &["speak", "listen"]),
    (&["--mediation", "5000=h:1", "--mediation", "5001=h:1", "x"], &["--mediation", "multiple"]),
    (&["--mediation-optional", "x"], &["--mediation"]),
    (&["-it", "x"], &["--tty", "--interactive", "terminal"]),
    (&["-q", "-v", "x"], &["--quiet", "--verbose"]),
    (&["--disk", "/x:/y:ro", "x"], &["--disk", "name"]),
    (&["-v", "/etc:/guest", "x"], &["/etc:/guest", "directories of the host", "--bundle"]),
    (&["--volume", "/etc:/guest:ro", "x"], &["/etc:/guest:ro", "--bundle"]),
    (&["-v", "/no/such:/guest", "x"], &["/no/such"]),
    (&["--volume", "data", "x"], &["--volume", "data"]),
    (&["--volume", "data:x", "x"], &["'x'", "absolute"]),
    (&["-v", "data:/x", "x"], &["no volume 'data'", "volume create data"]),
    (&["--output", "n=/x", "x"], &["--output-dir", "--keep"]),
    (&["--output-dir", "/x", "x"], &["--output-dir", "--output NAME"]),
    (&["--output", "n=x", "--keep", "x"], &["'x'", "absolute"]),
    (&["--output", "/x", "--keep", "x"], &["/x", "no name"]),
    (&["--output", "../n=/x", "--keep", "x"], &["../n"]),
    (&["--output", "n=/x", "--output", "n=/y", "--keep", "x"], &["'n'"]),
    (&["--bundle", "n=/x:/y:ro,keep", "x"], &["--bundle", "n=/x:/y:ro,keep"]),
    (&["--disk", "n=/x:/y", "x"], &["--disk", "n=/x:/y"]),
    (&["--disk", "n=/x:y:ro", "x"], &["'y'", "absolute"]),
    (&["--disk", "n=/x:/a/../y:ro", "x"], &["/a/../y"]),
    (&["--disk", "n=/x:/proc/y:ro", "x"], &["/proc/y"]),
    (&["--disk", "scratch=/x:/y:ro", "x"], &["scratch"]),
    (&["--disk", "a=/x:/y:ro", "--disk", "a=/z:/w:ro", "x"], &["'a'"]),
    (&["--disk", "a=/x:/y:ro", "--disk", "b=/z:/y:ro", "x"], &["/y"]),
];

/// Habits from containers, and flags that are to come: one line that says what to do.
const FOREIGN: &[&[&str]] = &[
    &["--privileged"],
    &["--device", "/dev/kvm"],
    &["--cap-add", "SYS_ADMIN"],
    &["--cap-drop", "ALL"],
    &["--pid", "host"],
    &["--ipc", "host"],
    &["--userns", "host"],
    &["--security-opt", "seccomp=unconfined"],
    &["--gpus", "all"],
    &["--mount", "type=bind,src=/,dst=/x"],
    &["--detach"],
    &["-d"],
];

/// References that are none, or name nothing that is there.
const REFERENCES: &[(&str, i32, &[&str])] = &[
    ("", 2, &["image"]),
    ("some/UPPER", 2, &["some/UPPER"]),
    ("a b", 2, &["a b"]),
    ("name:bad tag", 2, &["bad tag"]),
    ("name@sha256:short", 2, &["sha256:short"]),
    ("name@md5:00", 2, &["md5"]),
    ("host:port:too:many/x", 2, &["host:port:too:many/x"]),
    ("oci:", 2, &["oci:"]),
    ("oci:/no/such/dir", 125, &["/no/such/dir"]),
    ("oci:/dev/null", 125, &["/dev/null"]),
    ("oci-archive:/no/such/file", 125, &["/no/such/file"]),
    ("docker-archive:/no/such/file", 125, &["/no/such/file"]),
    ("docker-archive:/dev/null", 125, &["/dev/null"]),
    ("127.0.0.1:1/nobody/listens:x", 125, &["127.0.0.1:1"]),
];

#[test]
fn flags_that_make_no_sense_are_refused_before_anything_is_made() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    assert_all(REFUSED.iter().map(|(arguments, named)| {
        let outcome = sandbox.call(&["run", "--image", &image]).args(arguments).output();
        let made = nothing_was_made(&sandbox, &outcome);
        outcome.refusal(2, named).and(made)
    }));
}

#[test]
fn foreign_and_future_flags_say_what_to_do() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    assert_all(FOREIGN.iter().map(|arguments| {
        let outcome =
            sandbox.call(&["run", "--image", &image]).args(arguments).args(&["x"]).output();
        let made = nothing_was_made(&sandbox, &outcome);
        let stderr = outcome.stderr();
        let known = stderr.contains("does not apply") || stderr.contains("not built yet");
        let known = if known { Ok(()) } else { Err(outcome.text()) };
        outcome.refusal(2, &["hint:"]).and(made).and(known)
    }));
}

#[test]
fn references_that_name_nothing_are_refused() {
    let Some((sandbox, _)) = parts() else { return };
    assert_all(REFERENCES.iter().map(|(reference, code, named)| {
        let outcome = sandbox.run(&["--image", reference, "--exec", "x"]).output();
        let left = sandbox.leftovers().map_err(|left| format!("left behind: {left}"));
        let made = nothing_was_made(&sandbox, &outcome);
        let made = if *code == 2 { made } else { Ok(()) };
        outcome.refusal(*code, named).and(left).and(made)
    }));
}

#[test]
fn an_image_must_be_named() {
    let Some((sandbox, _)) = parts() else { return };
    for arguments in [&["run"][..], &["run", "--exec", "x"], &["run", "--json"]] {
        let outcome = sandbox.call(arguments).output();
        outcome.code(2);
        assert!(outcome.text().contains("image"), "{}", outcome.text());
        assert_eq!(nothing_was_made(&sandbox, &outcome), Ok(()));
    }
    sandbox.call(&[]).output().code(2);
    sandbox.call(&["no-such-command"]).output().code(2).says(&["no-such-command"]);
}

#[test]
fn a_dry_run_tells_the_plan_and_makes_nothing() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let outcome = sandbox.run(&["--dry-run", "--image", &image, "--exec", "echo never"]).output();
    outcome.code(0).shows(&[&image, sandbox.setting().backend(), "512", "vmlinux"]);
    assert_eq!(nothing_was_made(&sandbox, &outcome), Ok(()));
    let outcome = sandbox.run(&["--dry-run", "--json", "--image", &image, "true"]).output();
    outcome.code(0).is_silent();
    let json = outcome.json();
    assert_eq!(json["machine"]["memory"], 512, "{json}");
    assert_eq!(nothing_was_made(&sandbox, &outcome), Ok(()));
    // With the image here it says what would run, and still makes nothing.
    sandbox.run(&["--image", &image, "true"]).output().code(0);
    let before = tree(&sandbox);
    let outcome = sandbox.run(&["--dry-run", "--image", &image, "--exec", "echo never"]).output();
    outcome.code(0).shows(&["/bin/sh -c", "echo never", "sha256:"]);
    assert_eq!(tree(&sandbox), before);
    // What a run would refuse, it refuses.
    sandbox.run(&["--dry-run", "--image", &image, "--cpus", "999"]).output().refuses(2, &["999"]);
    let bad = ["--dry-run", "--image", &image, "--kernel", "/etc/passwd", "true"];
    sandbox.run(&bad).output().refuses(125, &["/etc/passwd"]);
}

fn files(dir: &std::path::Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

fn tree(sandbox: &Sandbox) -> Vec<String> {
    let output = std::process::Command::new("find")
        .arg(sandbox.state())
        .args(["-printf", "%p %s %T@\n"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn kernels_that_are_none_are_told_for_what_they_are() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    // An arm64 `Image`: code, then `ARM\x64` at offset 56.
    let mut arm64 = vec![0; 4096];
    arm64[56..60].copy_from_slice(b"ARM\x64");
    let program = std::fs::read("/bin/true").unwrap();
    let directory = sandbox.file("directory");
    std::fs::create_dir(&directory).unwrap();
    let cases: [(String, &str); 8] = [
        (sandbox.write("text", "hello\n").display().to_string(), "no kernel"),
        (sandbox.write("empty", "").display().to_string(), "empty"),
        (sandbox.write("arm64", arm64).display().to_string(), "arm64 kernel on an x86_64 host"),
        (sandbox.write("program", program).display().to_string(), "program"),
        (sandbox.write("gzip", [0x1f, 0x8b, 8, 0]).display().to_string(), "gzip"),
        (directory.display().to_string(), "directory"),
        ("/no/such/kernel".to_owned(), "/no/such/kernel"),
        ("/dev/zero".to_owned(), "/dev/zero"),
    ];
    for (path, named) in cases {
        let run = sandbox.run(&["--image", &image, "--kernel", &path, "--exec", "x"]);
        let outcome = run.start().finish_within(std::time::Duration::from_secs(20));
        outcome.refuses(125, &[&path, named]);
        // Nobody waits for an image and a root disk to be told that there is no kernel.
        assert_eq!(files(&sandbox.state().join("images/bases")), 0, "{}", outcome.text());
    }
    let run = sandbox.run(&["--image", &image, "--exec", "x"]).without("MICROAGENT_KERNEL");
    run.output().refuses(125, &["no guest kernel", "microagent kernel build"]);
}

#[test]
fn truncated_kernels_are_refused_or_fail_in_time() {
    let Some((sandbox, image)) = parts() else { return };
    let kernel = std::fs::read(&sandbox.setting().kernel).unwrap();
    for length in [64, 4096, kernel.len() / 2] {
        let path = sandbox.write("truncated", &kernel[..length]);
        let arguments = ["--image", &image.reference("plain"), "--kernel", path.to_str().unwrap()];
        let run = sandbox.run(&arguments).args(&["--timeout", "60", "true"]);
        let outcome = run.start().finish_within(std::time::Duration::from_secs(90));
        outcome.refuses(125, &[]);
    }
}

#[test]
fn a_workspace_that_is_not_there_is_125_for_all_commands_but_delete() {
    let Some(sandbox) = Sandbox::new() else { return };
    let mut lines: Vec<Vec<&str>> = vec![
        vec!["exec", "none", "true"],
        vec!["clone", "none", "copy"],
        vec!["artifacts", "list", "none"],
        vec!["artifacts", "get", "none"],
        vec!["cp", "none:/x", "x"],
        vec!["cp", "/dev/null", "none:/x"],
    ];
    let one = "start connect halt stop kill pause resume restart wait result logs events stats status \
               inspect";
    lines.extend(one.split_whitespace().map(|command| vec![command, "none"]));
    for line in lines {
        sandbox.call(&line).output().refuses(125, &["there is no workspace 'none'"]);
        if line[0] == "connect" {
            continue;
        }
        let object = sandbox.call(&["--json"]).args(&line).output().code(125).json();
        assert_eq!(object["error"]["kind"], "not_found", "{line:?}");
    }
    sandbox.call(&["delete", "none"]).output().code(0);
}
