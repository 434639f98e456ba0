//! What commands get and what comes of them.

use microagent_guest_protocol::{
    AgentMessage, ExecRequest, ExitStatus, HostMessage, Stream, TtySize, User, WINDOW,
};

use crate::host::{Frame, Host, code, request, shell, signal};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn exit_codes_and_signals_are_told() {
    let mut host = Host::start();
    assert_eq!(host.shell(1, "exit 0").status, code(0));
    assert_eq!(host.shell(2, "exit 255").status, code(255));
    assert_eq!(host.shell(3, "kill -TERM $$").status, signal(15));
    assert_eq!(host.shell(4, "kill -KILL $$").status, signal(9));
}

#[test]
fn outputs_are_kept_apart_and_end_before_the_exit_is_told() {
    let mut host = Host::start();
    let output = host.shell(1, "for i in 1 2 3; do echo o$i; echo e$i >&2; done");
    assert_eq!(text(&output.stdout), "o1\no2\no3\n");
    assert_eq!(text(&output.stderr), "e1\ne2\ne3\n");
    assert!(output.ended.contains(&Stream::Stdout) && output.ended.contains(&Stream::Stderr));
}

#[test]
fn ten_mebibytes_come_byte_for_byte() {
    let mut host = Host::start();
    let script = "i=0; while [ $i -lt 80 ]; do head -c 131072 /dev/urandom; i=$((i+1)); done \
        | tee /dev/fd/3 3>&1 1>/dev/null | tee /dev/stderr";
    let output = host.shell(1, script);
    assert_eq!(output.stdout.len(), 10 << 20);
    assert!(output.stdout == output.stderr);
    assert_eq!(output.status, code(0));
}

#[test]
fn nothing_is_sent_without_credit() {
    let mut host = Host::start();
    host.exec(shell(1, "head -c 1000000 /dev/zero; echo done >&2"));
    host.started(1);
    let mut received = 0;
    while received < WINDOW as usize {
        let Frame::Data(1, Stream::Stdout, bytes) = host.receive() else { panic!("no output") };
        received += bytes.len();
    }
    assert_eq!(received, WINDOW as usize);
    // The next frame is an answer to this, so nothing else was on its way.
    assert!(matches!(
        {
            host.exec(request(2, &["/nonexistent"]));
            host.receive()
        },
        Frame::Message(AgentMessage::Exited { id: 2, .. })
    ));
    host.send(HostMessage::Credit { id: 1, stream: Stream::Stdout, bytes: WINDOW });
    let output = host.finish(1);
    assert_eq!(output.stdout.len() + received, 1_000_000);
    assert_eq!(text(&output.stderr), "done\n");
}

#[test]
fn a_stalled_output_holds_up_nothing_else() {
    let mut host = Host::start();
    host.exec(shell(1, "head -c 1000000 /dev/zero"));
    host.started(1);
    for id in 2..5 {
        host.exec(shell(id, "head -c 500000 /dev/zero >&2; exit 4"));
    }
    // Output of the first is left without credit.
    let mut left = vec![(2, 0), (3, 0), (4, 0)];
    while !left.is_empty() {
        match host.receive() {
            Frame::Data(id, stream @ Stream::Stderr, bytes) if id != 1 && !bytes.is_empty() => {
                left.iter_mut().find(|(other, _)| *other == id).unwrap().1 += bytes.len();
                host.send(HostMessage::Credit { id, stream, bytes: bytes.len() as u32 });
            }
            Frame::Message(AgentMessage::Exited { id, .. }) => {
                let at = left.iter().position(|(other, _)| *other == id).unwrap();
                assert_eq!(left.remove(at).1, 500_000);
            }
            _ => {}
        }
    }
}

#[test]
fn input_reaches_the_command_and_its_end_too() {
    let mut host = Host::start();
    host.exec(ExecRequest { stdin: true, ..request(1, &["cat"]) });
    host.started(1);
    let input: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    for chunk in input.chunks(1000) {
        host.input(1, chunk);
    }
    host.input(1, b"");
    let output = host.finish(1);
    assert!(output.stdout == input);
    assert_eq!(output.status, code(0));
}

