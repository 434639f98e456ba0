//! Workspaces that last: made, started, used by many, halted and removed.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::time::Duration;

use microagent_tests_cli::images::busybox;
use microagent_tests_cli::{Kept, Sandbox, mentioning, until};
use rustix::process::Signal;

#[test]
fn a_workspace_is_made_started_used_halted_and_started_again() {
    let Some(image) = busybox() else { return };
    let Some(kept) = Kept::new(image, &[]) else { return };
    assert_eq!(kept.state(), "created");
    assert_eq!(kept.json("start")["workspace"], kept.name.as_str());
    // No need to wait: what is run waits until it can be.
    kept.exec(&["sh", "-c", "echo here >/kept; echo out; echo err >&2; exit 7"])
        .output()
        .code(7)
        .prints("out\n");
    assert_eq!(kept.state(), "running");
    kept.of("start", &["--wait"]).output().code(0);
    kept.of("halt", &[]).output().code(0);
    assert_eq!(kept.state(), "stopped");
    assert!(mentioning(&kept.sandbox.workspace(&kept.name)).is_empty());
    assert!(!kept.sandbox.workspace(&kept.name).join("run").exists());
    // Each is as often as one likes.
    kept.of("halt", &[]).output().code(0);
    kept.of("kill", &[]).output().code(0);
    kept.exec(&["true"]).output().refuses(125, &["stopped", &kept.name]);
    kept.of("start", &["--wait"]).output().code(0);
    kept.exec(&["cat", "/kept"]).output().code(0).prints("here\n");
    kept.of("kill", &[]).output().code(0);
    assert_eq!(kept.state(), "stopped");
}

#[test]
fn many_commands_run_at_once_each_with_streams_of_its_own() {
    let Some(image) = busybox() else { return };
    let Some(kept) = Kept::new(image, &[]) else { return };
    kept.of("start", &["--wait"]).output().code(0);
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let line = format!("cat; echo e{number} >&2; exit {number}");
            let input = format!("{number}\n").repeat(50_000);
            (
                number,
                input.clone(),
                kept.of("exec", &["-i"]).args(&["sh", "-c", &line]).reads(input),
            )
        })
        .collect();
    let live: Vec<_> = calls.into_iter().map(|(n, input, call)| (n, input, call.start())).collect();
    for (number, input, live) in live {
        let outcome = live.finish();
        outcome.code(number).says(&[&format!("e{number}")]);
        assert!(outcome.stdout == input.as_bytes(), "{} bytes", outcome.stdout.len());
    }
    let object = kept.of("exec", &["--json"]).args(&["echo", "hi"]).output().code(0).json();
    assert_eq!(object["result"]["stdout"], "hi\n");
    assert_eq!(object["result"]["exit_code"], 0);
}

#[test]
fn signals_go_to_the_command_and_a_killed_client_hangs_it_up() {
    let Some(image) = busybox() else { return };
    let Some(kept) = Kept::new(image, &[]) else { return };
    kept.of("start", &["--wait"]).output().code(0);
    let block = "mkfifo /tmp/$0; echo ready; while :; do read x < /tmp/$0; done";
    let line = format!("trap 'echo trapped; exit 9' INT; {block}");
    let mut live = kept.exec(&["sh", "-c", &line, "a"]).start();
    live.wait_for("ready\n");
    live.signal(Signal::INT);
    live.finish().code(9).shows(&["trapped\n"]);
    let line = format!("trap 'echo >/hung-up; exit' HUP; {block}");
    let mut live = kept.exec(&["sh", "-c", &line, "b"]).start();
    live.wait_for("ready\n");
    live.signal(Signal::KILL);
    let hung_up = || match kept.exec(&["test", "-e", "/hung-up"]).output().status.code() {
        Some(0) => Ok(()),
        code => Err(format!("{code:?}")),
    };
    until(Duration::from_secs(30), hung_up).unwrap();
    kept.of("exec", &["--timeout", "1"]).args(&["sleep", "100"]).output().code(124);
}

