//! Standard input, output and error: every byte, in time, and nothing else.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::oci::digest_of;
use microagent_tests_cli::{Sandbox, tools};

/// What is sent one way or the other.
const MIB: usize = 1 << 20;

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

/// Bytes of all values in no simple order, the same at every call.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(&mut next).take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

#[test]
fn ten_mebibytes_go_in_and_come_out_byte_for_byte() {
    let Some((sandbox, image)) = parts() else { return };
    let sent = noise(10 * MIB);
    let line = "tee /copy | md5sum > /sum; md5sum < /copy | cmp - /sum || exit 3; cat /copy";
    let run = sandbox.run(&["-i", "--image", &image.reference("plain"), "--exec", line]);
    let outcome = run.reads(sent.clone()).output();
    assert_eq!(outcome.stdout.len(), sent.len(), "{}", outcome.stderr());
    outcome.code(0).is_silent();
    assert_eq!(digest_of(&outcome.stdout), digest_of(&sent));
}

#[test]
fn both_streams_keep_apart_and_in_order() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i + 1)); done; \
                printf 'no newline'; printf '\\0\\377' >&2";
    let outcome = sandbox.run(&["--image", &image.reference("plain"), "--exec", line]).output();
    let lines = |word: &str| (0..2000).map(|i| format!("{word} {i}\n")).collect::<String>();
    outcome.code(0).prints(&format!("{}no newline", lines("out")));
    let expect = [lines("err").as_bytes(), &[0, 255]].concat();
    assert!(outcome.stderr == expect, "{}", outcome.text());
}

#[test]
fn without_i_the_command_reads_nothing() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "cat; readlink -f /proc/self/fd/0 < /dev/stdin; ls -l /proc/self/fd/0";
    let run = sandbox.run(&["--image", &image.reference("plain"), "--exec", line]);
    let outcome = run.reads("not for the guest").output();
    outcome.code(0).shows(&["/dev/null"]);
    assert!(!outcome.stdout().contains("not for"), "{}", outcome.text());
}

#[test]
fn output_arrives_while_the_command_runs_and_the_end_of_input_is_seen() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "echo first; echo error >&2; while read line; do echo got $line; done; echo over";
    let run = sandbox.run(&["-i", "--image", &image.reference("plain"), "--exec", line]);
    let mut live = run.reads_later().start();
    live.wait_for("first\n");
    live.write(b"one\n");
    live.wait_for("got one\n");
    live.write(b"two\n");
    live.wait_for("got two\n");
    live.close_stdin();
    live.finish().code(0).prints("first\ngot one\ngot two\nover\n").says(&["error"]);
}

#[test]
fn a_command_that_does_not_read_its_input_ends_all_the_same() {
    let Some((sandbox, image)) = parts() else { return };
    let run = sandbox.run(&["-i", "--image", &image.reference("plain"), "--exec", "echo done"]);
    let mut live = run.reads_later().start();
    live.wait_for("done\n");
    live.finish().code(0).prints("done\n");
    let run = sandbox.run(&["-i", "--image", &image.reference("plain"), "--exec", "head -c 5"]);
    run.reads([b"12345", &noise(2 * MIB)[..]].concat()).output().code(0).prints("12345");
}

#[test]
fn a_reader_that_goes_away_ends_the_command() {
    let Some((sandbox, image)) = parts() else { return };
    let run = sandbox.run(&["--image", &image.reference("plain"), "--exec", "yes; echo $? >&2"]);
    let mut command = run.command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn().unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = deadline(child, Duration::from_secs(90));
    assert_eq!(&first, b"y");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    // As in a shell on the host: 128 and SIGPIPE.
    assert_eq!(output.status.code(), Some(141), "{stderr}");
}

