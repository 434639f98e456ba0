//! Process 1: from the first instruction to the end of the machine.

use std::thread;

use microagent_guest_protocol::ending::LAST_WORDS;
use microagent_guest_protocol::{AgentConfig, AgentMessage, OnDisconnect, PowerOff};
use rustix::system::{RebootCommand, reboot};

use crate::connection::{Connecting, drain, welcome};
use crate::console::say;
use crate::disk::Disks;
use crate::failure::SetupError;
use crate::link::Link;
use crate::reach::Reach;
use crate::session::{Outcome, Scope, Session};
use crate::signals::Signals;
use crate::timeline::Timeline;
use crate::{configuration, environment, forward, power, root};

/// Sets up the machine, serves the session and ends the machine.
pub(crate) fn boot() -> ! {
    let mut timeline = Timeline::begin();
    let config = match configuration::take() {
        Ok(config) => config,
        Err(error) => {
            say(error);
            power::end(PowerOff::Reset);
        }
    };
    match run(&config, &mut timeline) {
        Ok(mut session) => {
            let failures = power::write_back(&config.root, &config.mounts);
            timeline.mark("written");
            session.part(failures, LAST_WORDS);
        }
        Err(error) => say(error),
    }
    timeline.print();
    power::end(config.power_off)
}

/// Sets up the machine and serves the session until the machine shall end.
fn run(config: &AgentConfig, timeline: &mut Timeline) -> Result<Session, SetupError> {
    // First of all: the host works on the connection while the agent works on the mounts.
    let connecting = Connecting::start(config.port)?;
    let signals = Signals::take().map_err(SetupError::system("take over signals"))?;
    // From here on the key combination is a signal, and the signal an orderly end.
    reboot(RebootCommand::CadOff).map_err(SetupError::system("take over ctrl-alt-del"))?;
    timeline.mark("connecting");
    root::mount_early()?;
    timeline.mark("early");
    let mut link = connecting.hello(config)?;
    timeline.mark("hello");
    let served = set_up(config, timeline)
        .and_then(|()| forward::start(&config.loopback_ports))
        .and_then(|()| welcome(&mut link))
        .and_then(|()| ready(&mut link, timeline));
    if let Err(error) = served {
        report(&mut link, &error);
        return Err(error);
    }
    environment::write_names(&config.hostname, config.network.as_ref());
    timeline.mark("names");
    let mut session = Session::new(link, signals, Scope::Machine);
    if config.on_disconnect == OnDisconnect::Reconnect {
        session = session.lasting(Reach::new(config));
    }
    let outcome = session.serve(timeline);
    session.last_words(LAST_WORDS);
    if let Outcome::Lost(reason) = outcome {
        say(format_args!("session lost: {reason}"));
        session.hang_up();
    }
    Ok(session)
}

fn set_up(config: &AgentConfig, timeline: &mut Timeline) -> Result<(), SetupError> {
    let disks = thread::scope(|scope| {
        // Beside the root disk, whose mount mostly waits for the device. The thread is gone
        // before the mounts that it makes are moved, and before there is a fork.
        let environment =
            scope.spawn(|| environment::prepare(&config.hostname, config.network.as_ref()));
        let disks = Disks::list()?;
        timeline.mark("disks");
        root::mount_root(&disks, &config.root)?;
        timeline.mark("root");
        let prepared = environment.join();
        timeline.mark("prepared");
        // It cannot have panicked: a panic ends this program.
        prepared.unwrap_or(Ok(())).map(|()| disks)
    })?;
    root::switch()?;
    root::mount_disks(&disks, &config.mounts)?;
    timeline.mark("switched");
    Ok(())
}

fn ready(link: &mut Link, timeline: &mut Timeline) -> Result<(), SetupError> {
    timeline.mark("welcome");
    link.send(&AgentMessage::Ready)?;
    link.flush()?;
    timeline.mark("ready");
    Ok(())
}

fn report(link: &mut Link, error: &SetupError) {
    let message = error.to_string();
    if link.send(&AgentMessage::SetupFailed { message }).is_ok() {
        drain(link, LAST_WORDS);
    }
}
