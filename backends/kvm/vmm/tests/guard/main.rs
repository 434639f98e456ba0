//! The guard, run for real, with a shell in the place of a hypervisor.
#![allow(clippy::unwrap_used, clippy::panic)] // what fails here fails a test

mod fixture;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use microagent_vmm_protocol::{ChildExit, EXIT_FILE, EventWatch, GuardReport, GuardSpec};
use rustix::process::Signal;

use crate::fixture::{Fixture, Running, is_gone, landlock_is_missing, pidfd_of};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn how_a_child_ended_is_reported_and_kept() {
    let check = |script: &str, code, signal, last_words: &str| {
        let fixture = Fixture::new(script);
        let mut guard = fixture.detached();
        guard.started();
        let exit = guard.exited();
        let expect = ChildExit {
            code,
            signal,
            by_guard: false,
            by_event: false,
            panic: false,
            last_words: last_words.to_owned(),
        };
        assert_eq!(exit, expect, "{script}");
        assert!(guard.end().success());
        let kept = fs::read(fixture.dir().join(EXIT_FILE)).unwrap();
        assert_eq!(serde_json::from_slice::<ChildExit>(&kept).unwrap(), expect);
    };
    check("exit 0", Some(0), None, "");
    check("echo lost for good >&2; exit 7", Some(7), None, "lost for good\n");
    check("kill -9 $$", None, Some(9), "");
}

#[test]
fn an_end_is_kept_where_the_disk_is_full() {
    let fixture = Fixture::new("while echo 0123456789; do :; done >fill 2>&1; exit 7");
    let Some(_disk) = fixture.small_disk("size=256k") else { return };
    let mut guard = fixture.detached();
    guard.started();
    assert_eq!(guard.exited().code, Some(7));
    assert!(guard.end().success());
    assert!(fs::write(fixture.dir().join("more"), [0; 4096]).is_err());
    let kept = fs::read(fixture.dir().join(EXIT_FILE)).unwrap();
    assert_eq!(serde_json::from_slice::<ChildExit>(&kept).unwrap().code, Some(7));
}

