//! The agent in the guest: `/init` of the initramfs, process 1 of the machine.
//!
//! It connects out to the host first, mounts the root disk while the host answers, switches
//! to it, runs the commands that the host asks for, and ends the machine. From the first
//! command on it has one thread, one `poll` loop and non-blocking descriptors: [`session`]. Every system call and every page that
//! is touched here costs time in every run, most of all where the guest is emulated.
//!
//! Started by hand, so not as process 1, it sets nothing up: it serves the session on the
//! socket that is its standard input, with the processes it starts and no others. Tests do.
//!
//! What listens on the loopback for the host's sake is a process of its own: [`forward`].
//!
//! Where its machine lasts, a session that is lost is followed by another: commands go on, and what
//! they write is kept up to a limit.
//!
//! Not here: port forwards.

mod account;
mod boot;
mod command;
mod configuration;
mod connection;
mod console;
mod disk;
mod environment;
mod failure;
mod fetch;
mod forward;
mod launch;
mod link;
mod mapper;
mod network;
mod power;
mod program;
mod reach;
mod root;
mod session;
mod signals;
mod stdio;
mod sys;
mod timeline;

use std::os::fd::AsFd;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        boot::boot();
    }
    by_hand()
}

fn by_hand() -> ExitCode {
    let served = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| error.to_string())
        .and_then(|socket| session::serve_by_hand(socket).map_err(|error| error.to_string()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::say(&error);
            ExitCode::FAILURE
        }
    }
}
