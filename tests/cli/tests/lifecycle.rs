//! The ways a run can end before its time, and that nothing is left of it then.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::time::Duration;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::{Live, Outcome, Process, Sandbox, mentioning, until};
use rustix::process::Signal;

/// A run whose program was killed must be gone within this.
const GONE: Duration = Duration::from_secs(2);

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

/// A run of a line, once it has said `ready`.
fn ready(sandbox: &Sandbox, image: &Busybox, line: &str, more: &[&str]) -> Live {
    let arguments = ["--image", &image.reference("plain"), "--exec", line];
    let mut live = sandbox.run(&arguments).args(more).start();
    live.wait_for("ready\n");
    live
}

/// The processes of a run, apart from the program itself.
fn machine(sandbox: &Sandbox, live: &Live) -> Vec<Process> {
    let all = mentioning(&sandbox.workspace(live.name()));
    all.into_iter().filter(|process| process.pid != live.pid()).collect()
}

fn only(processes: &[Process], is: impl Fn(&Process) -> bool) -> &Process {
    let found: Vec<_> = processes.iter().filter(|process| is(process)).collect();
    assert_eq!(found.len(), 1, "{processes:#?}");
    found[0]
}

/// Whether a process is what runs the guest, whichever hypervisor that is.
fn is_monitor(process: &Process) -> bool {
    let named = |name: &str| process.program().starts_with(name);
    named("qemu-system")
        || named("cloud-hypervisor")
        || (named("microagent-vmm") && process.arguments.get(1).is_some_and(|a| a == "run"))
}

fn monitor(processes: &[Process]) -> &Process {
    only(processes, is_monitor)
}

fn guard(processes: &[Process]) -> &Process {
    only(processes, |process| process.arguments.iter().any(|argument| argument == "guard"))
}

/// A fifo that nobody writes to: blocks without using the processor.
const BLOCK: &str = "mkfifo /tmp/f; echo ready; while :; do read x < /tmp/f; done";

#[test]
fn the_first_interrupt_is_the_commands() {
    let Some((sandbox, image)) = parts() else { return };
    let line = format!("trap 'echo trapped; exit 7' INT; {BLOCK}");
    let live = ready(&sandbox, image, &line, &[]);
    // As a terminal does it: to everything in the foreground, the machine included.
    live.signal_group(Signal::INT);
    live.finish().code(7).shows(&["trapped\n"]);
    sandbox.assert_clean_within(Duration::ZERO);
}

#[test]
fn an_interrupt_ends_a_command_that_does_nothing_about_it() {
    let Some((sandbox, image)) = parts() else { return };
    let live = ready(&sandbox, image, BLOCK, &[]);
    live.signal_group(Signal::INT);
    live.finish().code(130);
    let live = ready(&sandbox, image, BLOCK, &[]);
    live.signal(Signal::TERM);
    live.finish().code(143);
}

#[test]
fn the_second_interrupt_powers_off() {
    let Some((sandbox, image)) = parts() else { return };
    let line = format!("trap 'echo ignored' INT; {BLOCK}");
    let mut live = ready(&sandbox, image, &line, &[]);
    live.signal_group(Signal::INT);
    live.wait_for("ignored\n");
    live.signal_group(Signal::INT);
    live.finish_within(Duration::from_secs(8)).code(130);
    sandbox.assert_clean_within(Duration::ZERO);
}

#[test]
fn ten_seconds_after_the_first_signal_it_is_over() {
    let Some((sandbox, image)) = parts() else { return };
    let line = format!("trap 'echo ignored' TERM; {BLOCK}");
    let mut live = ready(&sandbox, image, &line, &[]);
    live.signal(Signal::TERM);
    live.wait_for("ignored\n");
    let outcome = live.finish_within(Duration::from_secs(30));
    outcome.code(143);
    assert!(outcome.took >= Duration::from_secs(10), "{}", outcome.text());
}

