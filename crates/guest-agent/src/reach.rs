//! Looking for the host again after the session was lost.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use microagent_guest_protocol::{AgentConfig, Token};

use crate::connection::{Connecting, welcome};
use crate::link::Link;

/// How long after one attempt the next is made: nothing tells when there is a host again.
const EVERY: Duration = Duration::from_millis(250);

/// How another session is come to.
#[derive(Debug)]
pub(crate) struct Reach {
    port: u32,
    token: Token,
    /// The number of the next session.
    session: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// There is a session.
    Connected,
    /// The next attempt is due then.
    Waiting(Instant),
    /// One is under way.
    Connecting(Connecting),
}

impl Reach {
    pub(crate) fn new(config: &AgentConfig) -> Self {
        let token = config.token.clone();
        Self { port: config.port, token, session: 1, state: State::Connected }
    }

    /// The session is lost.
    pub(crate) fn lose(&mut self) {
        self.state = State::Waiting(Instant::now());
    }

    /// What becomes writable when an attempt has come to something.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Connecting(connecting) => Some(connecting.socket()),
            State::Connected | State::Waiting(_) => None,
        }
    }

    /// When the next attempt is due.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(until) => Some(until),
            State::Connected | State::Connecting(_) => None,
        }
    }

    /// Whether it is.
    pub(crate) fn is_due(&self) -> bool {
        self.until().is_some_and(|until| until <= Instant::now())
    }

    /// Goes on; a link to a host that has said welcome, if there is one now.
    pub(crate) fn advance(&mut self) -> Option<Link> {
        let later = State::Waiting(Instant::now() + EVERY);
        match std::mem::replace(&mut self.state, later) {
            State::Connected => {
                self.state = State::Connected;
                None
            }
            State::Waiting(_) => {
                if let Ok(connecting) = Connecting::start(self.port) {
                    self.state = State::Connecting(connecting);
                }
                None
            }
            State::Connecting(connecting) => {
                let mut link = connecting.hello_again(&self.token, self.session).ok()?;
                welcome(&mut link).ok()?;
                self.session += 1;
                self.state = State::Connected;
                Some(link)
            }
        }
    }
}