#[test]
fn setup_runs_once_and_its_command_is_the_workspaces_life() {
    let Some(image) = busybox() else { return };
    let more = ["--setup", "echo set up >>/log", "--exec", "echo began; read x </fifo; exit 3"];
    let sandbox = Sandbox::new();
    let Some(sandbox) = sandbox else { return };
    let name = sandbox.new_name();
    let image = image.reference("plain");
    let create = ["create", "--image", &image, "--name", &name, "--setup", "mkfifo /fifo"];
    sandbox.call(&create).args(&more).output().code(0);
    for round in 1..3 {
        sandbox.call(&["start", "--wait", &name]).output().code(0);
        let log = sandbox.call(&["exec", &name, "cat", "/log"]).output();
        log.code(0).prints("set up\n");
        let follows = sandbox.call(&["logs", "--follow", &name]).start();
        let waits = sandbox.call(&["wait", &name]).start();
        sandbox.call(&["exec", &name, "sh", "-c", "echo >/fifo"]).output();
        waits.finish().code(3).prints("stopped\n");
        follows.finish().code(0).prints(&"began\n".repeat(round));
        let object = sandbox.call(&["result", "--json", &name]).output().code(0).json();
        assert_eq!(object["result"]["exit_code"], 3);
    }
    let events = sandbox.call(&["events", &name]).output();
    let states: Vec<_> = events.code(0).stdout().lines().map(state_of).collect();
    let round = ["starting", "running", "stopping", "stopped"];
    assert_eq!(states, [&["created"][..], &round, &round].concat());
    sandbox.call(&["delete", &name]).output().code(0);
}

#[test]
fn a_setup_that_fails_is_a_workspace_that_failed() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let name = sandbox.new_name();
    let image = image.reference("plain");
    let create = ["create", "--image", &image, "--name", &name, "--setup", "exit 5"];
    sandbox.call(&create).output().code(0);
    let outcome = sandbox.call(&["start", "--wait", &name]).output();
    outcome.refuses(125, &["setup 1 'exit 5' exited with 5"]);
    let object = sandbox.call(&["status", "--json", &name]).output().code(0).json();
    assert_eq!(object["state"], "failed");
    sandbox.call(&["delete", &name]).output().code(0);
}

#[test]
fn what_is_up_is_not_removed_unless_by_force() {
    let Some(image) = busybox() else { return };
    let Some(kept) = Kept::new(image, &[]) else { return };
    let again = kept.of("create", &["--image", &image.reference("plain"), "--name"]).output();
    again.refuses(125, &["exists already", &kept.name]);
    kept.of("start", &[]).output().code(0);
    kept.of("delete", &[]).output().refuses(125, &[&kept.name, "is not removed"]);
    kept.of("rm", &["-f"]).output().code(0);
    kept.of("rm", &[]).output().code(0);
    kept.of("status", &[]).output().refuses(125, &["there is no workspace", &kept.name]);
    let listed = kept.sandbox.call(&["ls"]).output();
    assert!(!listed.code(0).stdout().contains(&kept.name), "{}", listed.text());
}

#[test]
fn a_paused_workspace_does_nothing_until_it_is_resumed() {
    let Some(image) = busybox() else { return };
    let Some(kept) = Kept::new(image, &[]) else { return };
    kept.of("pause", &[]).output().refuses(125, &["created", "cannot be paused"]);
    kept.of("start", &["--wait"]).output().code(0);
    kept.of("pause", &[]).output().code(0);
    assert_eq!(kept.json("pause")["state"], "paused");
    kept.exec(&["true"]).output().refuses(125, &["paused"]);
    kept.of("start", &[]).output().refuses(125, &["paused"]);
    assert_eq!(kept.json("resume")["state"], "running");
    kept.exec(&["true"]).output().code(0);
    kept.of("pause", &[]).output().code(0);
    kept.of("halt", &[]).output().code(0);
    assert_eq!(kept.state(), "stopped");
}

fn signal_shim(kept: &Kept, signal: Signal) {
    let all = mentioning(&kept.sandbox.workspace(&kept.name));
    let shim = all.iter().find(|p| p.arguments.iter().any(|word| word == "shim")).unwrap();
    shim.signal(signal);
}

/// Kills the shim and waits until that is seen.
fn kill_shim(kept: &Kept) {
    signal_shim(kept, Signal::KILL);
    let failed = || match kept.state() {
        state if state == "failed" => Ok(()),
        state => Err(state),
    };
    until(Duration::from_secs(20), failed).unwrap();
}

