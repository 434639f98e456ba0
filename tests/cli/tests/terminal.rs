//! Commands at a terminal: a real one, whose other side the test holds.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::{Invocation, Pty, Sandbox, mentioning, tools, until};
use rustix::process::Signal;
use rustix::termios::{LocalModes, Termios};

/// How long a terminal may take to be what it shall be.
const SOON: Duration = Duration::from_secs(30);
/// Waits for a signal, in a shell that looks for one between short sleeps.
const WAIT: &str = "echo ready; while :; do sleep 0.05; done";

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    let there = tools(&["setsid"]);
    Some((Sandbox::new()?, busybox()?)).filter(|_| there)
}

/// A run of a line with a terminal.
fn run(sandbox: &Sandbox, image: &Busybox, flags: &[&str], line: &str) -> Invocation {
    let call = sandbox.run(&["--image", &image.reference("plain"), "--exec", line]);
    call.args(flags)
}

fn start(sandbox: &Sandbox, image: &Busybox, line: &str) -> (Pty, Termios) {
    let pty = Pty::start(run(sandbox, image, &["-it"], line), 24, 80);
    let before = pty.mode();
    (pty, before)
}

/// What of a mode a raw one changes, in a form that can be compared.
fn shown(mode: &Termios) -> String {
    let Termios { input_modes, output_modes, control_modes, local_modes, .. } = mode;
    format!("{input_modes:?} {output_modes:?} {control_modes:?} {local_modes:?}")
}

fn is_raw(mode: &Termios) -> bool {
    !mode.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
}

#[track_caller]
fn assert_restored(pty: &Pty, before: &Termios) {
    assert_eq!(shown(&pty.mode()), shown(before), "{}", pty.seen());
}

#[test]
fn the_guest_sees_the_size_and_its_changes() {
    let Some((sandbox, image)) = parts() else { return };
    let line = format!("tty; stty size; trap 'stty size; exit 4' WINCH; {WAIT}");
    let pty = Pty::start(run(&sandbox, image, &["-it"], &line), 33, 101);
    let before = pty.mode();
    assert!(!is_raw(&before));
    pty.wait_for("/dev/pts/0\r\n33 101\r\nready\r\n");
    assert!(is_raw(&pty.mode()));
    pty.resize(40, 120);
    pty.wait_for("40 120\r\n");
    let mut pty = pty;
    assert_eq!(pty.ends().code(), Some(4), "{}", pty.seen());
    assert_restored(&pty, &before);
}

#[test]
fn a_size_that_changes_while_the_guest_boots_is_seen() {
    let Some((sandbox, image)) = parts() else { return };
    let call = run(&sandbox, image, &["-it", "--setup", "sleep 1"], "stty size");
    let pty = Pty::start(call, 24, 80);
    let workspace = sandbox.workspace(pty.name());
    until(SOON, || if workspace.exists() { Ok(()) } else { Err("no workspace") }).unwrap();
    pty.resize(50, 60);
    let (status, seen) = pty.finish();
    assert!(seen.ends_with("50 60\r\n"), "{seen}");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn what_is_typed_is_the_commands() {
    let Some((sandbox, image)) = parts() else { return };
    let line = format!("trap 'echo trapped; exit 7' INT; {WAIT}");
    let (mut pty, before) = start(&sandbox, image, &line);
    pty.wait_for("ready\r\n");
    pty.types("\x03");
    pty.wait_for("trapped\r\n");
    assert_eq!(pty.ends().code(), Some(7), "{}", pty.seen());
    assert_restored(&pty, &before);

    // Without a trap it is the end of the command, as in a shell on the host.
    let (mut pty, before) = start(&sandbox, image, &format!("exec sh -c '{WAIT}'"));
    pty.wait_for("ready\r\n");
    pty.types("\x03");
    assert_eq!(pty.ends().code(), Some(130), "{}", pty.seen());
    assert_restored(&pty, &before);

    // The end of input is a key.
    let (pty, _) = start(&sandbox, image, "echo ready; cat; echo over");
    pty.wait_for("ready\r\n");
    pty.types("a line\r\x04");
    let (status, seen) = pty.finish();
    assert!(seen.ends_with("ready\r\na line\r\na line\r\nover\r\n"), "{seen:?}");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn only_the_guests_terminal_echoes() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "echo ready; read x; stty -echo; echo quiet; read y; echo \"$x $y\"";
    let (pty, _) = start(&sandbox, image, line);
    pty.wait_for("ready\r\n");
    pty.types("shown\r");
    pty.wait_for("quiet\r\n");
    pty.types("secret\r");
    let (_, seen) = pty.finish();
    assert!(seen.ends_with("ready\r\nshown\r\nquiet\r\nshown secret\r\n"), "{seen:?}");
}

#[test]
fn a_person_at_all_three_streams_gets_a_terminal_unasked() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "test -t 0 && test -t 1 && test -t 2 && echo all; echo $TERM";
    let (status, seen) = Pty::start(run(&sandbox, image, &[], line), 24, 80).finish();
    assert!(seen.ends_with("all\r\nxterm\r\n"), "{seen:?}");
    assert_eq!(status.code(), Some(0));
    let call = run(&sandbox, image, &["-i"], "test -t 0 || echo none; head -n 1");
    let pty = Pty::start(call, 24, 80);
    pty.wait_for("none");
    assert!(!is_raw(&pty.mode()));
    pty.types("line\n");
    let (_, seen) = pty.finish();
    assert!(seen.ends_with("line\r\nline\r\n"), "{seen:?}");
    // Outputs that lead to different places stay apart.
    let call = run(&sandbox, image, &["-t"], "test -t 1 && test -t 2 && echo both >&2");
    call.output().code(0).prints("both\r\n");
    run(&sandbox, image, &["-it"], "true").output().refuses(2, &["--tty", "no terminal"]);
}

