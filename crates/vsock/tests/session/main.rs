//! The session with an agent, against an agent that follows a script.

#![allow(clippy::unwrap_used, clippy::panic)] // functions of tests outside #[test] too

mod agent;
mod ends;
mod flow;
mod greeting;