#[test]
fn a_slow_reader_gets_everything() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "head -c 4000000 /dev/zero | tr '\\0' x; echo end >&2";
    let run = sandbox.run(&["--image", &image.reference("plain"), "--exec", line]);
    let mut command = run.command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut total = 0;
    let mut buffer = vec![0; 40_000];
    loop {
        // The reader's slowness is what is tested.
        thread::sleep(Duration::from_millis(10));
        match stdout.read(&mut buffer).unwrap() {
            0 => break,
            count => total += count,
        }
    }
    let output = deadline(child, Duration::from_secs(90));
    assert_eq!((total, output.status.code()), (4_000_000, Some(0)));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "end\n");
}

#[test]
fn a_reader_that_never_reads_does_not_keep_the_run_from_its_time_limit() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let run = sandbox.run(&["--timeout", "8", "--image", &image, "--exec", "yes"]);
    let mut command = run.command();
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    let child = command.process_group(0).spawn().unwrap();
    drop(command);
    let output = deadline(child, Duration::from_secs(60));
    drop(reader);
    assert_eq!(output.status.code(), Some(124), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_file_as_input_and_output_works_as_a_pipe_does() {
    let Some((sandbox, image)) = parts() else { return };
    let path = sandbox.write("input", noise(MIB));
    let run =
        sandbox.run(&["-i", "--image", &image.reference("plain"), "--exec", "cat; cat /none"]);
    let out = sandbox.file("output");
    let mut command = run.command();
    command.stdin(File::open(&path).unwrap()).stdout(File::create(&out).unwrap());
    let output = command.stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    let output = deadline(output, Duration::from_secs(90));
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read(out).unwrap() == noise(MIB));
}

#[test]
fn json_is_one_object_with_everything_in_it() {
    let Some((sandbox, image)) = parts() else { return };
    let reference = image.reference("plain");
    let line = "echo out; echo err >&2; kill -9 $$";
    let run = sandbox.run(&["--json", "--image", &reference, "--exec", line]);
    let name = run.name().to_owned();
    let outcome = run.output();
    outcome.code(137).is_silent();
    let json = outcome.json();
    let text = |path: &str| json.pointer(path).and_then(|v| v.as_str().map(str::to_owned));
    let number = |path: &str| json.pointer(path).and_then(serde_json::Value::as_u64);
    assert_eq!(text("/workspace"), Some(name));
    assert_eq!(text("/backend").as_deref(), Some(sandbox.setting().backend()));
    assert!(text("/backend_reason").is_some_and(|reason| !reason.is_empty()));
    assert_eq!(number("/resources/memory_mib"), Some(512));
    assert!(number("/resources/cpus").is_some() && number("/resources/size_mib").is_some());
    assert_eq!(text("/image/ref"), Some(reference));
    assert!(text("/image/digest").is_some_and(|digest| digest.starts_with("sha256:")));
    assert!(text("/rootfs_path").is_some() && text("/kernel_path").is_some());
    assert_eq!(text("/final_state").as_deref(), Some("stopped"));
    assert_eq!(number("/result/exit_code"), Some(137));
    assert_eq!(number("/result/signal"), Some(9));
    assert_eq!(text("/result/stdout").as_deref(), Some("out\n"));
    assert_eq!(text("/result/stderr").as_deref(), Some("err\n"));
    assert_eq!(text("/result/encoding").as_deref(), Some("utf8"));
    for time in ["/result/started_at", "/result/exited_at"] {
        let time = text(time).unwrap();
        assert!(time.ends_with('Z') && time.get(10..11) == Some("T"), "{time}");
    }
    assert_eq!(json.pointer("/result/stdout_truncated"), Some(&false.into()));
    assert_eq!(json.pointer("/result/stderr_truncated"), Some(&false.into()));
    assert!(json.get("error").is_some_and(serde_json::Value::is_null));
    let phases = json["phases"].as_array().unwrap();
    assert!(phases.iter().all(|p| p["name"].is_string() && p["ms"].is_number()), "{json}");
    for name in ["resolve", "rootfs", "boot", "command"] {
        assert!(phases.iter().any(|p| p["name"] == name), "no phase {name}: {json}");
    }
}

