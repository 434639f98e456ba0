//! The agent's session: the real program, started by hand on one end of a socket pair, with
//! real commands. As whoever runs the tests: commands run as that user then.

#![allow(clippy::unwrap_used, clippy::panic)] // functions of tests outside #[test] too

mod commands;
mod host;
mod rules;
