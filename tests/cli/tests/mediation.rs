//! Channels from a guest to targets on the host, real servers among them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use microagent_tests_cli::images::caller;
use microagent_tests_cli::{Invocation, Live, Nginx, Process, Sandbox, mentioning};
use microagent_tests_guest::pattern;

const GREETING: &str = "hello from the host\n";
/// What the guest asks of the server: the same at every place.
const REQUEST: &str = "GET /greeting HTTP/1.0\n\n";
/// Most memory of its own that a process of the host may take, whatever goes through, in KiB.
const MOST_MEMORY: u64 = 100 << 10;
/// How long a transfer may take on a busy machine.
const TRANSFER: Duration = Duration::from_secs(600);

fn parts() -> Option<(Sandbox, String)> {
    let sandbox = Sandbox::new()?;
    let image = caller(&sandbox.file("image"))?;
    Some((sandbox, image))
}

fn server() -> Option<Nginx> {
    Nginx::start(&[("greeting", GREETING)])
}

/// A run of a line with a channel from port 5000.
fn run(sandbox: &Sandbox, image: &str, to: &str, line: &str) -> Invocation {
    let channel = format!("5000={to}");
    sandbox.run(&["--mediation", &channel, "--image", image, "--exec", line])
}

/// A target of the test's own: each connection is handed to a function.
fn target(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Goes with the process of the tests.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), serve.clone());
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A port that nobody listens on.
fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Says something and ends its half. Whoever looks whether the target is there does not wait.
fn tells(mut stream: &TcpStream, text: &str) {
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.shutdown(Shutdown::Write));
}