#[test]
fn a_signal_before_the_command_ends_it_all() {
    let Some((sandbox, image)) = parts() else { return };
    let kernel = sandbox.write("hanging", microagent_tests_cli::elf::hanging_kernel());
    let run = sandbox.run(&["--image", &image.reference("plain"), "--exec", "true"]);
    let live = run.args(&["--kernel", kernel.to_str().unwrap()]).start();
    let booting = until(Duration::from_secs(60), || {
        let all = machine(&sandbox, &live);
        if all.iter().any(is_monitor) { Ok(()) } else { Err("no monitor yet") }
    });
    booting.unwrap();
    live.signal_group(Signal::INT);
    live.finish_within(Duration::from_secs(20)).code(130);
    sandbox.assert_clean_within(Duration::ZERO);
}

#[test]
fn killing_the_program_takes_everything_with_it() {
    let Some((sandbox, image)) = parts() else { return };
    let live = ready(&sandbox, image, BLOCK, &[]);
    let running = machine(&sandbox, &live);
    monitor(&running);
    guard(&running);
    live.signal(Signal::KILL);
    sandbox.assert_clean_within(GONE);
    let outcome = live.finish();
    assert_eq!(outcome.status.code(), None, "{}", outcome.text());
}

#[test]
fn killing_the_program_while_it_prepares_takes_everything_with_it() {
    let Some((sandbox, image)) = parts() else { return };
    // At different moments: before there is a machine, while it is made, while it boots.
    for files in 0..6_u32 {
        let run = sandbox.run(&["--image", &image.reference("plain"), "--exec", BLOCK]);
        let live = run.start();
        let workspace = sandbox.workspace(live.name());
        let _ = until(Duration::from_secs(60), || {
            let entries = fs::read_dir(workspace.join("run")).map_or(0, Iterator::count);
            if entries >= files as usize { Ok(()) } else { Err(()) }
        });
        live.signal(Signal::KILL);
        live.finish();
        // A directory that was made before there was a guard is swept by the next command.
        let _ = until(GONE, || sandbox.leftovers());
        let processes = mentioning(&workspace);
        assert!(processes.is_empty(), "after {files} files: {processes:#?}");
    }
    sandbox.run(&["--image", &image.reference("plain"), "true"]).output().code(0);
    sandbox.assert_clean_within(Duration::ZERO);
}

