//! An executable that speaks the supervisor protocol.

use std::fs::File;
use std::io::{self, Read, Write};

use microagent_backend::Backend;
use microagent_supervisor_protocol::MAX_REQUEST;

use crate::answer::answer;

/// Reads one request from standard input and writes the answer to standard output, which
/// from then on is standard error: whatever is printed meanwhile is log.
///
/// # Errors
/// What reading and writing meet.
pub async fn serve(backend: &dyn Backend) -> io::Result<()> {
    let mut exchange = Exchange::begin()?;
    let answer = answer(backend, &exchange.request).await;
    exchange.output.write_all(&answer)
}

/// The same for what is no backend: `answer` makes the answer of the request.
///
/// # Errors
/// What reading and writing meet.
pub fn reply(answer: impl FnOnce(&[u8]) -> Vec<u8>) -> io::Result<()> {
    let mut exchange = Exchange::begin()?;
    let answer = answer(&exchange.request);
    exchange.output.write_all(&answer)
}

/// A request, and where its answer goes.
struct Exchange {
    request: Vec<u8>,
    output: File,
}

impl Exchange {
    fn begin() -> io::Result<Self> {
        let output = take_stdout()?;
        let mut request = Vec::new();
        io::stdin().take(MAX_REQUEST).read_to_end(&mut request)?;
        Ok(Self { request, output })
    }
}

fn take_stdout() -> io::Result<File> {
    let output = rustix::io::dup(io::stdout())?;
    rustix::io::fcntl_setfd(&output, rustix::io::FdFlags::CLOEXEC)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(output.into())
}