#[test]
fn every_way_out_restores_the_terminal() {
    let Some((sandbox, image)) = parts() else { return };
    let check = |end: &dyn Fn(&Pty), flags: &[&str], code: Option<i32>, says: &str| {
        let call = run(&sandbox, image, &["-it"], WAIT).args(flags);
        let mut pty = Pty::start(call, 24, 80);
        let before = pty.mode();
        pty.wait_for("ready\r\n");
        assert!(is_raw(&pty.mode()));
        end(&pty);
        let status = pty.ends();
        assert_eq!(status.code(), code, "{status} {}", pty.seen());
        assert_restored(&pty, &before);
        // A line of ours begins at the left.
        let seen = pty.seen();
        assert!(seen.contains(says) && !seen.replace("\r\n", "").contains('\n'), "{seen:?}");
    };
    let monitor = |pty: &Pty| {
        let all = mentioning(&sandbox.workspace(pty.name()));
        let is_guard = |p: &&microagent_tests_cli::Process| {
            !p.arguments.iter().any(|a| a == "guard" || a == "serve-vsock") && p.pid != pty.pid()
        };
        all.iter().find(is_guard).expect("a monitor").signal(Signal::KILL);
    };
    check(&monitor, &[], Some(125), "error:");
    check(&|pty| pty.signal(Signal::TERM), &[], Some(143), "");
    check(&|pty| pty.signal(Signal::USR1), &[], Some(138), "");
    check(&|pty| pty.signal(Signal::ALARM), &[], Some(142), "");
    check(&|_| {}, &["--timeout", "6"], Some(124), "error:");
}

#[test]
fn a_program_that_is_stopped_leaves_the_terminal_to_the_shell() {
    let Some((sandbox, image)) = parts() else { return };
    let (mut pty, before) = start(&sandbox, image, &format!("trap 'exit 5' INT; {WAIT}"));
    pty.wait_for("ready\r\n");
    pty.signal(Signal::TSTP);
    let wait = |raw: bool| {
        let is = || if is_raw(&pty.mode()) == raw { Ok(()) } else { Err(pty.seen()) };
        until(SOON, is).unwrap();
    };
    wait(false);
    pty.signal(Signal::CONT);
    wait(true);
    pty.types("\x03");
    assert_eq!(pty.ends().code(), Some(5), "{}", pty.seen());
    assert_restored(&pty, &before);
}

#[test]
fn a_terminal_that_is_closed_is_a_hangup_for_the_command() {
    let Some((sandbox, image)) = parts() else { return };
    // With output that finds nobody, and without.
    for line in [WAIT, "echo ready; while :; do echo more; sleep 0.05; done"] {
        let line = format!("trap 'exit 9' HUP; {line}");
        let call = run(&sandbox, image, &["-it", "--keep"], &line);
        let name = call.name().to_owned();
        sandbox.keeps(&name);
        let mut pty = Pty::start(call, 24, 80);
        pty.wait_for("ready\r\n");
        pty.close();
        pty.ends();
        let result = fs::read_to_string(sandbox.workspace(&name).join("result.json")).unwrap();
        assert!(result.contains("\"exit_code\": 9"), "{result}");
    }
}

