//! Machines whose shim was killed, taken up by another: the ways out of the guest and into it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use microagent_tests_cli::images::{busybox, caller};
use microagent_tests_cli::{Sandbox, mentioning, tools, until};
use rustix::process::Signal;

const WITHIN: Duration = Duration::from_secs(60);

/// Kills the shim of a workspace, and waits until that is seen.
fn kill_shim(sandbox: &Sandbox, name: &str) {
    let all = mentioning(&sandbox.workspace(name));
    let shim = all.iter().find(|p| p.arguments.iter().any(|word| word == "shim")).unwrap();
    shim.signal(Signal::KILL);
    let failed = || {
        let status = sandbox.call(&["status", "--json", name]).output().code(0).json();
        if status["state"] == "failed" { Ok(()) } else { Err(status) }
    };
    until(WITHIN, failed).unwrap();
}

/// Says `hello` to whoever comes; its address.
fn greets() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Goes with the process of the tests.
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let said = stream.write_all(b"hello").and_then(|()| stream.shutdown(Shutdown::Write));
            let mut rest = Vec::new();
            let _ = said.and_then(|()| stream.read_to_end(&mut rest));
        }
    });
    address
}

#[test]
fn a_channel_to_the_host_is_there_again() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(image) = caller(&sandbox.file("image")) else { return };
    let name = sandbox.new_name();
    let channel = format!("5000={}", greets());
    let create = ["create", "--image", &image, "--name", &name, "--mediation", &channel];
    sandbox.call(&create).output().code(0);
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    let call = || sandbox.call(&["exec", &name, "vsock", "call", "5000", ""]).output();
    call().code(0).prints("got=hello\n");
    kill_shim(&sandbox, &name);
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    call().code(0).prints("got=hello\n");
    sandbox.call(&["halt", &name]).output().code(0);
    sandbox.call(&["delete", &name]).output().code(0);
}

#[test]
fn a_published_port_never_went() {
    if !tools(&["passt"]) {
        return;
    }
    let (Some(image), Some(sandbox)) = (busybox(), Sandbox::new()) else { return };
    let name = sandbox.new_name();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let publish = format!("{address}:80");
    let image = image.reference("plain");
    let create = ["create", "--image", &image, "--name", &name, "--network", "user"];
    let serves = "mkdir -p /www && echo served >/www/file && httpd -p 80 -h /www";
    sandbox.call(&create).args(&["-p", &publish]).output().code(0);
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    sandbox.call(&["exec", &name, "sh", "-c", serves]).output().code(0);
    let fetched = || {
        let mut stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
        let asked = stream.write_all(b"GET /file HTTP/1.0\r\n\r\n");
        let mut text = String::new();
        asked.and_then(|()| stream.read_to_string(&mut text)).map_err(|e| e.to_string())?;
        if text.contains("served") { Ok(()) } else { Err(text) }
    };
    until(WITHIN, fetched).unwrap();
    kill_shim(&sandbox, &name);
    // Its processes are the machine's, not the shim's.
    until(WITHIN, fetched).unwrap();
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    until(WITHIN, fetched).unwrap();
    sandbox.call(&["halt", &name]).output().code(0);
    sandbox.call(&["delete", &name]).output().code(0);
}
