//! Ports of the guest's loopback that lead to the same port of the host's vsock, for programs
//! that do not speak vsock.
//!
//! Each has a process of its own, so that no connection holds up the session: one thread, one
//! `poll` loop, no privileges. A process that is killed stays away, as anything else that the
//! guest's root ends does.

mod connection;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::connection::HOST;
use crate::console::say;
use crate::failure::SetupError;
use crate::signals;
use crate::sys::process::{Side, close_all_but, exit_now, fork};
use connection::Connection;

/// Connections of one port at the same time, as many as the host takes; more are reset.
const MAX_CONNECTIONS: usize = 128;
/// `nobody` of ordinary systems.
const NOBODY: u32 = 65534;
/// How long nothing is accepted when the system has no descriptor left for it, unless a
/// connection goes on meanwhile: that may be its end.
const EXHAUSTED: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Listens at these ports. The loopback interface must be up.
pub(crate) fn start(ports: &[u16]) -> Result<(), SetupError> {
    for port in ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port))
            .map_err(SetupError::path("listen at", format!("127.0.0.1:{port}")))?;
        match fork().map_err(SetupError::system("start what forwards connections"))? {
            Side::Child => {
                let port = u32::from(*port);
                let Err(error) = run(&listener, move || dial(port));
                say(format_args!("connections to 127.0.0.1:{port} are no more forwarded: {error}"));
                exit_now(1);
            }
            // Reaped as any other child.
            Side::Parent { .. } => {}
        }
    }
    Ok(())
}

fn run(listener: &TcpListener, dial: impl Fn() -> io::Result<OwnedFd>) -> io::Result<Infallible> {
    close_all_but(listener.as_raw_fd());
    signals::give_back()?;
    become_nobody()?;
    serve(listener, dial)
}

fn become_nobody() -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(set_no_new_privs(true)?)
}

/// A connection to the host that is under way.
fn dial(port: u32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Vsock, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &VsockAddr::new(HOST, port)) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Accepts connections and moves what they carry, for ever.
fn serve(listener: &TcpListener, dial: impl Fn() -> io::Result<OwnedFd>) -> io::Result<Infallible> {
    listener.set_nonblocking(true)?;
    let mut connections: Vec<Connection> = Vec::new();
    let mut entrance = Entrance::Open;
    loop {
        let (accepting, ready) = wait(listener, entrance, &connections)?;
        entrance = Entrance::Open;
        let mut at = 0;
        // Those that are over go; the others keep their order.
        connections.retain_mut(|connection| {
            at += 1;
            !ready.contains(&(at - 1)) || connection.advance()
        });
        if accepting {
            entrance = accept(listener, &dial, &mut connections);
        }
    }
}

/// Whether connections are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entrance {
    Open,
    /// There is no descriptor for one more.
    Exhausted,
}

/// Whether somebody wants to connect, and which connections can go on.
fn wait(
    listener: &TcpListener,
    entrance: Entrance,
    connections: &[Connection],
) -> io::Result<(bool, Vec<usize>)> {
    let (wanted, within) = match entrance {
        Entrance::Open => (PollFlags::IN, None),
        Entrance::Exhausted => (PollFlags::empty(), Some(&EXHAUSTED)),
    };
    let mut owners = vec![None];
    let mut fds = vec![PollFd::new(listener, wanted)];
    for (at, connection) in connections.iter().enumerate() {
        for (fd, flags) in connection.wants() {
            owners.push(Some(at));
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        }
    }
    match poll(&mut fds, within) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let ready = owners.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
    let ready: Vec<_> = ready.map(|(owner, _)| *owner).collect();
    Ok((ready.contains(&None), ready.into_iter().flatten().collect()))
}

fn accept(
    listener: &TcpListener,
    dial: impl Fn() -> io::Result<OwnedFd>,
    connections: &mut Vec<Connection>,
) -> Entrance {
    match listener.accept() {
        Ok((client, _)) if connections.len() >= MAX_CONNECTIONS => connection::reset(&client),
        Ok((client, _)) => match prepare(&client, dial) {
            Ok(host) => connections.push(Connection::new(client.into(), host)),
            Err(_) => connection::reset(&client),
        },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) if error.raw_os_error() == Some(nix::libc::ECONNABORTED) => {}
        Err(_) => return Entrance::Exhausted,
    }
    Entrance::Open
}

fn prepare(client: &TcpStream, dial: impl Fn() -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    client.set_nonblocking(true)?;
    client.set_nodelay(true)?;
    dial()
}

#[cfg(test)]
mod tests;
