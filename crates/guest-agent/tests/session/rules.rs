//! How the session ends, and what the agent does not put up with.

use std::io::{Read, Write};

use microagent_guest_protocol::frame::{Header, Kind, MAX_CONTROL, MAX_DATA};
use microagent_guest_protocol::{AgentMessage, ExecRequest, HostMessage, Stream};

use crate::host::{Frame, Host, request, shell, signal};

#[test]
fn shutdown_ends_commands_and_says_goodbye() {
    let mut host = Host::start();
    host.exec(shell(1, "sleep 1000"));
    host.started(1);
    host.send(HostMessage::Shutdown);
    let goodbye = AgentMessage::Goodbye { reason: "requested".to_owned() };
    assert_eq!(host.receive(), Frame::Message(goodbye));
    assert_eq!(host.finish(1).status, signal(15));
    host.hears_the_last();
    assert!(host.wait().success());
}

#[test]
fn an_idle_agent_ends_at_once() {
    let mut host = Host::start();
    host.send(HostMessage::Shutdown);
    assert!(matches!(host.receive(), Frame::Message(AgentMessage::Goodbye { .. })));
    host.hears_the_last();
    assert!(host.wait().success());
}

#[test]
fn a_session_that_is_closed_ends_the_agent() {
    let mut host = Host::start();
    host.exec(shell(1, "sleep 1000"));
    host.started(1);
    host.socket.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(host.wait().success());
}

/// The agent gives the session up without a crash when the host sends this.
fn check(bytes: &[u8]) {
    let mut host = Host::start();
    host.exec(ExecRequest { stdin: true, ..request(1, &["sleep", "1000"]) });
    host.started(1);
    host.socket.write_all(bytes).unwrap();
    let mut rest = Vec::new();
    // A reset is as good an end as any.
    let _ = host.socket.read_to_end(&mut rest);
    assert_eq!(host.wait().code(), Some(1), "{bytes:?}");
}

#[test]
fn what_breaks_the_protocol_ends_the_session() {
    let frame = |message: HostMessage| message.to_frame().unwrap();
    let header = |kind, len| Header { kind, len }.encode();
    let stdin = Kind::Data { stream: Stream::Stdin, id: 1 };
    let credit = |stream, bytes| frame(HostMessage::Credit { id: 1, stream, bytes });
    check(&header(Kind::Control, MAX_CONTROL + 1));
    check(&header(stdin, MAX_DATA + 1));
    check(&header(Kind::Data { stream: Stream::Stdout, id: 1 }, 0));
    check(&[0xff; 12]);
    check(&[&header(Kind::Control, 2)[..], b"{}"].concat());
    check(&frame(HostMessage::Welcome));
    check(&frame(HostMessage::Exec(request(1, &["true"]))));
    check(&credit(Stream::Stdout, 1));
    check(&credit(Stream::Stdout, u32::MAX));
    check(&credit(Stream::Stdin, 1));
    let end = header(stdin, 0);
    check(&[&end[..], &header(stdin, 1), b"x"].concat());
    let full = [&header(stdin, MAX_DATA)[..], &vec![0; MAX_DATA]].concat();
    check(&full.repeat(6));
}

#[test]
fn what_concerns_commands_that_are_gone_is_nothing() {
    let mut host = Host::start();
    host.input(7, b"late");
    host.send(HostMessage::Credit { id: 7, stream: Stream::Stdout, bytes: 1 });
    host.send(HostMessage::Signal { id: 7, signal: 9 });
    let size = microagent_guest_protocol::TtySize { rows: 1, cols: 1 };
    host.send(HostMessage::Resize { id: 7, size });
    assert_eq!(host.shell(1, "exit 0").status, crate::host::code(0));
}
