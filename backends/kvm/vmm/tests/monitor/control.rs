//! Drivers, good and bad.

use std::io::Write;

use microagent_vmm_protocol::{
    ControlErrorKind, MAX_CONTROL_LINE, MonitorState, Reply, Request, VERSION,
};

use crate::{Fixture, Guest, kvm_is_missing};

const STATE: Request = Request::State { version: VERSION };

#[test]
fn lines_that_are_no_requests_are_refused() {
    if kvm_is_missing() {
        return;
    }
    let monitor = Fixture::new(&Guest::new().spin()).spawn();
    let mut driver = monitor.connect();
    let mut check = |line: &[u8]| {
        driver.send(line);
        match driver.receive() {
            Some(Reply::Refused(error)) => assert_eq!(error.kind, ControlErrorKind::Protocol),
            other => panic!("{line:?}: {other:?}"),
        }
    };
    check(b"\n");
    check(b"{\"op\":\"reboot\"}\n");
    check(b"{\"op\":\"state\",\"version\":9}\n");
    check(b"\xff\xfe\n");
    check(&[b"[".repeat(MAX_CONTROL_LINE / 2), b"\n".to_vec()].concat());
    // The connection is still good, also for requests that come in one piece or in many.
    driver.send(b"{\"op\":\"stats\"}\n{\"op\":\"stats\"}\n{\"op\":");
    assert!(matches!(driver.receive(), Some(Reply::Stats(_))));
    assert!(matches!(driver.receive(), Some(Reply::Stats(_))));
    driver.send(b"\"stats\"}\n");
    assert!(matches!(driver.receive(), Some(Reply::Stats(_))));
}

#[test]
fn a_line_without_an_end_ends_the_connection() {
    if kvm_is_missing() {
        return;
    }
    let monitor = Fixture::new(&Guest::new().spin()).spawn();
    let mut driver = monitor.connect();
    // It may be hung up on before all is written.
    let _ = driver.0.get_mut().write_all(&vec![b'x'; MAX_CONTROL_LINE + 1]);
    while driver.receive().is_some() {}
    assert_eq!(monitor.connect().state(&STATE), MonitorState::Created);
}

#[test]
fn drivers_that_do_not_read_hold_up_nobody() {
    if kvm_is_missing() {
        return;
    }
    let monitor = Fixture::new(&Guest::new().spin()).spawn();
    let mut lazy = monitor.connect();
    lazy.0.get_mut().set_nonblocking(true).unwrap();
    let line = b"{\"op\":\"stats\"}\n".repeat(1000);
    // Until nothing more goes in: the replies have filled the way back.
    while lazy.0.get_mut().write(&line).is_ok() {}
    let _silent: Vec<_> = (0..8).map(|_| monitor.connect()).collect();
    assert_eq!(monitor.connect().state(&STATE), MonitorState::Created);
}

#[test]
fn too_many_drivers_wait_their_turn() {
    if kvm_is_missing() {
        return;
    }
    let monitor = Fixture::new(&Guest::new().spin()).spawn();
    let mut drivers: Vec<_> = (0..40).map(|_| monitor.connect()).collect();
    assert_eq!(drivers[0].state(&STATE), MonitorState::Created);
    let mut last = drivers.pop().unwrap();
    last.send(b"{\"op\":\"stats\"}\n");
    drop(drivers);
    assert!(matches!(last.receive(), Some(Reply::Stats(_))));
}