#[test]
fn a_kept_run_is_left_by_two_keys_and_goes_on() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "stty size; echo ready; read x; echo \"got $x\"; read y; exit $y";
    let call = run(&sandbox, image, &["-it", "--keep"], line);
    let name = call.name().to_owned();
    sandbox.keeps(&name);
    let mut pty = Pty::start(call, 33, 101);
    let before = pty.mode();
    pty.wait_for("33 101\r\nready\r\n");
    sandbox.call(&["exec", &name, "true"]).output().refuses(125, &["run at a terminal", "Ctrl-P"]);
    let status = || sandbox.call(&["status", "--json", &name]).output().code(0).json();
    assert_eq!(status()["state"], "running");
    pty.types("\x10\x11");
    assert_eq!(pty.ends().code(), Some(0), "{}", pty.seen());
    pty.wait_for(&format!("detached from {name}, which goes on"));
    assert_restored(&pty, &before);

    assert_eq!(status()["state"], "running");
    sandbox.call(&["exec", &name, "echo", "beside it"]).output().code(0).prints("beside it\n");
    let mut again = Pty::start(sandbox.call(&["connect", &name]), 24, 80);
    again.types("back\r");
    again.wait_for("got back\r\n");
    again.types("7\r");
    again.wait_for("has ended");
    assert!(again.ends().success(), "{}", again.seen());
    sandbox.call(&["wait", &name]).output().code(7);
    sandbox.call(&["logs", &name]).output().code(0).shows(&["got back"]);
    assert_eq!(status()["state"], "stopped");
    assert_eq!(mentioning(&sandbox.workspace(&name)), []);
    sandbox.call(&["delete", &name]).output().code(0);
}

#[test]
fn a_kept_run_at_a_terminal_is_ended_from_elsewhere() {
    let Some((sandbox, image)) = parts() else { return };
    let soft = "trap 'exit 6' TERM";
    let hard = "trap '' TERM INT";
    for (trap, how, codes) in [
        (soft, &["halt"][..], &[6][..]),
        (hard, &["halt", "--force-after", "1"], &[137]),
        (soft, &["kill"], &[6, 130, 143]),
        (hard, &["kill"], &[137]),
    ] {
        let call = run(&sandbox, image, &["-it", "--keep"], &format!("{trap}; {WAIT}"));
        let name = call.name().to_owned();
        sandbox.keeps(&name);
        let mut pty = Pty::start(call, 24, 80);
        let before = pty.mode();
        pty.wait_for("ready\r\n");
        sandbox.call(how).args(&[&name]).output().code(0);
        let ended = pty.ends();
        let killed = ended.signal() == Some(9);
        let code = ended.code().unwrap_or(137);
        assert!(codes.contains(&code), "{how:?}: {ended:?} {}", pty.seen());
        if !killed {
            assert_restored(&pty, &before);
        }
        let status = sandbox.call(&["status", "--json", &name]).output().code(0).json();
        assert_eq!(status["state"], if killed { "failed" } else { "stopped" }, "{how:?}");
        assert_eq!(mentioning(&sandbox.workspace(&name)), [], "{how:?}");
        let events = sandbox.call(&["events", &name]).output().code(0).stdout();
        let last = events.lines().last().unwrap_or_default();
        assert!(last.contains("stopped") || last.contains("failed"), "{how:?}: {events}");
        sandbox.call(&["delete", &name]).output().code(0);
    }
}

#[test]
fn a_kept_run_that_is_killed_at_its_terminal_is_taken_up() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "echo ready; read x; echo \"got $x\"; read y; exit $y";
    let call = run(&sandbox, image, &["-it", "--keep"], line);
    let name = call.name().to_owned();
    sandbox.keeps(&name);
    let mut pty = Pty::start(call, 24, 80);
    pty.wait_for("ready\r\n");
    pty.signal(Signal::KILL);
    pty.ends();
    let status = || sandbox.call(&["status", "--json", &name]).output().code(0).json();
    assert_eq!(status()["state"], "failed");
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    sandbox.call(&["connect", "--send", "back", &name]).output().code(0);
    sandbox.call(&["connect", "--send", "5", &name]).output().code(0);
    sandbox.call(&["wait", &name]).output().code(5);
    sandbox.call(&["delete", &name]).output().code(0);
}

#[test]
fn a_slow_terminal_gets_everything_and_keeps_nobody_waiting() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "echo ready; read x; i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i + 1)); \
                done; echo over";
    let (pty, before) = start(&sandbox, image, line);
    pty.wait_for("ready\r\n");
    pty.pause(true);
    pty.types("\r");
    // Long enough for every buffer on the way to be full.
    std::thread::sleep(Duration::from_secs(3));
    pty.pause(false);
    pty.wait_for("over\r\n");
    let mut pty = pty;
    assert_eq!(pty.ends().code(), Some(0));
    let seen = pty.seen();
    let expect: String = (0..20_000).map(|i| format!("line {i}\r\n")).collect();
    assert!(seen.ends_with(&format!("{expect}over\r\n")), "{} bytes", seen.len());
    assert_restored(&pty, &before);

    // One that is not read does not keep the machine from its end.
    let call = run(&sandbox, image, &["-it", "--timeout", "8"], "echo ready; yes");
    let mut pty = Pty::start(call, 24, 80);
    pty.wait_for("ready\r\n");
    pty.pause(true);
    let workspace = sandbox.workspace(pty.name());
    let gone = || {
        let all = mentioning(&workspace);
        if all.iter().all(|p| p.pid == pty.pid()) { Ok(()) } else { Err(all) }
    };
    until(SOON, gone).unwrap();
    pty.pause(false);
    assert_eq!(pty.ends().code(), Some(124));
}
