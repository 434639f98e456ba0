//! The session with an agent, against an agent that follows a script.

mod agent;
mod ends;
mod flow;
mod greeting;