#[test]
fn credit_for_input_is_given_as_the_command_reads() {
    let mut host = Host::start();
    host.exec(ExecRequest { stdin: true, ..shell(1, "cat > /dev/null") });
    host.started(1);
    let (mut sent, mut credit) = (0, WINDOW as usize);
    while sent < 4 * WINDOW as usize {
        let len = credit.min(50_000);
        if len == 0 {
            let Frame::Message(AgentMessage::Credit { id: 1, stream: Stream::Stdin, bytes }) =
                host.receive()
            else {
                panic!("no credit")
            };
            credit += bytes as usize;
            continue;
        }
        host.input(1, &vec![0; len]);
        (sent, credit) = (sent + len, credit - len);
    }
    host.input(1, b"");
    assert_eq!(host.finish(1).status, code(0));
}

#[test]
fn a_command_that_closes_its_input_is_no_obstacle() {
    let mut host = Host::start();
    host.exec(ExecRequest { stdin: true, ..shell(1, "exec <&-; sleep 0.1; echo over") });
    host.started(1);
    for _ in 0..4 {
        host.input(1, &vec![0; 50_000]);
    }
    assert_eq!(text(&host.finish(1).stdout), "over\n");
}

#[test]
fn without_input_a_command_reads_nothing() {
    let mut host = Host::start();
    let output = host.shell(1, "cat; readlink /proc/self/fd/0");
    assert_eq!(text(&output.stdout), "/dev/null\n");
}

