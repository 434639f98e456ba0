//! The user network, on a host of each test's own: what a guest reaches, what reaches it, and
//! what does neither.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use microagent_tests_cli::images::{busybox, debian};
use microagent_tests_cli::{HostNet, Invocation, Live, Sandbox, find, tools, until};
use rustix::process::{Pid, Signal, kill_process};

/// How much a guest sends before its end, in bytes.
const LAST_WORDS: u64 = 300_000;

/// A resolver that knows one name.
fn resolver(listen: &str) -> String {
    format!(
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --no-resolv --no-hosts \
         --bind-interfaces --listen-address={listen} --user= --group= \
         --address=/server.example/{} &",
        HostNet::ADDRESS
    )
}

/// A server at this address, with a file.
fn server(listen: &str) -> String {
    format!("echo from-{listen} >file; busybox httpd -f -p {listen} &")
}

/// A run on this host, with these arguments before the image and the line.
fn on(host: &HostNet, sandbox: &Sandbox, flags: &[&str], image: &str, line: &str) -> Invocation {
    let invocation = sandbox.run(flags).args(&["--image", image, "--exec", line]);
    invocation.under(&host.enter())
}

fn plain() -> Option<String> {
    Some(busybox()?.reference("plain"))
}

#[test]
fn a_guest_fetches_from_a_server_that_it_knows_by_name() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), plain()) else { return };
    if !tools(&["dnsmasq", "busybox"]) {
        return;
    }
    let servers = format!("{}\n{}", resolver(HostNet::ADDRESS), server("198.51.100.1:80"));
    let Some(host) = HostNet::start(&[HostNet::ADDRESS], &servers) else { return };
    host.listens("tcp", 80);
    host.listens("udp", 53);
    let line = "wget -q -O - http://server.example/file && cat /etc/resolv.conf";
    let outcome = on(&host, &sandbox, &["--network", "user"], &image, line).output();
    outcome.code(0).prints("from-198.51.100.1:80\nnameserver 198.51.100.1\n");
}

#[test]
fn a_resolver_on_the_loopback_can_be_asked_and_nothing_else_there() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), plain()) else { return };
    if !tools(&["dnsmasq", "busybox"]) {
        return;
    }
    let servers = format!("{}\n{}", resolver("127.0.0.1"), server("127.0.0.1:80"));
    let Some(host) = HostNet::start(&["127.0.0.1"], &servers) else { return };
    host.listens("tcp", 80);
    host.listens("udp", 53);
    let line = "nslookup server.example 2>&1 | grep -o 198.51.100.1; cat /etc/resolv.conf
        timeout 5 wget -q -O - http://10.255.255.1/file || echo unreachable";
    let outcome = on(&host, &sandbox, &["--network", "user"], &image, line).output();
    outcome.code(0).prints("198.51.100.1\nnameserver 10.255.255.1\nunreachable\n");
}

#[test]
fn the_host_s_loopback_is_not_reached_even_by_root() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), plain()) else { return };
    let servers = format!("{}\n{}", server("127.0.0.1:80"), server("198.51.100.1:81"));
    let Some(host) = HostNet::start(&[], &servers) else { return };
    host.listens("tcp", 80);
    host.listens("tcp", 81);
    let fetched = host.run(&["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1/file"]);
    assert!(fetched.unwrap().starts_with("from-"), "the server itself is there");
    // The loopback's addresses are sent out like any other's.
    let line = "ip addr flush dev lo
        ip route del local 127.0.0.0/8 dev lo table local 2>/dev/null
        ip route add 127.0.0.0/8 via 10.255.255.1 dev eth0
        for c in all default eth0; do echo 1 >/proc/sys/net/ipv4/conf/$c/route_localnet; done
        ip route get 127.0.0.1 | grep -o 'via 10.255.255.1 dev eth0'
        for a in 127.0.0.1 127.1.2.3 10.255.255.1; do
            timeout 5 wget -q -O - http://$a/file 2>/dev/null && echo reached $a
        done
        timeout 5 wget -q -O - http://198.51.100.1:81/file";
    let outcome = on(&host, &sandbox, &["--network", "user"], &image, line).output();
    outcome.code(0).prints("via 10.255.255.1 dev eth0\nfrom-198.51.100.1:81\n");
}

#[test]
fn a_package_manager_reads_its_lists() {
    let (Some(sandbox), Some(image)) = (Sandbox::shared(), debian()) else { return };
    if !tools(&["dnsmasq", "busybox"]) {
        return;
    }
    let servers = format!("{}\n{}", resolver(HostNet::ADDRESS), server("198.51.100.1:80"));
    let Some(host) = HostNet::start(&[HostNet::ADDRESS], &servers) else { return };
    host.listens("tcp", 80);
    host.listens("udp", 53);
    let package = "Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.example>\n\
                   Filename: ./thing.deb\nSize: 1\nDescription: a thing\n";
    fs::write(host.files().join("Packages"), package).unwrap();
    let line = "rm -rf /etc/apt/sources.list.d/*
        echo 'deb [trusted=yes] http://server.example/ ./' >/etc/apt/sources.list
        apt-get -q update >/tmp/log 2>&1 || cat /tmp/log
        apt-cache show thing | grep ^Description";
    let invocation = sandbox.run(&["--network", "user", "-u", "root", "--image"]);
    let invocation = invocation.args(&[&image.reference(), "--exec", line]);
    let outcome = invocation.under(&host.enter()).output();
    outcome.code(0).shows(&["Description: a thing\n"]);
}