#[test]
fn json_caps_streams_and_encodes_what_is_no_text() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "head -c 3000000 /dev/zero | tr '\\0' x; printf '\\377' >&2";
    let run = sandbox.run(&["--image", &image.reference("plain"), "--exec", line, "--json"]);
    let outcome = run.output();
    outcome.code(0).is_silent();
    let json = outcome.json();
    let result = &json["result"];
    assert_eq!(result["encoding"], "base64");
    assert_eq!(
        (&result["stdout_truncated"], &result["stderr_truncated"]),
        (&true.into(), &false.into())
    );
    assert_eq!(result["stderr"], "/w==");
    let stdout = result["stdout"].as_str().unwrap();
    assert_eq!(stdout.len(), MIB.div_ceil(3) * 4);
}

#[test]
fn json_errors_are_objects_too() {
    let Some((sandbox, image)) = parts() else { return };
    let json = |arguments: &[&str], code: i32| {
        let outcome = sandbox.run(arguments).output();
        outcome.code(code).is_silent();
        let json = outcome.json();
        assert!(
            json["error"]["kind"].is_string() && json["error"]["message"].is_string(),
            "{json}"
        );
        json
    };
    let image = image.reference("plain");
    assert_eq!(json(&["--json", "--image", "oci:/nowhere"], 125)["error"]["kind"], "not_found");
    assert_eq!(json(&["--json", "--no-such-flag"], 2)["error"]["kind"], "usage");
    assert_eq!(json(&["--json", "--image", &image, "--cpus", "999"], 2)["error"]["kind"], "usage");
    let setup = json(&["--json", "--image", &image, "--setup", "exit 4", "--exec", "true"], 4);
    assert!(setup["error"]["message"].as_str().unwrap().contains("setup 1"), "{setup}");
}

#[test]
fn trace_adds_a_table_and_quiet_adds_nothing() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let run = |flag: &str| sandbox.run(&[flag, "--image", &image, "--exec", "echo hi"]).output();
    let outcome = run("--trace");
    outcome.code(0).prints("hi\n").says(&["resolve", "rootfs", "boot", "command", "total"]);
    run("-q").code(0).prints("hi\n").is_silent();
    let outcome = run("-v");
    outcome.code(0).prints("hi\n").says(&[sandbox.setting().backend(), "Linux version"]);
    // Colours are for terminals.
    assert!(!outcome.stderr().contains('\x1b'), "{}", outcome.text());
}

#[test]
fn progress_is_for_terminals_and_colour_for_who_wants_it() {
    let Some((sandbox, image)) = parts() else { return };
    if !tools(&["script"]) {
        return;
    }
    let image = image.reference("plain");
    let arguments = ["--image", &image, "--exec", "echo hi"];
    // A pipe gets neither: other tests see silent streams. A terminal gets both.
    let bad = ["--image", &image, "--cpus", "999", "--exec", "echo hi"];
    let outcome = sandbox.run(&arguments).on_terminal().output();
    outcome.code(0).shows(&["hi"]);
    assert!(outcome.stdout().contains("resolving"), "{}", outcome.text());
    let outcome = sandbox.run(&bad).on_terminal().output();
    assert!(outcome.code(2).stdout().contains("\x1b["), "{}", outcome.text());
    let plain = sandbox.run(&bad).on_terminal().env("NO_COLOR", "1").output();
    assert!(!plain.code(2).stdout().contains("\x1b["), "{}", plain.text());
}

/// The rest of a child's streams and its status, or its end by force.
fn deadline(child: std::process::Child, limit: Duration) -> std::process::Output {
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    let (done, over) = std::sync::mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        let late = over.recv_timeout(limit).is_err();
        if late {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        late
    });
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    let late = watch.join().unwrap();
    assert!(!late, "not ended within {limit:?}: {}", String::from_utf8_lossy(&output.stderr));
    std::io::stderr().flush().unwrap();
    output
}
