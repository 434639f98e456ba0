//! What Cloud Hypervisor can be asked.

use std::time::Duration;

use hyper::Method;
use microagent_backend::{Error, ErrorKind, Result};
use microagent_guarded::{SocketDir, one_line};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use super::exchange::{Reply, exchange};
use super::{Counters, Info};
use crate::files;
use crate::limits::{BOOT_WITHIN, BUILD_WITHIN, MAX_MESSAGES, REPLY_WITHIN};
use crate::refusal::{quoted, refused};
use crate::vm_config::VmConfig;

/// The way to a Cloud Hypervisor.
#[derive(Debug)]
pub(crate) struct Client {
    sockets: SocketDir,
    /// Held while a request is in flight.
    turn: Mutex<()>,
}

/// A request.
struct Ask {
    /// What it is for, in an error.
    what: &'static str,
    method: Method,
    name: &'static str,
    body: Option<Vec<u8>>,
    within: Duration,
}

impl Client {
    /// A way to the Cloud Hypervisor of this run directory.
    pub(crate) fn new(sockets: SocketDir) -> Self {
        Self { sockets, turn: Mutex::new(()) }
    }

    /// Says what its machine shall be; answered once it runs at all.
    pub(crate) async fn create(&self, config: &VmConfig) -> Result<()> {
        let body = serde_json::to_vec(config)
            .map_err(|e| Error::new(ErrorKind::Io, "cannot say what is asked").with_source(e))?;
        let (body, within) = (Some(body), BUILD_WITHIN);
        self.done(Ask { body, within, ..put("take what was asked for", "vm.create") }).await
    }

    /// Asks what its machine is, and where it is in its life.
    pub(crate) async fn info(&self) -> Result<Info> {
        self.answer(get("tell its state", "vm.info")).await
    }

    /// Asks for counters.
    pub(crate) async fn counters(&self) -> Result<Counters> {
        self.answer(get("count", "vm.counters")).await
    }

    /// Builds the machine and lets its vCPUs run.
    pub(crate) async fn boot(&self) -> Result<()> {
        self.done(Ask { within: BOOT_WITHIN, ..put("start", "vm.boot") }).await
    }

    /// Holds the vCPUs.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.done(put("pause", "vm.pause")).await
    }

    /// Lets the vCPUs go on.
    pub(crate) async fn resume(&self) -> Result<()> {
        self.done(put("resume", "vm.resume")).await
    }

    /// Presses the guest's power button.
    pub(crate) async fn press_power_button(&self) -> Result<()> {
        self.done(put("press the power button", "vm.power-button")).await
    }

    /// A request that is answered by nothing but that it was done.
    async fn done(&self, ask: Ask) -> Result<()> {
        let reply = self.ask(ask).await?;
        match reply.body.is_empty() {
            true => Ok(()),
            false => Err(nonsense(&reply)),
        }
    }

    /// A request that is answered by JSON.
    async fn answer<T: DeserializeOwned>(&self, ask: Ask) -> Result<T> {
        let reply = self.ask(ask).await?;
        serde_json::from_slice(&reply.body).map_err(|e| nonsense(&reply).with_source(e))
    }

    /// Sends a request and waits for its reply, unless that is a refusal.
    async fn ask(&self, ask: Ask) -> Result<Reply> {
        let Ask { what, method, name, body, within } = ask;
        let asked = async {
            let _turn = self.turn.lock().await;
            let stream = self.sockets.connect(files::API).await?;
            exchange(stream, method, name, body).await
        };
        let reply = tokio::time::timeout(within, asked).await.unwrap_or_else(|_| {
            let message = format!("cloud-hypervisor did not {what} within {within:?}");
            Err(Error::new(ErrorKind::Timeout, message))
        })?;
        match reply.status {
            200..=299 => Ok(reply),
            status => Err(refused(what, status, &messages(&reply.body))),
        }
    }
}

fn get(what: &'static str, name: &'static str) -> Ask {
    Ask { what, method: Method::GET, name, body: None, within: REPLY_WITHIN }
}

fn put(what: &'static str, name: &'static str) -> Ask {
    Ask { method: Method::PUT, ..get(what, name) }
}

/// What stands in the body of a refusal: an array of strings, each the cause of the one before
/// it; other versions say it otherwise.
fn messages(body: &[u8]) -> String {
    let text = match serde_json::from_slice(body) {
        Ok(Value::Array(parts)) => {
            let parts = parts.iter().take(MAX_MESSAGES).map(plain);
            parts.collect::<Vec<_>>().join("; ")
        }
        Ok(value) => plain(&value),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    quoted(&text)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), one_line)
}

/// A reply that is none, of which as much is told as shows what it is.
fn nonsense(reply: &Reply) -> Error {
    let Reply { status, body } = reply;
    let start = String::from_utf8_lossy(&body[..body.len().min(80)]);
    let message = format!("cloud-hypervisor replied {status} and {:?}", one_line(&start));
    Error::new(ErrorKind::Protocol, message)
}

#[cfg(test)]
mod tests;
