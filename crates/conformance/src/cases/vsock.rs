//! Connections between host and guest, begun by either.

use std::time::Duration;

use microagent_backend::Exit;
use microagent_machine::{Cid, Vsock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use crate::bench::{END_WITHIN, Subject};
use crate::case::case;
use crate::failure::{Failure, Result, require, same};
use crate::{Case, Context, End, Script, Step};

pub(super) const CASES: &[Case] = &[
    case!(T2, [Vsock], a_guest_reaches_a_listener_on_the_host),
    case!(T2, [Vsock], a_guest_is_refused_where_nobody_listens),
    case!(T2, [Vsock], the_host_reaches_a_listener_in_the_guest),
    case!(T2, [Vsock], what_a_guest_sent_before_its_end_arrives),
    case!(T2, [Vsock], the_host_is_refused_where_nobody_listens),
];

/// A port, of no meaning.
const PORT: u32 = 7000;
/// Another, at which nobody listens.
const SILENT: u32 = 7001;
/// How much is sent through: more than any buffer on the way, and no multiple of a page.
const BULK: usize = (1 << 20) + 123;
/// How much a guest sends before its end: more than a socket takes, less than the socket and
/// the credit of a connection may be.
const LAST_WORDS: usize = 320 << 10;
/// In how many pieces the host reads them.
const PIECES: usize = 20;
/// How long it does something else in between: a guest has gone within less than all of them.
const BETWEEN_PIECES: Duration = Duration::from_millis(25);
/// Longest answer to `CONNECT` that is read, in bytes.
const MAX_ANSWER: usize = 32;

/// A machine with vsock that is not started.
async fn made(context: &Context, steps: Vec<Step>, end: End) -> Result<Subject> {
    let mut spec = context.device_spec(&Script { steps, end })?;
    spec.vsock = Some(Vsock { cid: Cid::GUEST });
    context.make("m", &spec).await
}

/// Fails if `what` takes longer than anything may.
async fn soon<T>(what: &str, work: impl Future<Output = std::io::Result<T>>) -> Result<T> {
    let late = || Failure::broken(format!("{what}: not within {END_WITHIN:?}"));
    Ok(timeout(END_WITHIN, work).await.map_err(|_| late())??)
}

async fn a_guest_reaches_a_listener_on_the_host(context: Context) -> Result {
    let call = Step::Call { port: PORT, text: "from-the-guest".to_owned() };
    let subject = made(&context, vec![call], End::PowerOff).await?;
    let listener = UnixListener::bind(subject.machine.vsock().listener_path(PORT))?;
    subject.machine.start().await?;
    let (mut guest, _) = soon("a connection", listener.accept()).await?;
    let mut text = String::new();
    soon("the end of the guest's half", guest.read_to_string(&mut text)).await?;
    same("what the guest sent", text.as_str(), "from-the-guest")?;
    // The guest has ended its half only.
    soon("sending", guest.write_all(b"from-the-host")).await?;
    drop(guest);
    subject.exit().await?;
    subject.has_said("got=from-the-host")?;
    subject.destroyed().await
}

async fn a_guest_is_refused_where_nobody_listens(context: Context) -> Result {
    let call = Step::Call { port: SILENT, text: "anybody".to_owned() };
    let subject = made(&context, vec![call], End::PowerOff).await?;
    subject.machine.start().await?;
    let exit = subject.exit().await?;
    require(matches!(exit, Exit::Reset | Exit::PowerOff), || format!("exit is {exit:?}"))?;
    subject.has_said("refused")?;
    subject.destroyed().await
}

/// Asks for a port of the guest; what stands before the first newline of the answer, which
/// is nothing if the connection ends instead.
async fn connect(subject: &Subject, port: u32) -> Result<(UnixStream, String)> {
    let mut socket = UnixStream::connect(subject.machine.vsock().path()).await?;
    soon("asking", socket.write_all(format!("CONNECT {port}\n").as_bytes())).await?;
    let mut answer = String::new();
    while answer.len() < MAX_ANSWER {
        let mut byte = [0];
        // A connection that is refused may end by a reset too.
        let read = timeout(END_WITHIN, socket.read(&mut byte)).await;
        match read.map_err(|_| Failure::broken("no answer to CONNECT"))? {
            Ok(1) if byte != *b"\n" => answer.push(char::from(byte[0])),
            _ => break,
        }
    }
    Ok((socket, answer))
}

/// A guest that gives back what it gets, a started machine, and a connection to it.
async fn echo(context: &Context) -> Result<(Subject, UnixStream)> {
    let subject = made(context, vec![Step::Serve { port: PORT }], End::PowerOff).await?;
    subject.machine.start().await?;
    subject.says("serving").await?;
    let (socket, answer) = connect(&subject, PORT).await?;
    let number = answer.strip_prefix("OK ").map(str::parse::<u32>);
    require(matches!(number, Some(Ok(_))), || format!("CONNECT was answered {answer:?}"))?;
    Ok((subject, socket))
}

/// Bytes without a pattern that repeats where buffers end.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 251) as u8).collect()
}

fn same_bytes(sent: &[u8], got: &[u8]) -> Result {
    let differs = sent.iter().zip(got).position(|(a, b)| a != b);
    require(got.len() == sent.len() && differs.is_none(), || {
        format!("{} bytes came back as {}, the first other at {differs:?}", sent.len(), got.len())
    })
}

async fn the_host_reaches_a_listener_in_the_guest(context: Context) -> Result {
    let (subject, socket) = echo(&context).await?;
    let sent = bytes(BULK);
    let (mut from, mut to) = socket.into_split();
    let sending = async {
        to.write_all(&sent).await?;
        to.shutdown().await
    };
    let mut got = Vec::new();
    let receiving = from.read_to_end(&mut got);
    soon("sending and receiving", async { tokio::try_join!(sending, receiving) }).await?;
    same_bytes(&sent, &got)?;
    subject.exit().await?;
    subject.has_said(&format!("served={BULK}"))?;
    subject.destroyed().await
}

async fn what_a_guest_sent_before_its_end_arrives(context: Context) -> Result {
    let (subject, mut socket) = echo(&context).await?;
    let sent = bytes(LAST_WORDS);
    soon("sending", async {
        socket.write_all(&sent).await?;
        socket.shutdown().await
    })
    .await?;
    // A guest that may have all of it on the way is gone long before the host has read it.
    let mut got = Vec::new();
    let mut piece = vec![0; LAST_WORDS / PIECES];
    loop {
        let len = soon("receiving", socket.read(&mut piece)).await?;
        if len == 0 {
            break;
        }
        got.extend(&piece[..len]);
        sleep(BETWEEN_PIECES).await;
    }
    same_bytes(&sent, &got)?;
    subject.exit().await?;
    subject.has_said(&format!("served={LAST_WORDS}"))?;
    subject.destroyed().await
}

async fn the_host_is_refused_where_nobody_listens(context: Context) -> Result {
    let steps = vec![Step::say("up")];
    let subject = made(&context, steps, End::Never).await?;
    subject.machine.start().await?;
    subject.says("up").await?;
    let (_socket, answer) = connect(&subject, SILENT).await?;
    require(!answer.starts_with("OK"), || format!("CONNECT was answered {answer:?}"))?;
    same("wait", subject.machine.wait(Duration::from_millis(100)).await?, None)?;
    subject.destroyed().await
}
