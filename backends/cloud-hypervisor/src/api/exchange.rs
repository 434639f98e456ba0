//! One request and its reply.

use std::error::Error as StdError;
use std::pin::pin;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use microagent_backend::{Error, ErrorKind, Result};
use tokio::net::UnixStream;

use crate::limits::{MAX_REPLY, MAX_REPLY_FIELDS, MAX_REPLY_HEAD};

/// Where all of its requests begin.
const ROOT: &str = "/api/v1/";
const JSON: &str = "application/json";
const CLOSED: &str = "cloud-hypervisor closed the connection instead of replying";

/// What was replied.
#[derive(Debug)]
pub(super) struct Reply {
    /// The status code.
    pub(super) status: u16,
    /// The body, at most [`MAX_REPLY`] bytes.
    pub(super) body: Bytes,
}

/// Sends a request on a new connection and reads the reply; the connection goes with it.
pub(super) async fn exchange(
    stream: UnixStream,
    method: Method,
    name: &str,
    body: Option<Vec<u8>>,
) -> Result<Reply> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{ROOT}{name}"))
        .header(HOST, "localhost")
        .header(ACCEPT, JSON)
        .header(CONNECTION, "close");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, JSON);
    }
    let request = request
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot ask for {name}")).with_source(e))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_REPLY_HEAD)
        .max_headers(MAX_REPLY_FIELDS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut connection = pin!(connection);
    let mut reply = pin!(async { read(sender.send_request(request).await.map_err(broken)?).await });
    let mut closed = false;
    loop {
        tokio::select! {
            reply = &mut reply => return reply,
            // What it ends with is told by the reply too.
            _ = &mut connection, if !closed => closed = true,
        }
    }
}

async fn read(response: Response<Incoming>) -> Result<Reply> {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_REPLY).collect().await;
    match body {
        Ok(body) => Ok(Reply { status, body: body.to_bytes() }),
        Err(e) if e.is::<LengthLimitError>() => {
            let message = format!("cloud-hypervisor's reply is longer than {MAX_REPLY} bytes");
            Err(Error::new(ErrorKind::Protocol, message))
        }
        Err(e) => match e.downcast::<hyper::Error>() {
            Ok(e) => Err(broken(*e)),
            Err(e) => {
                let message = "cannot read cloud-hypervisor's reply";
                Err(Error::new(ErrorKind::Io, message).with_source(e))
            }
        },
    }
}

/// What a connection that broke means: it went away, or it does not speak HTTP.
fn broken(error: hyper::Error) -> Error {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionReset, InvalidData, InvalidInput, UnexpectedEof,
    };
    let io = error.source().and_then(|e| e.downcast_ref::<std::io::Error>()).map(|e| e.kind());
    let ended = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
    let (kind, message) = match io {
        Some(BrokenPipe | ConnectionReset | UnexpectedEof) => (ErrorKind::Crashed, CLOSED),
        _ if ended => (ErrorKind::Crashed, CLOSED),
        // A chunk without a length, for one.
        None | Some(InvalidData | InvalidInput) => {
            (ErrorKind::Protocol, "cloud-hypervisor replied what is no HTTP")
        }
        Some(_) => (ErrorKind::Io, "cannot talk to cloud-hypervisor"),
    };
    Error::new(kind, message).with_source(error)
}