#[test]
fn what_a_command_leaves_behind_does_not_hold_it_up() {
    let mut host = Host::start();
    let output = host.shell(1, "(sleep 1000; echo late) & echo early; exit 5");
    assert_eq!(output.status, code(5));
    assert_eq!(text(&output.stdout), "early\n");
    // And is not killed by a closed pipe.
    let file = std::env::temp_dir().join(format!("stray-{}", std::process::id()));
    let script = format!(
        "(while [ ! -e {0}.go ]; do sleep 0.05; done; echo a; echo b && echo alive > {0}) & exit 0",
        file.display()
    );
    assert_eq!(host.shell(2, &script).status, code(0));
    std::fs::write(file.with_extension("go"), "").unwrap();
    let alive = format!("while [ ! -s {} ]; do sleep 0.05; done", file.display());
    assert_eq!(host.shell(3, &alive).status, code(0));
    for file in [&file, &file.with_extension("go")] {
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_flood_from_behind_does_not_hold_it_up() {
    let mut host = Host::start();
    let output = host.shell(1, "yes & exit 3");
    assert_eq!(output.status, code(3));
}

#[test]
fn signals_reach_the_whole_group() {
    let mut host = Host::start();
    let script = "sh -c 'trap \"echo inner >&2; exit\" TERM; echo up; while :; do sleep 0.05; done' \
        & trap 'wait; exit 9' TERM; wait; wait";
    host.exec(shell(1, script));
    host.started(1);
    assert!(matches!(host.receive(), Frame::Data(1, Stream::Stdout, _)));
    host.send(HostMessage::Signal { id: 1, signal: 15 });
    let output = host.finish(1);
    assert_eq!(output.status, code(9));
    assert!(text(&output.stderr).ends_with("inner\n"), "{output:?}");
    // Real-time signals, numbers that do not exist, commands that are gone.
    host.exec(shell(2, "sleep 1000"));
    host.started(2);
    for number in [0, -1, 65, i32::MAX] {
        host.send(HostMessage::Signal { id: 2, signal: number });
    }
    host.send(HostMessage::Signal { id: 1, signal: 9 });
    host.send(HostMessage::Signal { id: 2, signal: 40 });
    assert_eq!(host.finish(2).status, signal(40));
}

#[test]
fn a_signal_right_after_the_request_is_not_lost() {
    let mut host = Host::start();
    for id in 0..20 {
        host.exec(shell(id, "sleep 1000"));
        host.send(HostMessage::Signal { id, signal: 9 });
        assert_eq!(host.finish(id).status, signal(9));
    }
}

#[test]
fn what_cannot_be_started_says_why() {
    let mut host = Host::start();
    let mut check = |id, request: ExecRequest, expect: (u8, &str)| {
        host.exec(ExecRequest { id, ..request });
        let Some(ExitStatus::NotStarted { code, message }) = host.finish(id).status else {
            panic!("{id} was started")
        };
        assert_eq!((code, &message[..]), expect);
    };
    check(1, request(0, &["no-such-program"]), (127, "no-such-program: not found in PATH"));
    check(2, request(0, &["/no/such"]), (127, "/no/such: no such file"));
    check(3, request(0, &["/etc"]), (126, "/etc: is a directory"));
    check(4, request(0, &["/etc/passwd"]), (126, "/etc/passwd: permission denied"));
    check(5, request(0, &[]), (127, "the command is empty"));
    check(6, request(0, &["a\0b"]), (126, "a zero byte in an argument or the environment"));
    let user = User("no-such-user".to_owned());
    let expect = (126, "no user 'no-such-user' in /etc/passwd");
    check(7, ExecRequest { user, ..request(0, &["true"]) }, expect);
    let workdir = "/dev/null/x".to_owned();
    let expect = (126, "working directory /dev/null/x: Not a directory (os error 20)");
    check(8, ExecRequest { workdir, ..request(0, &["true"]) }, expect);
    let workdir = "relative".to_owned();
    let expect = (126, "working directory relative: not an absolute path");
    check(9, ExecRequest { workdir, ..request(0, &["true"]) }, expect);
}

#[test]
fn environment_directory_and_dispositions_are_ordinary() {
    let mut host = Host::start();
    let env = vec!["Z=1".to_owned(), "A=2 3".to_owned(), "HOME=/home".to_owned()];
    host.exec(ExecRequest { env, ..request(1, &["env"]) });
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(text(&host.finish(1).stdout), format!("Z=1\nA=2 3\nHOME=/home\n{path}\n"));
    assert_eq!(text(&host.shell(2, "pwd; umask").stdout), "/\n0022\n");
    let folder = std::env::temp_dir().join(format!("workdir-{}", std::process::id()));
    let workdir = folder.join("made").to_str().unwrap().to_owned();
    host.exec(ExecRequest { workdir: workdir.clone(), ..request(3, &["pwd"]) });
    assert_eq!(text(&host.finish(3).stdout), format!("{workdir}\n"));
    std::fs::remove_dir_all(folder).unwrap();
    let blocked = text(&host.shell(4, "grep SigBlk /proc/self/status").stdout);
    assert_eq!(blocked, "SigBlk:\t0000000000000000\n");
    // Which it does not if the signal is ignored.
    assert_eq!(host.shell(6, "kill -PIPE $$").status, signal(13));
    host.exec(request(5, &["ls", "/proc/self/fd"]));
    assert_eq!(text(&host.finish(5).stdout), "0\n1\n2\n3\n");
}

#[test]
fn a_terminal_is_a_terminal() {
    let mut host = Host::start();
    let size = TtySize { rows: 7, cols: 33 };
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size; \
        trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.05; done";
    host.exec(ExecRequest { tty: Some(size), stdin: true, ..shell(1, script) });
    host.started(1);
    let mut seen = String::new();
    while !seen.contains("ready") {
        let Frame::Data(1, Stream::Stdout, bytes) = host.receive() else { panic!("no output") };
        seen += &text(&bytes);
    }
    host.send(HostMessage::Resize { id: 1, size: TtySize { rows: 8, cols: 34 } });
    let output = host.finish(1);
    assert_eq!(seen, "7 33\r\nready\r\n");
    assert_eq!((text(&output.stdout), output.status), ("8 34\r\n".to_owned(), code(4)));
}

#[test]
fn many_commands_at_once() {
    let mut host = Host::start();
    let ids: Vec<u32> = (0..50).collect();
    for id in &ids {
        host.exec(shell(*id, &format!("echo {id}; exit {id}")));
    }
    for (id, output) in host.finish_all(&ids) {
        assert_eq!((text(&output.stdout), output.status), (format!("{id}\n"), code(id as u8)));
    }
}