#[test]
fn another_shim_takes_up_the_machine_of_one_that_was_killed() {
    let Some(image) = busybox() else { return };
    // What it says on the console is seen whether there is a shim or not.
    let line = "echo before; read x </one; echo meanwhile; echo meanwhile >/dev/console; \
                read x </two; echo after; exit 6";
    let command = ["--setup", "mkfifo /one /two", "--exec", line];
    let Some(kept) = Kept::new(image, &command) else { return };
    kept.of("start", &["--wait"]).output().code(0);
    let boot = ["cat", "/proc/sys/kernel/random/boot_id"];
    let before = kept.exec(&boot).output().code(0).stdout();
    let mut live = kept.exec(&["sh", "-c", "trap '' HUP; echo ready; sleep 1; echo >/one"]).start();
    live.wait_for("ready\n");
    kill_shim(&kept);
    live.finish().code(125).says(&["the guest ended before its command"]);
    kept.exec(&["true"]).output().refuses(125, &["failed"]);
    let console = kept.sandbox.workspace(&kept.name).join("run/machine/console.log");
    let said = || match fs::read_to_string(&console).unwrap_or_default() {
        text if text.contains("meanwhile") => Ok(()),
        text => Err(text),
    };
    until(Duration::from_secs(60), said).unwrap();
    kept.of("start", &["--wait"]).output().code(0);
    assert_eq!(kept.exec(&boot).output().code(0).stdout(), before);
    let waits = kept.of("wait", &[]).start();
    // It ends with the machine, which ends with what it wakes.
    kept.exec(&["sh", "-c", "echo >/two"]).output();
    waits.finish().code(6);
    kept.of("logs", &[]).output().code(0).prints("before\nmeanwhile\nafter\n");
}

#[test]
fn an_orphaned_machine_is_halted_in_order_or_ended() {
    let Some(image) = busybox() else { return };
    let Some(kept) = Kept::new(image, &[]) else { return };
    kept.of("start", &["--wait"]).output().code(0);
    kept.exec(&["sh", "-c", "echo here >/kept"]).output().code(0);
    kill_shim(&kept);
    kept.of("halt", &[]).output().code(0);
    assert_eq!(kept.state(), "stopped");
    kept.of("start", &["--wait"]).output().code(0);
    kept.exec(&["cat", "/kept"]).output().code(0).prints("here\n");
    kill_shim(&kept);
    let pruned = kept.sandbox.call(&["prune"]).output();
    pruned.code(0).prints(&format!("recovered {}\n", kept.name));
    assert!(mentioning(&kept.sandbox.workspace(&kept.name)).is_empty());
    assert_eq!(kept.state(), "failed");
}

#[test]
fn a_shim_that_hangs_is_killed_with_its_machine() {
    let Some(image) = busybox() else { return };
    let Some(kept) = Kept::new(image, &[]) else { return };
    kept.of("start", &["--wait"]).output().code(0);
    signal_shim(&kept, Signal::STOP);
    let waiting = [kept.of("halt", &[]).start(), kept.of("wait", &[]).start()];
    for live in waiting {
        live.finish().refuses(125, &["did not answer", &format!("microagent kill {}", kept.name)]);
    }
    kept.of("kill", &[]).output().code(0);
    assert!(mentioning(&kept.sandbox.workspace(&kept.name)).is_empty());
    assert_eq!(kept.state(), "failed");
    kept.of("start", &["--wait"]).output().code(0);
    kept.exec(&["true"]).output().code(0);
}

#[test]
fn a_kernel_that_is_another_is_refused_and_named() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let name = sandbox.new_name();
    let kernel = sandbox.file("kernel");
    fs::copy(&sandbox.setting().kernel, &kernel).unwrap();
    let image = image.reference("plain");
    let create = ["create", "--image", &image, "--name", &name];
    sandbox.call(&create).args(&["--kernel", kernel.to_str().unwrap()]).output().code(0);
    let mut bytes = fs::read(&kernel).unwrap();
    bytes.push(0);
    fs::write(&kernel, bytes).unwrap();
    let outcome = sandbox.call(&["start", "--wait", &name]).output();
    outcome.refuses(125, &["kernel", kernel.to_str().unwrap(), "is another", "--accept-changes"]);
    sandbox.call(&["start", "--wait", "--accept-changes", &name]).output().code(0);
    sandbox.call(&["exec", &name, "true"]).output().code(0);
    sandbox.call(&["delete", "-f", &name]).output().code(0);
}

