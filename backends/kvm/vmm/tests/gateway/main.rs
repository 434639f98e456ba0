//! The gateway, run for real with a real passt.
#![allow(clippy::unwrap_used, clippy::panic)] // what fails here fails a test

mod fixture;

use std::net::{Ipv4Addr, TcpListener};

use microagent_vmm_protocol::GatewayReport;
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{GATEWAY, Running, passt, runs, server};

/// What a frame is: the reply to a question, or the flags of TCP.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Address,
    Tcp(u8),
}

fn heard(frame: &[u8]) -> Heard {
    match frame[12..14] {
        [8, 6] => Heard::Address,
        _ => Heard::Tcp(frame[14 + 20 + 13]),
    }
}

#[test]
fn a_guest_that_sends_to_the_loopback_is_not_heard() {
    let Some(passt) = passt() else { return };
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    // With and without what passt itself knows against it.
    for more in [&["--no-map-gw"][..], &[]] {
        let mut gateway = Running::start(passt.clone(), more);
        let loopback = [[127, 0, 0, 1], [127, 9, 9, 9], [0, 0, 0, 0], [0, 0, 0, 1]];
        for address in loopback.map(Ipv4Addr::from).into_iter().chain([GATEWAY]) {
            gateway.knock(address, port);
        }
        // What is answered after them shows that they have been looked at.
        gateway.ask(GATEWAY);
        assert_eq!(heard(&gateway.next()), Heard::Address, "{more:?}");
        gateway.ask(GATEWAY);
        assert_eq!(heard(&gateway.next()), Heard::Address, "{more:?}");
        server.set_nonblocking(true).unwrap();
        assert!(server.accept().is_err(), "{more:?}");
    }
}

#[test]
fn it_ends_with_either_side_and_takes_passt_along() {
    let Some(passt) = passt() else { return };
    let check = |end: fn(Running) -> std::process::ExitStatus, expect: bool| {
        let gateway = Running::start(passt.clone(), &["--no-map-gw"]);
        let pid = gateway.passt();
        assert!(runs(pid));
        assert_eq!(end(gateway).success(), expect);
        assert!(!runs(pid));
    };
    check(Running::end_of_life, true);
    check(Running::end_of_device, true);
    let killed = |gateway: Running| {
        let pid = Pid::from_raw(gateway.passt().cast_signed()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        gateway.end()
    };
    check(killed, false);
}

#[test]
fn what_a_guest_said_before_its_end_is_passed_on() {
    let Some(passt) = passt() else { return };
    let Some((server, address)) = server() else { return };
    for round in 0..5u8 {
        let mut gateway = Running::start(passt.clone(), &["--no-map-gw"]);
        let pid = gateway.passt();
        for n in 0..LAST {
            gateway.tell(address, &[round, n]);
        }
        assert!(gateway.end_of_device().success());
        assert!(!runs(pid));
        for n in 0..LAST {
            let mut text = [0; 3];
            assert_eq!(server.recv(&mut text).unwrap(), 2);
            assert_eq!(text[..2], [round, n]);
        }
    }
}

/// As many as come to a host at once without loss.
const LAST: u8 = 64;

#[test]
fn why_passt_ended_is_told() {
    let Some(passt) = passt() else { return };
    let check = |more: &[&str], expect: &str| {
        let gateway = Running::start(passt.clone(), more);
        let GatewayReport::Failed { message } = &gateway.report else { panic!("it is ready") };
        assert!(message.contains(expect), "{message}");
        assert!(!gateway.end().success());
    };
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ports = format!("127.0.0.1/{}:80", taken.local_addr().unwrap().port());
    check(&["--tcp-ports", &ports], &format!("Failed to bind any port for '-t {ports}'"));
    check(&["--address", "nonsense"], "passt ended: ");
}

#[test]
fn what_is_no_passt_is_told() {
    let report = |program: &str| Running::start(program.into(), &[]).report.clone();
    let failed = |report: &GatewayReport, expect: &str| match report {
        GatewayReport::Failed { message } => assert!(message.contains(expect), "{message}"),
        GatewayReport::Ready { .. } => panic!("it is ready"),
    };
    failed(&report("/nonexistent/passt"), "cannot start /nonexistent/passt");
    failed(&report("passt"), "expected an absolute path");
    failed(&report("/bin/false"), "passt ended: ");
}
