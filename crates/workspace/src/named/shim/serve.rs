//! The shim's clients.

use std::sync::Arc;
use std::time::Duration;

use microagent_guest_protocol::TtySize;
use microagent_vsock::Relay;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::console::Console;
use super::{Demand, Seen, Shim};
use crate::named::lifecycle::{State, Step};
use crate::named::protocol::{Ask, receive_ask, send_answer};
use crate::named::standing::{Standing, Told};

/// Clients at the same time; more wait.
const MAX_CLIENTS: usize = 512;

/// How long a client may take to say what it wants.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// What one client needs of the shim.
struct Desk {
    name: String,
    standing: watch::Receiver<Standing>,
    relay: watch::Receiver<Option<Relay>>,
    console: Arc<Console>,
    demands: mpsc::Sender<Demand>,
}

/// Serves clients as they come. Never returns.
pub(super) async fn all(shim: &Shim, listener: UnixListener, clients: &mut JoinSet<()>) {
    loop {
        let full = clients.len() >= MAX_CLIENTS;
        tokio::select! {
            Some(_) = clients.join_next() => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, _)) => {
                    let desk = Desk {
                        name: shim.workspace.name().to_string(),
                        standing: shim.standing.subscribe(),
                        relay: shim.relay.subscribe(),
                        console: shim.console.clone(),
                        demands: shim.demands.clone(),
                    };
                    clients.spawn(desk.attend(stream));
                }
                Err(error) => {
                    // Out of descriptors, for one: those who are served give some back.
                    tracing::warn!(%error, "cannot accept a client");
                    if clients.join_next().await.is_none() {
                        tokio::task::yield_now().await;
                    }
                }
            },
        }
    }
}

impl Desk {
    async fn attend(mut self, mut stream: UnixStream) {
        let ask = match tokio::time::timeout(ASK_WITHIN, receive_ask(&mut stream)).await {
            Ok(Ok(ask)) => ask,
            Ok(Err(error)) => {
                let message = crate::error::chain(&error);
                let told = Told { kind: "protocol".into(), message, hint: None };
                let _ = send_answer(&mut stream, Err(told)).await;
                return;
            }
            Err(_) => return,
        };
        match ask {
            Ask::Session => return self.session(stream).await,
            Ask::Console => return self.console(stream).await,
            Ask::Connect { rows, cols } => {
                return self.connect(stream, TtySize { rows, cols }).await;
            }
            _ => {}
        }
        let answer = self.answer(ask).await;
        // A client that is gone is told nothing.
        let _ = send_answer(&mut stream, answer).await;
    }

    async fn answer(&mut self, ask: Ask) -> Result<Value, Told> {
        match ask {
            Ask::Standing | Ask::Session | Ask::Console | Ask::Connect { .. } => {}
            Ask::Resize { rows, cols } => self.console.resize(TtySize { rows, cols }),
            Ask::Usage => return Ok(json!(self.look().await?.usage)),
            Ask::Ready => drop(self.ready().await?),
            Ask::Rest => self.rest().await,
            Ask::Halt { force_after_ms } => {
                let force_after = force_after_ms.map(Duration::from_millis);
                self.end(Demand::Halt { force_after }).await;
            }
            Ask::Kill => self.end(Demand::Kill).await,
            Ask::Pause => self.change(Step::Pause).await?,
            Ask::Resume => self.change(Step::Resume).await?,
        }
        Ok(json!(*self.standing.borrow()))
    }

    /// Once it has come up, a way to its agent.
    async fn ready(&mut self) -> Result<Relay, Told> {
        let up = self.standing.wait_for(|standing| standing.state != State::Starting).await;
        let Some(standing) = up.ok().map(|standing| standing.clone()) else {
            return Err(self.ended());
        };
        match (standing.state, standing.error) {
            (State::Running, _) => self.relay.borrow().clone().ok_or_else(|| self.ended()),
            (_, Some(told)) => Err(told),
            (state, None) => Err(self.told(&format!("is {state}, nothing can be run in it"))),
        }
    }

    async fn rest(&mut self) {
        // The shim goes only after that.
        let _ = self.standing.wait_for(|standing| standing.state.is_resting()).await;
    }

    async fn end(&mut self, demand: Demand) {
        // Where nobody takes demands any more it is at rest.
        let _ = self.demands.send(demand).await;
        self.rest().await;
    }

    async fn change(&mut self, step: Step) -> Result<(), Told> {
        let (reply, answer) = oneshot::channel();
        let _ = self.demands.send(Demand::Change(step, reply)).await;
        answer.await.unwrap_or_else(|_| Err(self.ended()))
    }

    async fn look(&mut self) -> Result<Seen, Told> {
        let (reply, seen) = oneshot::channel();
        let _ = self.demands.send(Demand::Look(reply)).await;
        let state = self.standing.borrow().state;
        seen.await.map_err(|_| self.told(&format!("is {state}, there is nothing to be seen")))
    }

    async fn console(&mut self, mut stream: UnixStream) {
        let (answer, text) = match self.look().await {
            Ok(seen) => (Ok(Value::Null), seen.console),
            Err(told) => (Err(told), Vec::new()),
        };
        // A client that is gone is told nothing.
        if send_answer(&mut stream, answer).await.is_ok() {
            let _ = stream.write_all(&text).await;
        }
    }

    async fn connect(&mut self, mut stream: UnixStream, size: TtySize) {
        let joined = match self.ready().await {
            Ok(relay) => self.console.join(&relay, size).map_err(|e| Told::of(&e)),
            Err(told) => Err(told),
        };
        let answer =
            joined.as_ref().map(|viewer| json!(viewer.history.len())).map_err(Clone::clone);
        if send_answer(&mut stream, answer).await.is_err() {
            return;
        }
        if let Ok(viewer) = joined {
            // A client that is gone is told nothing.
            let _ = viewer.attend(stream).await;
        }
    }

    async fn session(&mut self, mut stream: UnixStream) {
        let relay = match self.ready().await {
            Ok(relay) => relay,
            Err(told) => {
                let _ = send_answer(&mut stream, Err(told)).await;
                return;
            }
        };
        if send_answer(&mut stream, Ok(Value::Null)).await.is_err() {
            return;
        }
        if let Err(error) = relay.serve(stream).await {
            tracing::info!(%error, "a client is no longer served");
        }
    }

    fn ended(&self) -> Told {
        self.told("has just ended")
    }

    fn told(&self, what: &str) -> Told {
        let message = format!("workspace {} {what}", self.name);
        Told { kind: "invalid_state".into(), message, hint: None }
    }
}