fn state_of(line: &str) -> String {
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    event["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_copy_has_the_files_and_goes_its_own_way() {
    let Some(image) = busybox() else { return };
    let Some(kept) = Kept::new(image, &["--setup", "echo one >/file"]) else { return };
    let copy = kept.sandbox.new_name();
    kept.of("start", &["--wait"]).output().code(0);
    let clone = || kept.of("clone", &[]).args(&[&copy]).output();
    clone().refuses(125, &["is in use", &kept.name]);
    kept.of("halt", &[]).output().code(0);
    clone().code(0).prints(&format!("{copy}\n"));
    clone().refuses(125, &["exists already", &copy]);
    kept.sandbox.call(&["start", "--wait", &copy]).output().code(0);
    let line = ["exec", &copy, "sh", "-c", "cat /file; echo two >/file; hostname"];
    kept.sandbox.call(&line).output().code(0).prints(&format!("one\n{copy}\n"));
    kept.of("restart", &["--wait"]).output().code(0);
    kept.exec(&["cat", "/file"]).output().code(0).prints("one\n");
    let object = kept.json("stats");
    assert!(object["usage"]["shim_kib"].as_u64().unwrap() < 10 << 10, "{object}");
    kept.of("logs", &["--console"]).output().code(0);
    kept.sandbox.call(&["delete", "-f", &copy]).output().code(0);
}

#[test]
fn a_run_that_was_kept_is_a_workspace() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let image = image.reference("plain");
    let run = sandbox.run(&["--keep", "--image", &image, "--exec", "echo here >/kept; exit 4"]);
    let name = run.name().to_owned();
    run.output().code(4);
    let object = sandbox.call(&["status", "--json", &name]).output().code(0).json();
    assert_eq!(object["state"], "stopped");
    sandbox.call(&["wait", &name]).output().code(4);
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    sandbox.call(&["exec", &name, "cat", "/kept"]).output().code(0).prints("here\n");
    sandbox.call(&["kill", &name]).output().code(0);
    sandbox.call(&["prune", "--resting"]).output().code(0).shows(&[&format!("removed {name}")]);
}

#[test]
fn a_file_says_what_flags_do_not_and_a_policy_starts_it_again() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let name = sandbox.new_name();
    let reference = image.reference("plain");
    let line = "sh -c 'test -e /second && exec sleep 1000; touch /second; sync; exit 1'";
    let text = format!(
        "name: {name}\nimage: {reference}\nrestart: on-failure\nenv: {{A: b}}\n\
         entrypoint: \"{line}\"\n"
    );
    let path = sandbox.write("microagent.yaml", text);
    sandbox.call(&["create", "--file", path.to_str().unwrap()]).output().code(0);
    sandbox.call(&["start", &name]).output().code(0);
    let again = || {
        let object = sandbox.call(&["status", "--json", &name]).output().json();
        if object["state"] == "running" && object["restarts"] == 1 { Ok(()) } else { Err(object) }
    };
    until(Duration::from_secs(120), again).unwrap();
    sandbox.call(&["exec", &name, "sh", "-c", "echo $A"]).output().code(0).prints("b\n");
    sandbox.call(&["halt", &name]).output().code(0);
    sandbox.call(&["delete", &name]).output().code(0);
    let path = sandbox.write("microagent.yaml", "imag: x\n");
    let outcome = sandbox.call(&["create", "--file", path.to_str().unwrap()]).output();
    outcome.refuses(2, &["imag", "perhaps 'image'"]);
}

#[test]
fn the_console_is_shared_and_remembers_what_it_showed() {
    let Some(image) = busybox() else { return };
    let Some(kept) = Kept::new(image, &[]) else { return };
    kept.of("connect", &[]).output().refuses(125, &["created", "console"]);
    kept.of("start", &["--wait"]).output().code(0);
    let mut first = kept.of("connect", &[]).reads_later().start();
    first.write(b"echo $((40 + 2)); test -t 0 && echo is a terminal\n");
    first.wait_for("42\r\nis a terminal\r\n");
    let mut second = kept.of("connect", &[]).reads_later().start();
    // What was shown before it came.
    second.wait_for("is a terminal\r\n");
    kept.of("connect", &["--send", "echo $((50 + 3))"]).output().code(0);
    first.wait_for("53\r\n");
    second.wait_for("53\r\n");
    first.close_stdin();
    first.finish().code(0);
    second.write(b"echo $((60 + 4))\n");
    second.wait_for("64\r\n");
    second.write(b"exit\n");
    second.finish().code(0);
    let after = kept.of("connect", &[]).reads("").output();
    assert!(!after.code(0).stdout().contains("64"), "{}", after.text());
    kept.sandbox.call(&["snapshot", "list"]).output().refuses(2, &["not built yet"]);
}

#[test]
fn a_workspace_of_one_supervisor_finds_its_files_on_the_others() {
    let Some(image) = busybox() else { return };
    let Some(kept) = Kept::new(image, &[]) else { return };
    let mut supervisors = kept.sandbox.working_supervisors();
    supervisors.extend(std::env::var("MICROAGENT_QEMU10").ok().filter(|path| !path.is_empty()));
    let mut expect = String::new();
    // Once round, and back to the first.
    for supervisor in supervisors.iter().chain(supervisors.first()) {
        kept.of("start", &["--wait", "--supervisor", supervisor]).output().code(0);
        let line = format!("echo '{supervisor}' >>/trail; cat /trail");
        expect.push_str(&format!("{supervisor}\n"));
        kept.exec(&["sh", "-c", &line]).output().code(0).prints(&expect);
        kept.of("halt", &[]).output().code(0);
    }
}
