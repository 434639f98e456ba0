//! Guests that use a network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;

use microagent_machine::{Protocol, Publish, UserNet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::bench::{END_WITHIN, Subject};
use crate::case::case;
use crate::failure::{Failure, Result, require, same};
use crate::{Case, Context, End, Script, Step};

pub(super) const CASES: &[Case] = &[
    case!(T2, [UserNet], a_guest_reaches_a_server_on_the_host),
    case!(T2, [UserNet], a_published_port_leads_to_the_guest),
    case!(T2, [UserNet], a_guest_without_a_network_has_no_device_for_one),
];

/// An address of this host that is not its loopback. No packet is sent to find it.
fn address() -> Result<Ipv4Addr> {
    let found = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    match found() {
        Ok(IpAddr::V4(address)) if !address.is_loopback() => Ok(address),
        _ => Err(Failure::Unavailable("this host has no address but its loopback".to_owned())),
    }
}

/// What brings up the guest's device.
fn up() -> Step {
    let (address, gateway) = (UserNet::ADDRESS, UserNet::GATEWAY);
    Step::Shell(format!(
        "busybox ifconfig eth0 {address} netmask 255.255.255.252 mtu {} up
         busybox route add default gw {gateway}",
        UserNet::MTU
    ))
}

/// A machine that does not end by itself: what a guest has sent when it ends may be lost with it.
async fn made(context: &Context, net: UserNet, steps: Vec<Step>) -> Result<Subject> {
    let mut spec = context.device_spec(&Script { steps, end: End::Never })?;
    spec.net = Some(net);
    context.make("m", &spec).await
}

async fn soon<T>(what: &str, work: impl Future<Output = std::io::Result<T>>) -> Result<T> {
    let late = || Failure::broken(format!("{what}: not within {END_WITHIN:?}"));
    Ok(timeout(END_WITHIN, work).await.map_err(|_| late())??)
}

async fn a_guest_reaches_a_server_on_the_host(context: Context) -> Result {
    let listener = TcpListener::bind((address()?, 0)).await?;
    let server = listener.local_addr()?;
    let (ip, port) = (server.ip(), server.port());
    // What talks is the shell itself, and its socket ends with it: how `nc` hands on the end
    // of its own input differs. The guest's half ends last, since passt (up to at least
    // January 2025) may lose the end of a server that ends after its client.
    let talk = "echo from-the-guest; cat >/dev/console; echo ended";
    let call = format!("busybox nc {ip} {port} -e sh -c '{talk}'");
    let subject = made(&context, UserNet::default(), vec![up(), Step::Shell(call)]).await?;
    subject.machine.start().await?;
    let (mut guest, _) = soon("a connection", listener.accept()).await?;
    let mut said = vec![0; "from-the-guest\n".len()];
    soon("what the guest says", guest.read_exact(&mut said)).await?;
    same("what the guest sent", said.as_slice(), b"from-the-guest\n".as_slice())?;
    soon("answering", guest.write_all(b"from-the-host\n")).await?;
    soon("ending", guest.shutdown()).await?;
    let mut rest = String::new();
    soon("the end of the guest's half", guest.read_to_string(&mut rest)).await?;
    same("what the guest sent after the host's end", rest.as_str(), "ended\n")?;
    subject.says("from-the-host").await?;
    subject.destroyed().await
}

async fn a_published_port_leads_to_the_guest(context: Context) -> Result {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
    let port = |number| NonZeroU16::new(number).ok_or_else(|| Failure::broken("port 0"));
    let (host, guest) = (port(free.port())?, port(7)?);
    let (address, protocol) = (Ipv4Addr::LOCALHOST, Protocol::Tcp);
    let publish = vec![Publish { address, host, guest, protocol }];
    let talk = "echo from-the-guest; cat; echo ended";
    let serve = format!("echo serving; busybox nc -l -p 7 -e sh -c '{talk}'");
    let net = UserNet { publish, ..UserNet::default() };
    let subject = made(&context, net, vec![up(), Step::Shell(serve)]).await?;
    let made_twice = TcpListener::bind(free).await;
    require(made_twice.is_err(), || format!("{free} is open to anybody"))?;
    subject.machine.start().await?;
    subject.says("serving").await?;
    let mut stream = greeted(free, "from-the-guest\n").await?;
    soon("speaking", stream.write_all(b"from-the-host\n")).await?;
    soon("ending", stream.shutdown()).await?;
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await?;
    same("the guest's answer", answer.as_str(), "from-the-host\nended\n")?;
    subject.destroyed().await
}

/// A connection to this port, on which the guest has spoken first. It may need a moment between
/// saying that it listens and doing so, and refuses until then.
async fn greeted(address: SocketAddr, greeting: &str) -> Result<TcpStream> {
    let asked = async {
        loop {
            let mut stream = TcpStream::connect(address).await?;
            let mut text = vec![0; greeting.len()];
            if stream.read_exact(&mut text).await.is_ok() {
                return Ok((stream, text));
            }
            tokio::time::sleep(crate::traces::LOOK_EVERY).await;
        }
    };
    let (stream, text) = soon("a greeting", asked).await?;
    same("what the guest said first", text.as_slice(), greeting.as_bytes())?;
    Ok(stream)
}

async fn a_guest_without_a_network_has_no_device_for_one(context: Context) -> Result {
    let list = "for n in /sys/class/net/*; do [ -e $n/device ] && echo device; done; echo listed";
    let script = Script { steps: vec![Step::Shell(list.to_owned())], end: End::PowerOff };
    let subject = context.make("m", &context.device_spec(&script)?).await?;
    subject.machine.start().await?;
    subject.exit().await?;
    subject.has_said("listed")?;
    let console = subject.machine.console().last(u64::MAX)?;
    let text = String::from_utf8_lossy(&console);
    require(!text.contains("device\r\n"), || format!("there is one:\n{text}"))?;
    subject.destroyed().await
}