#[test]
fn published_ports_lead_to_the_guest() {
    let (Some(sandbox), Some(image)) = (Sandbox::shared(), debian()) else { return };
    if !tools(&["curl", "python3"]) {
        return;
    }
    let Some(host) = HostNet::start(&[], "") else { return };
    // Both servers answer what they get, once.
    let line = r#"perl -MIO::Socket::INET -e '
        my $t = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die $!;
        my $u = IO::Socket::INET->new(LocalPort => 5353, Proto => "udp") or die $!;
        $| = 1; print "up\n";
        my $c = $t->accept; sysread $c, my $request, 4096;
        print $c "HTTP/1.0 200 OK\r\n\r\nfrom the guest\n"; close $c;
        $u->recv(my $text, 100); $u->send("got $text"); print "done\n";'"#;
    let flags = ["-u", "root", "-p", "8080:80", "-p", "127.0.0.1:5300:5353/udp"];
    let mut live = on(&host, &sandbox, &flags, &image.reference(), line).start();
    live.wait_for("up\n");
    let fetched = host.run(&["curl", "-sS", "--max-time", "60", "http://127.0.0.1:8080/"]);
    assert_eq!(fetched.as_deref(), Ok("from the guest\n"));
    let ask = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.sendto(b'hello', ('127.0.0.1', 5300))
print(s.recv(100).decode())";
    assert_eq!(host.run(&["python3", "-c", ask]).as_deref(), Ok("got hello\n"));
    live.finish().code(0).prints("up\ndone\n");
}

#[test]
fn only_what_is_published_can_be_reached() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), plain()) else { return };
    if !tools(&["curl"]) {
        return;
    }
    let Some(host) = HostNet::start(&[], "") else { return };
    let line = "mkdir /srv; echo one >/srv/file; httpd -p 80 -h /srv; httpd -p 81 -h /srv
        echo up; read _";
    let flags = ["-i", "-p", "198.51.100.1:8080:80"];
    let mut live = on(&host, &sandbox, &flags, &image, line).reads_later().start();
    live.wait_for("up\n");
    let fetch = |url: &str| host.run(&["curl", "-sS", "--max-time", "60", url]);
    assert_eq!(fetch("http://198.51.100.1:8080/file").as_deref(), Ok("one\n"));
    for other in ["127.0.0.1:8080", "198.51.100.1:80", "198.51.100.1:81", "127.0.0.1:81"] {
        assert!(fetch(&format!("http://{other}/file")).is_err(), "{other}");
    }
    live.close_stdin();
    live.finish().code(1);
}

#[test]
fn a_port_in_use_refuses_the_start() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), plain()) else { return };
    let Some(host) = HostNet::start(&[], &server("127.0.0.1:8080")) else { return };
    host.listens("tcp", 8080);
    let outcome = on(&host, &sandbox, &["-p", "8080:80"], &image, "echo ran").output();
    let says = ["port 127.0.0.1:8080/tcp of the host cannot be opened", "hint: choose another"];
    outcome.refuses(125, &says);
    // An address that is none of the host's is no better.
    let outcome = on(&host, &sandbox, &["-p", "192.0.2.9:81:80/udp"], &image, "echo ran").output();
    outcome.refuses(125, &["port 192.0.2.9:81/udp of the host cannot be opened"]);
}

#[test]
fn what_a_guest_sent_last_arrives() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), plain()) else { return };
    // A server that hears one connection, of either version, and says when that has ended.
    let servers = "{ busybox nc -l -p 81 >got; mv got whole; } &";
    let Some(host) = HostNet::start(&[], servers) else { return };
    host.listens("tcp6", 81);
    // More than the gateway holds, from a program that ends with its last write.
    let line = format!("nc 198.51.100.1 81 -e sh -c 'head -c {LAST_WORDS} /dev/zero'");
    let outcome = on(&host, &sandbox, &["--network", "user"], &image, &line).output();
    outcome.code(0);
    let whole = host.files().join("whole");
    until(Duration::from_secs(60), || fs::metadata(&whole).map(drop)).unwrap();
    assert_eq!(fs::metadata(&whole).unwrap().len(), LAST_WORDS);
}