#[test]
fn what_nobody_is_left_to_remove_goes_with_the_next_command() {
    let Some((sandbox, image)) = parts() else { return };
    let live = ready(&sandbox, image, BLOCK, &[]);
    let running = machine(&sandbox, &live);
    // Stopped first, so that neither can act when the other goes.
    let guard = guard(&running).clone();
    guard.signal(Signal::STOP);
    live.signal(Signal::KILL);
    guard.signal(Signal::KILL);
    let workspace = sandbox.workspace(live.name());
    live.finish();
    until(GONE, || {
        let left = mentioning(&workspace);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .unwrap();
    assert!(workspace.exists(), "then who removed it?");
    sandbox.run(&["--image", &image.reference("plain"), "true"]).output().code(0);
    assert!(!workspace.exists(), "{} was not swept", workspace.display());
}

#[test]
fn a_machine_that_is_killed_from_outside_is_a_failure_that_says_so() {
    let Some((sandbox, image)) = parts() else { return };
    let live = ready(&sandbox, image, BLOCK, &[]);
    monitor(&machine(&sandbox, &live)).signal(Signal::KILL);
    let outcome = live.finish_within(Duration::from_secs(20));
    outcome.code(125).says(&["error:", "signal 9"]);
    sandbox.assert_clean_within(Duration::ZERO);
}

#[test]
fn a_guard_that_is_killed_takes_the_machine_with_it() {
    let Some((sandbox, image)) = parts() else { return };
    let live = ready(&sandbox, image, BLOCK, &[]);
    guard(&machine(&sandbox, &live)).signal(Signal::KILL);
    let outcome = live.finish_within(Duration::from_secs(20));
    outcome.code(125).says(&["error:"]);
}

#[test]
fn a_vsock_server_that_is_killed_ends_the_run() {
    let Some((sandbox, image)) = parts() else { return };
    if sandbox.setting().backend() != "qemu" {
        return eprintln!("SKIP: serve-vsock: only QEMU has one");
    }
    let live = ready(&sandbox, image, BLOCK, &[]);
    let running = machine(&sandbox, &live);
    let server = only(&running, |p| p.arguments.iter().any(|a| a == "serve-vsock"));
    server.signal(Signal::KILL);
    let outcome = live.finish_within(Duration::from_secs(30));
    outcome.code(125).says(&["error:"]);
    sandbox.assert_clean_within(Duration::ZERO);
}

#[test]
fn the_time_limit_kills_and_is_124() {
    let Some((sandbox, image)) = parts() else { return };
    let line = format!("trap '' TERM INT; {BLOCK}");
    let live = ready(&sandbox, image, &line, &["--timeout", "15"]);
    let outcome = live.finish_within(Duration::from_secs(60));
    outcome.code(124).says(&["15 seconds"]);
    assert!(outcome.took >= Duration::from_secs(15), "{}", outcome.text());
    // It also counts what comes before the command.
    let kernel = sandbox.write("hanging", microagent_tests_cli::elf::hanging_kernel());
    let run = sandbox.run(&["--image", &image.reference("plain"), "--timeout", "1.5"]);
    let run = run.args(&["--exec", "true", "--kernel", kernel.to_str().unwrap()]);
    run.start().finish_within(Duration::from_secs(30)).code(124);
    sandbox.assert_clean_within(Duration::ZERO);
}

/// Has the guest do something to its machine once what it said has arrived.
fn sysrq(sandbox: &Sandbox, image: &Busybox, key: char) -> Outcome {
    let line = format!("echo ready; read x; echo {key} > /proc/sysrq-trigger; sleep 100");
    let arguments = ["-i", "--image", &image.reference("plain"), "--exec", &line];
    let mut live = sandbox.run(&arguments).reads_later().start();
    live.wait_for("ready\n");
    live.write(b"now\n");
    live.finish_within(Duration::from_secs(60))
}

#[test]
fn a_guest_that_panics_is_reported_with_its_last_words() {
    let Some((sandbox, image)) = parts() else { return };
    let outcome = sysrq(&sandbox, image, 'c');
    outcome.code(125).prints("ready\n").says(&["error:", "panicked", "Kernel panic"]);
    sandbox.assert_clean_within(Duration::ZERO);
}

#[test]
fn a_guest_that_resets_itself_runs_once() {
    let Some((sandbox, image)) = parts() else { return };
    let outcome = sysrq(&sandbox, image, 'b');
    outcome.code(125).prints("ready\n").says(&["error:", "reset"]);
    sandbox.assert_clean_within(Duration::ZERO);
}

#[test]
fn a_kernel_that_resets_at_once_boots_once() {
    let Some((sandbox, image)) = parts() else { return };
    let kernel = sandbox.write("resetting", microagent_tests_cli::elf::resetting_kernel());
    let run = sandbox.run(&["--image", &image.reference("plain"), "--exec", "true"]);
    let run = run.args(&["--kernel", kernel.to_str().unwrap()]);
    let outcome = run.start().finish_within(Duration::from_secs(60));
    outcome.code(125).prints("").says(&["error:", "reset"]);
    // What it writes to its console stands in the error as often as it booted.
    let boots = outcome.stderr().matches("boot\n").count();
    assert_eq!(boots, 1, "{}", outcome.text());
}

#[test]
fn a_guest_that_is_told_to_power_off_ends_the_run() {
    let Some((sandbox, image)) = parts() else { return };
    // The shutdown ends the command as any init would: by SIGTERM, then by SIGKILL. That
    // signal is not how the command ended by itself, so it is not the exit code.
    let cases =
        ["kill -TERM 1", "kill -USR2 1", "poweroff", "halt", "reboot", "trap '' TERM; poweroff"];
    for line in cases {
        let line = format!("echo ready; {line}; sleep 100; echo never");
        let live = ready(&sandbox, image, &line, &["--cpus", "1"]);
        let outcome = live.finish_within(Duration::from_secs(40));
        outcome.code(125).prints("ready\n").says(&["powered itself off"]);
        sandbox.assert_clean_within(Duration::ZERO);
    }
}

#[test]
fn the_machine_cannot_be_restarted_from_under_the_agent() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "poweroff -f; echo $?; reboot -f; echo $?; echo still here; exit 5";
    let run = sandbox.run(&["--image", &image.reference("plain"), "--exec", line]);
    run.output().code(5).shows(&["still here\n"]);
}

#[test]
fn init_cannot_be_killed_from_inside() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "kill -KILL 1; kill -STOP 1; kill -HUP 1; kill -SEGV 1; sleep 0.2; echo alive";
    let run = sandbox.run(&["--image", &image.reference("plain"), "--exec", line]);
    run.output().code(0).prints("alive\n");
}