/// All that comes, up to an end or a reset.
fn text(mut stream: &TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// Watches the memory of a run's processes, apart from the hypervisor, whose memory is the
/// guest's.
struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Meter {
    fn start(sandbox: &Sandbox, live: &Live) -> Self {
        let is_server = |process: &Process| {
            let job = process.arguments.get(1).map_or("", |job| job);
            process.program() == "microagent-vmm" && job != "run"
        };
        let all = mentioning(&sandbox.workspace(live.name()));
        let servers = all.into_iter().filter(is_server).map(|process| process.pid);
        let watched: Vec<_> = servers.chain([live.pid()]).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut most = 0;
            while !stopped.load(Ordering::Relaxed) {
                most = watched.iter().map(|pid| own_memory(*pid)).fold(most, u64::max);
                thread::sleep(Duration::from_millis(50));
            }
            most
        });
        Self { stop, thread }
    }

    /// The most that one process had, in KiB.
    fn most(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Memory of a process that it shares with nobody, in KiB.
fn own_memory(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[test]
fn requests_reach_a_real_server() {
    let Some(((sandbox, image), nginx)) = parts().zip(server()) else { return };
    let to = format!("{},listen", nginx.address());
    let line = format!(
        "vsock call 5000 '{REQUEST}' | grep hello; wget -qO- http://127.0.0.1:5000/greeting; \
         wget -qO- http://127.0.0.1:5000/nothing; echo $?; netstat -lnt | grep -c 127.0.0.1:5000"
    );
    let outcome = run(&sandbox, &image, &to, &line).args(&["--json"]).output();
    let json = outcome.code(0).json();
    assert_eq!(json["result"]["stdout"], format!("{GREETING}{GREETING}1\n1\n"), "{json}");
    let mediation = &json["mediation"];
    assert_eq!(mediation["target"], nginx.address());
    assert_eq!((&mediation["port"], &mediation["connections"]), (&5000.into(), &3.into()));
    assert_eq!((&mediation["required"], &mediation["ready"]), (&true.into(), &true.into()));
    assert!(mediation["broken"].is_null() && mediation["bytes"].as_u64() > Some(600), "{json}");
}

#[test]
fn a_hundred_connections_at_once_are_answered() {
    let Some(((sandbox, image), nginx)) = parts().zip(server()) else { return };
    let line = format!("vsock crowd 5000 100 '{REQUEST}' | grep -e same -e hello");
    let outcome = run(&sandbox, &image, &nginx.address(), &line).output();
    outcome.code(0).prints(&format!("same=100\n{GREETING}")).is_silent();
    // And through the guest's loopback.
    let line = format!(
        "i=0; while [ $i -lt 100 ]; do (printf '{REQUEST}' | nc 127.0.0.1 5000 | grep hello) & \
         i=$((i + 1)); done > /all; wait; grep -c hello /all"
    );
    let to = format!("{},listen", nginx.address());
    let outcome = run(&sandbox, &image, &to, &line).output();
    outcome.code(0).prints("100\n").is_silent();
}

#[test]
fn much_goes_through_either_way_in_little_memory() {
    let Some((sandbox, image)) = parts() else { return };
    // Where it is quick, as much as does not fit into any memory on the way.
    let whole = sandbox.setting().supervisor == "qemu:accel=tcg";
    let len: u64 = if whole { 1 << 30 } else { 32 << 20 };
    let to = target(move |mut stream| {
        let mut ask = [0; 1];
        match stream.read_exact(&mut ask).map(|()| &ask) {
            Err(_) => {}
            Ok(b"<") => pattern::write(&mut stream, len).unwrap(),
            Ok(_) => {
                let came = pattern::check(&mut ask.chain(&stream)).unwrap();
                tells(&stream, &came.to_string());
            }
        }
    });
    let line =
        format!("echo begin; time vsock send 5000 {len}; echo between; time vsock receive 5000");
    let mut live = run(&sandbox, &image, &to, &line).start();
    live.wait_for("begin\n");
    let meter = Meter::start(&sandbox, &live);
    let outcome = live.finish_within(TRANSFER);
    let most = meter.most();
    outcome.code(0).prints(&format!("begin\ngot={len}\nbetween\nreceived={len}\n"));
    eprintln!("{len} bytes each way, {most} KiB at most\n{}", outcome.stderr());
    assert!(most < MOST_MEMORY, "a process of the host took {most} KiB");
}

#[test]
fn each_half_ends_by_itself() {
    let Some((sandbox, image)) = parts() else { return };
    let guest_first = target(|stream| tells(&stream, &format!("heard {}", text(&stream))));
    let outcome = run(&sandbox, &image, &guest_first, "vsock call 5000 'a question'").output();
    outcome.code(0).prints("got=heard a question\n");
    let line = "printf 'a question' | nc 127.0.0.1 5000";
    let to = format!("{guest_first},listen");
    run(&sandbox, &image, &to, line).output().code(0).prints("heard a question");

    let (said, heard) = std::sync::mpsc::channel();
    let host_first = target(move |stream| {
        tells(&stream, "a greeting");
        let text = text(&stream);
        // None from whoever looked whether the target is there.
        let _ = (!text.is_empty()).then(|| said.send(text));
    });
    let outcome = run(&sandbox, &image, &host_first, "vsock listen 5000 'an answer'").output();
    outcome.code(0).prints("got=a greeting\n");
    assert_eq!(heard.recv_timeout(Duration::from_secs(60)).unwrap(), "an answer");
}

#[test]
fn without_its_target_a_required_channel_refuses_the_start() {
    let Some((sandbox, image)) = parts() else { return };
    let to = nowhere();
    let outcome = run(&sandbox, &image, &to, "echo ran").output();
    outcome.refuses(125, &["mediation", &to, "refused", "--mediation-optional"]);
    let json = run(&sandbox, &image, &to, "echo ran").args(&["--json"]).output();
    let json = json.code(125).json();
    assert_eq!(json["error"]["kind"], "unavailable");
    let mediation = &json["mediation"];
    assert_eq!((&mediation["required"], &mediation["ready"]), (&true.into(), &false.into()));
    // An address that never answers is waited for no longer than two seconds.
    let silent = run(&sandbox, &image, "192.0.2.1:9", "echo ran").output();
    silent.refuses(125, &["192.0.2.1:9"]);
    assert!(silent.took < Duration::from_secs(10), "{}", silent.text());
}

#[test]
fn an_optional_channel_starts_without_its_target_and_follows_it() {
    let Some((sandbox, image)) = parts() else { return };
    let to = nowhere();
    let line = "vsock call 5000 early; echo tried; read x; vsock call 5000 late";
    let call = run(&sandbox, &image, &to, line).args(&["--mediation-optional", "-i"]);
    let mut live = call.reads_later().start();
    live.wait_for("tried\n");
    let listener = TcpListener::bind(&to).unwrap();
    live.write(b"go\n");
    let (stream, _) = listener.accept().unwrap();
    assert_eq!(text(&stream), "late");
    tells(&stream, "now");
    let outcome = live.finish();
    outcome.code(0).shows(&["tried\ngot=now\n"]).says(&["is not there yet"]);
    drop((stream, listener));
    let call = run(&sandbox, &image, &to, "vsock call 5000 nobody");
    let json = call.args(&["--mediation-optional", "--json"]).output().code(0).json();
    let mediation = &json["mediation"];
    assert_eq!((&mediation["required"], &mediation["ready"]), (&false.into(), &false.into()));
    assert!(mediation["connections"] == 0 && mediation["broken"].is_null(), "{json}");
}

#[test]
fn a_target_that_dies_severs_a_required_channel() {
    let Some(((sandbox, image), nginx)) = parts().zip(server()) else { return };
    let to = format!("{},listen", nginx.address());
    // One connection that stays, one that finds nobody, one afterwards.
    let line = format!(
        "vsock call 5000 '{REQUEST}' | grep hello; mkfifo /f; \
         (nc 127.0.0.1 5000 < /f; echo over) & exec 3> /f; \
         echo ready; read x; vsock call 5000 '{REQUEST}'; wait; \
         vsock call 5000 again; echo goes on"
    );
    let call = run(&sandbox, &image, &to, &line).args(&["-i", "--keep"]);
    let name = call.name().to_owned();
    sandbox.keeps(&name);
    let mut live = call.reads_later().start();
    live.wait_for("ready\n");
    nginx.end();
    live.write(b"go\n");
    let outcome = live.finish();
    outcome.code(125).says(&["mediation to 127.0.0.1:", "is severed", "refused", "error:"]);
    outcome.shows(&[GREETING, "over\n", "refused (ECONNRESET", "goes on\n"]);
    let events = fs::read_to_string(sandbox.workspace(&name).join("events.jsonl")).unwrap();
    assert!(events.contains(r#""event":"mediation_broken","port":5000"#), "{events}");
}

#[test]
fn what_is_severed_is_reset_and_a_command_that_fails_keeps_its_own_code() {
    let Some((sandbox, image)) = parts() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("{},listen", listener.local_addr().unwrap());
    let line = "mkfifo /f; (nc 127.0.0.1 5000 < /f; echo over) & exec 3> /f; echo begun >&3; \
                read x; vsock call 5000 x; wait; exit 3";
    let mut live = run(&sandbox, &image, &to, line).args(&["-i"]).reads_later().start();
    // The first is that of the start.
    drop(listener.accept().unwrap());
    let (mut held, _) = listener.accept().unwrap();
    held.read_exact(&mut [0; 6]).unwrap();
    drop(listener);
    live.write(b"go\n");
    let outcome = live.finish();
    outcome.code(3).shows(&["over\n"]).says(&["is severed"]);
    let kind = held.read(&mut [0; 1]).unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_flood_of_connections_and_bytes_is_bounded() {
    let Some((sandbox, image)) = parts() else { return };
    // Answers once and then takes nothing any more.
    let to = target(|mut stream| {
        let mut byte = [0; 1];
        if stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
            thread::sleep(Duration::from_secs(1000));
        }
    });
    let line = "vsock hold 5000 300; echo over";
    let call = run(&sandbox, &image, &to, line).args(&["-i", "--memory", "512"]).reads_later();
    let mut live = call.start();
    live.wait_for("ended=172\n");
    let meter = Meter::start(&sandbox, &live);
    live.wait_for("full\n");
    live.close_stdin();
    let outcome = live.finish();
    let most = meter.most();
    outcome.code(0).shows(&["answered=128\nended=172\n", "over\n"]);
    eprintln!("128 connections that stand still, {most} KiB at most");
    assert!(most < MOST_MEMORY, "a process of the host took {most} KiB");
}

#[test]
fn a_dry_run_shows_the_channel_and_does_not_look_for_its_target() {
    let Some((sandbox, image)) = parts() else { return };
    let to = nowhere();
    let plan = format!("{to},listen");
    let outcome = run(&sandbox, &image, &plan, "true").args(&["--dry-run"]).output();
    outcome.code(0).shows(&["mediation", "vsock port 5000 and 127.0.0.1:5000", &to, "required"]);
    let call = run(&sandbox, &image, &to, "true").args(&["--dry-run", "--json"]);
    let json = call.args(&["--mediation-optional"]).output().code(0).json();
    let mediation = &json["mediation"];
    assert_eq!((&mediation["required"], &mediation["listen"]), (&false.into(), &false.into()));
    assert!(mediation["target"] == to && mediation.get("ready").is_none(), "{json}");
}