#[test]
fn an_isolated_guest_has_its_loopback_alone() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), plain()) else { return };
    let line = "ls /sys/class/net | grep -v dummy0; cat /proc/net/route | wc -l
        ls /etc/resolv.conf 2>/dev/null";
    let outcome = sandbox
        .run(&["--network", "isolated", "--image", &image, "--exec", &format!("{line}; true")])
        .output();
    outcome.code(0).prints("lo\n1\n");
}

#[test]
fn without_passt_there_is_no_user_network() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), plain()) else { return };
    let programs = sandbox.file("programs");
    fs::create_dir(&programs).unwrap();
    symlink(&sandbox.setting().qemu, programs.join("qemu-system-x86_64")).unwrap();
    if let Some(program) = find("cloud-hypervisor") {
        symlink(program, programs.join("cloud-hypervisor")).unwrap();
    }
    let run = |network: &[&str]| {
        let run = sandbox.run(network).args(&["--image", &image, "--exec", "echo ran"]);
        run.env("PATH", &programs).output()
    };
    let says = ["does not offer user-net", "hint: install passt", "--network isolated"];
    run(&["--network", "user"]).refuses(125, &says);
    run(&[]).refuses(125, &says);
    run(&["--network", "isolated"]).code(0).prints("ran\n");
}

#[test]
fn qemu_s_own_network_needs_no_passt_and_is_warned_of() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), plain()) else { return };
    let setting = sandbox.setting();
    if setting.backend() != "qemu" {
        return eprintln!("SKIP: net=slirp: only QEMU has it");
    }
    let servers = format!("{}\n{}", server("127.0.0.1:8081"), server("198.51.100.1:81"));
    let Some(host) = HostNet::start(&[], &servers) else { return };
    host.listens("tcp", 81);
    host.listens("tcp", 8081);
    let programs = sandbox.file("programs");
    fs::create_dir(&programs).unwrap();
    symlink(&setting.qemu, programs.join("qemu-system-x86_64")).unwrap();
    let enter: Vec<_> = host.enter().into_iter().chain(["env".into()]).collect();
    let enter = [enter, vec![format!("PATH={}", programs.display()).into()]].concat();
    let supervisor = format!("{},net=slirp", setting.supervisor);
    let run = |flags: &[&str], line: &str| {
        let run = sandbox.run(flags).args(&["--supervisor", &supervisor]);
        run.args(&["--image", &image, "--exec", line]).under(&enter)
    };
    let line = "mkdir /srv; echo from-the-guest >/srv/file; httpd -p 80 -h /srv
        wget -q -O - http://198.51.100.1:81/file; echo up; read _; echo done";
    let mut live = run(&["-i", "-p", "8080:80"], line).reads_later().start();
    live.wait_for("up\n");
    let fetched = host.run(&["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/file"]);
    assert_eq!(fetched.as_deref(), Ok("from-the-guest\n"));
    live.close_stdin();
    let says = ["warning: qemu:net=slirp: the guest reaches the host's loopback"];
    live.finish().code(0).prints("from-198.51.100.1:81\nup\ndone\n").says(&says);
    let says = ["port 127.0.0.1:8081/tcp of the host cannot be opened", "hint: choose another"];
    run(&["-p", "8081:80"], "true").output().refuses(125, &says);
    // Whoever has no network has nothing to be warned of.
    let outcome = run(&["--network", "isolated"], "echo ran").output();
    outcome.code(0).prints("ran\n");
    assert_eq!(outcome.stderr(), "");
}

/// The process of this run's passt.
fn passt(sandbox: &Sandbox, live: &Live) -> i32 {
    let record = sandbox.workspace(live.name()).join("run/machine.json");
    let record = fs::read(record).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let helpers = record["helpers"].as_array().unwrap();
    let passt = helpers.iter().find(|helper| helper["name"] == "passt").unwrap();
    passt["id"]["pid"].as_i64().unwrap() as i32
}

/// Whether a process is there, and not just waiting to be collected.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_passt_that_dies_ends_the_run() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), plain()) else { return };
    let Some(host) = HostNet::start(&[], "") else { return };
    let flags = ["--network", "user"];
    let mut live = on(&host, &sandbox, &flags, &image, "echo up; sleep 1000").start();
    live.wait_for("up\n");
    kill_process(Pid::from_raw(passt(&sandbox, &live)).unwrap(), Signal::KILL).unwrap();
    let outcome = live.finish_within(Duration::from_secs(60));
    outcome.code(125).says(&["process died"]);
}

#[test]
fn passt_dies_with_a_killed_run() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), plain()) else { return };
    let Some(host) = HostNet::start(&[], "") else { return };
    let flags = ["--network", "user"];
    let mut live = on(&host, &sandbox, &flags, &image, "echo up; sleep 1000").start();
    live.wait_for("up\n");
    let passt = passt(&sandbox, &live);
    assert!(runs(passt));
    live.signal_group(Signal::KILL);
    let gone = until(Duration::from_secs(20), || if runs(passt) { Err("passt") } else { Ok(()) });
    gone.unwrap();
    sandbox.assert_clean_within(Duration::from_secs(20));
}