#[test]
fn a_workspace_that_is_kept_stays_and_its_name_is_told() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "echo data > /file; echo console > /dev/console; exit 3";
    let run = sandbox.run(&["--keep", "--image", &image.reference("plain"), "--exec", line]);
    let name = run.name().to_owned();
    sandbox.keeps(&name);
    run.output().code(3).says(&[&name]);
    let dir = sandbox.workspace(&name);
    for file in ["manifest.json", "rootfs.ext4", "console.log", "result.json"] {
        assert!(dir.join(file).is_file(), "no {file} in {}", dir.display());
    }
    assert!(!dir.join("run").exists(), "the run directory is still there");
    let again =
        sandbox.call(&["run", "--name", &name, "--image", &image.reference("plain"), "true"]);
    again.output().refuses(125, &[&name, "exists"]);
    // A kept workspace is nobody's to sweep.
    sandbox.run(&["--image", &image.reference("plain"), "true"]).output().code(0);
    assert!(dir.exists());
    let debugfs = std::process::Command::new("/sbin/debugfs")
        .args(["-R", "cat /file"])
        .arg(dir.join("rootfs.ext4"))
        .output();
    if let Ok(output) = debugfs {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "data\n");
    }
}

#[test]
fn two_runs_cannot_have_one_name() {
    let Some((sandbox, image)) = parts() else { return };
    let live = ready(&sandbox, image, BLOCK, &[]);
    let (name, image) = (live.name().to_owned(), image.reference("plain"));
    let run = ["run", "--name", &name, "--image", &image, "echo", "second"];
    sandbox.call(&run).output().refuses(125, &[&name, "exists"]);
    let json = sandbox.call(&["--json"]).args(&run).output();
    assert_eq!(json.code(125).json()["error"]["kind"], "conflict");
    live.signal(Signal::TERM);
    live.finish().code(143);
    sandbox.call(&run).output().code(0).prints("second\n");
}

#[test]
fn four_cold_runs_at_once_share_one_base() {
    let Some((sandbox, image)) = parts() else { return };
    let start = |number: usize| {
        let line = format!("echo {number} > /mine; sync; cat /mine");
        let image = image.reference("plain");
        sandbox.run(&["--cpus", "1", "--memory", "128", "--image", &image, "--exec", &line]).start()
    };
    let runs: Vec<_> = (0..4).map(start).collect();
    for (number, run) in runs.into_iter().enumerate() {
        run.finish().code(0).prints(&format!("{number}\n")).is_silent();
    }
    let bases = fs::read_dir(sandbox.state().join("images/bases")).unwrap().flatten();
    let bases = bases.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let bases: Vec<_> = bases.filter(|name| name.ends_with(".ext4")).collect();
    assert_eq!(bases.len(), 1, "{bases:?}");
}

#[test]
fn a_state_directory_with_a_very_long_path_works() {
    let Some((sandbox, image)) = parts() else { return };
    // Longer than the address of a Unix socket can be.
    let long = sandbox.state().join("d".repeat(100)).join("e".repeat(100));
    let run = sandbox.run(&["--image", &image.reference("plain"), "echo", "works"]);
    let run = run.args::<&str>(&[]).env("MICROAGENT_STATE_DIR", &long);
    run.output().code(0).prints("works\n");
    let left: Vec<_> = fs::read_dir(long.join("workspaces")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