#[test]
fn without_room_for_its_end_nothing_begins() {
    let fixture = Fixture::new("exit 0");
    let Some(_disk) = fixture.small_disk("size=8k") else { return };
    let mut guard = fixture.spawn(false);
    guard.give(&fixture.spec(false, &[]));
    match guard.report() {
        Some(GuardReport::Failed { message }) => {
            assert!(message.contains("room for the record"), "{message}");
            assert!(message.contains("space left"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_end_of_the_life_pipe_kills_and_removes() {
    let fixture = Fixture::new("mkdir -p deep/er; echo up; sleep 1000 & wait");
    let other = fixture.dir().with_file_name("disk");
    fs::write(&other, "blocks").unwrap();
    let mut guard = fixture.attached(&[fixture.dir(), &other]);
    let pid = guard.started();
    fixture.wait_for_console("up\n");
    guard.end_life();
    let exit = guard.exited();
    assert_eq!((exit.signal, exit.by_guard), (Some(9), true));
    assert!(guard.end().success());
    assert!(is_gone(pid));
    assert!(!fixture.dir().exists());
    assert!(!other.exists());
}

#[test]
fn what_was_made_is_removed_even_after_the_child_ended() {
    let fixture = Fixture::new("exit 3");
    let mut guard = fixture.attached(&[fixture.dir()]);
    guard.started();
    assert_eq!(guard.exited().code, Some(3));
    assert!(fixture.dir().join(EXIT_FILE).exists());
    guard.end_life();
    assert!(guard.end().success());
    assert!(!fixture.dir().exists());
}

#[test]
fn a_kept_run_directory_stays() {
    let fixture = Fixture::new("echo up; sleep 1000 & wait");
    let mut guard = fixture.attached(&[]);
    let pid = guard.started();
    guard.end_life();
    assert!(guard.exited().by_guard);
    assert!(guard.end().success());
    assert!(is_gone(pid));
    assert!(fixture.dir().join(EXIT_FILE).exists());
}

#[test]
fn a_killed_guard_takes_its_child_with_it() {
    let fixture = Fixture::new("echo up; sleep 1000 & wait");
    let mut guard = fixture.detached();
    let child = pidfd_of(guard.started());
    fixture.wait_for_console("up\n");
    guard.signal(Signal::KILL);
    assert!(!guard.end().success());
    fixture::wait_until_ended(&child);
}

#[test]
fn the_signals_of_a_session_are_ignored() {
    let fixture = Fixture::new("echo up; read line < go; echo bye; exit 5");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fixture.dir().join("go"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let mut guard = fixture.detached();
    guard.started();
    fixture.wait_for_console("up\n");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        guard.signal(signal);
    }
    fs::write(fixture.dir().join("go"), "\n").unwrap();
    assert_eq!(guard.exited().code, Some(5));
    assert_eq!(fixture.console(), "up\nbye\n");
    assert!(guard.end().success());
}

#[test]
fn a_child_gets_the_signals_that_the_guard_ignores() {
    let fixture = Fixture::new("echo up; sleep 1000 & wait");
    let mut guard = fixture.detached();
    let child = pidfd_of(guard.started());
    fixture.wait_for_console("up\n");
    rustix::process::pidfd_send_signal(&child, Signal::TERM).unwrap();
    assert_eq!(guard.exited().signal, Some(15));
}

#[test]
fn the_first_and_the_last_of_a_long_console_are_kept() {
    const HEAD: u64 = 256 << 10;
    const TAIL: u64 = 4 << 20;
    // 14 MiB of numbered lines of 16 bytes.
    let fixture = Fixture::new("seq -f '%015.0f' 1 917504; echo the end");
    let mut guard = fixture.detached();
    guard.started();
    assert_eq!(guard.exited().code, Some(0));
    let head = fixture.console();
    assert_eq!(head.len() as u64, HEAD);
    assert!(head.starts_with("000000000000001\n"));
    let tails = ["console.1", "console.2"].map(|name| fixture.dir().join(name));
    let mut parts = tails.map(|path| {
        let meta = path.metadata().unwrap();
        assert!(meta.len() <= TAIL);
        assert_eq!(mode(&path), 0o600);
        (meta.modified().unwrap(), fs::read_to_string(&path).unwrap())
    });
    parts.sort();
    let end = parts.map(|(_, text)| text).concat();
    assert!(end.len() as u64 >= TAIL);
    assert!(end.ends_with("000000000917504\nthe end\n"));
    let first: u64 = end[..15].parse().unwrap();
    assert_eq!(end.len() as u64, (917_504 - first + 1) * 16 + 8, "a gap in the end");
    assert_eq!(mode(&fixture.dir().join("console")), 0o600);
}

#[test]
fn a_panic_is_seen_across_writes() {
    let check = |script: &str, expect| {
        let fixture = Fixture::new(script);
        let mut guard = fixture.detached();
        guard.started();
        assert_eq!(guard.exited().panic, expect, "{script}");
    };
    check("printf '[1.0] Kernel pan'; sleep 0.05; printf 'ic - not syncing: no init'", true);
    check("printf 'Kernel panic'; printf ' averted'", false);
}

#[test]
fn a_full_disk_does_not_block_the_guest() {
    // A directory in the place of the next file stands for a disk that takes no more.
    let fixture = Fixture::new("head -c 20000000 /dev/zero; echo; echo written >&2");
    fs::create_dir(fixture.dir().join("console.1")).unwrap();
    let mut guard = fixture.detached();
    guard.started();
    let exit = guard.exited();
    assert_eq!((exit.code, exit.last_words.as_str()), (Some(0), "written\n"));
}

#[test]
fn a_child_is_confined() {
    if landlock_is_missing() {
        return;
    }
    let fixture = Fixture::new(
        "ulimit -c; ulimit -f; ulimit -n
         cat /etc/hostname /etc/passwd; echo $?
         echo own > file && cat file
         echo escaped > ../file; echo $?
         grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status
         env | sort | grep -v '^_='
         ls /proc/self/fd
         pwd",
    );
    let mut guard = fixture.detached();
    guard.started();
    assert!(guard.landlock);
    let exit = guard.exited();
    let expect = [
        "0",
        "20480",
        "1024",
        "1",
        "own",
        "2",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "NAME=value with = sign",
        "PWD=",
        "0",
        "1",
        "2",
        "3",
    ];
    let console = fixture.console();
    let lines: Vec<_> = console.lines().collect();
    assert!(exit.last_words.contains("Permission denied"), "{}", exit.last_words);
    assert!(!fixture.dir().with_file_name("file").exists());
    let dir = fixture.dir().to_str().unwrap();
    let mut wanted: Vec<_> = expect
        .iter()
        .map(|l| if *l == "PWD=" { format!("PWD={dir}") } else { (*l).to_owned() })
        .collect();
    wanted.push(dir.to_owned());
    assert_eq!(lines, wanted);
}

#[test]
fn what_cannot_be_started_is_said() {
    let check = |change: fn(&mut Running, &mut microagent_vmm_protocol::GuardSpec),
                 expect: &str| {
        let fixture = Fixture::new("true");
        let mut guard = fixture.spawn(false);
        let mut spec = fixture.spec(false, &[]);
        change(&mut guard, &mut spec);
        guard.give(&spec);
        match guard.report() {
            Some(GuardReport::Failed { message }) => assert!(message.contains(expect), "{message}"),
            other => panic!("expected {expect}, got {other:?}"),
        }
        assert!(!guard.end().success());
    };
    check(|_, s| s.version = 9, "has version 9");
    check(
        |_, s| s.program = "/does/not/exist".into(),
        "cannot start /does/not/exist: No such file",
    );
    check(|_, s| s.program = "sh".into(), "program of the specification is \"sh\"");
    check(|_, s| s.dir = "/does/not/exist".into(), "cannot enter the run directory");
    check(|_, s| s.console = "../console".into(), "expected a file name");
    check(|_, s| s.remove = vec!["/".into()], "below the root");
    check(|_, s| s.attached = true, "descriptor 3 is missing");
    check(|_, s| s.pass = 1, "descriptor 4 is missing");
    check(|_, s| s.pass = 65, "pass of the specification is 65, expected at most 64");
    check(|_, s| s.events = word_of(0), "events has 0 bytes, expected 1 to 64");
    check(|_, s| s.events = word_of(65), "events has 65 bytes, expected 1 to 64");
    check(|_, s| s.events = word_of(64), "descriptor 4 is missing");
}

fn word_of(len: usize) -> Option<EventWatch> {
    Some(EventWatch { word: "w".repeat(len) })
}

#[test]
fn a_child_that_tells_the_word_is_killed_at_it() {
    let check = |script: &str, expect: (Option<i32>, Option<i32>, bool)| {
        let fixture = Fixture::new(script);
        let (reads, writes) = std::io::pipe().unwrap();
        let mut guard = fixture.spawn_passing(false, vec![writes.into(), reads.into()]);
        let events = Some(EventWatch { word: "\"again\"".into() });
        guard.give(&GuardSpec { pass: 1, events, ..fixture.spec(false, &[]) });
        guard.started();
        let exit = guard.exited();
        assert!(!exit.by_guard);
        assert_eq!((exit.code, exit.signal, exit.by_event), expect, "{script}");
        assert!(guard.end().success());
    };
    check("echo '{\"event\": \"again\"}' >&4; sleep 1000 & wait", (None, Some(9), true));
    check("printf '\"aga' >&4; printf 'in\"' >&4; sleep 1000 & wait", (None, Some(9), true));
    check("exec 4>&-; exit 3", (Some(3), None, false));
    check("echo again >&4; ls /proc/self/fd/5 2>/dev/null || exit 4", (Some(4), None, false));
}

#[test]
fn descriptors_are_passed_on_under_their_numbers() {
    let check = |attached: bool| {
        let fixture = Fixture::new("ls /proc/self/fd; echo to 4 >&4; echo to 5 >&5");
        let (reads, writes): (Vec<_>, Vec<_>) = (0..2).map(|_| std::io::pipe().unwrap()).unzip();
        let passed = writes.into_iter().map(Into::into).collect();
        let mut guard = fixture.spawn_passing(attached, passed);
        guard.give(&GuardSpec { pass: 2, ..fixture.spec(attached, &[]) });
        guard.started();
        // They end with the child, although the guard is still there.
        let texts: Vec<_> =
            reads.into_iter().map(|p| std::io::read_to_string(p).unwrap()).collect();
        assert_eq!(texts, ["to 4\n", "to 5\n"]);
        assert_eq!(guard.exited().code, Some(0));
        assert_eq!(fixture.console(), "0\n1\n2\n3\n4\n5\n");
    };
    check(false);
    check(true);
}
