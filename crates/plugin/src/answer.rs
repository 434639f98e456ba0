//! The supervisor protocol, spoken by a backend.

use std::path::{Path, PathBuf};
use std::time::Duration;

use microagent_backend::{
    Backend, Error, ErrorKind, Machine, Pause, PowerButton, Result, RunDir, State, Stats,
};
use microagent_supervisor_protocol::{
    Answer, Call, CreateArgs, DirArgs, Done, FileName, MAX_WAIT, MachineAnswer, Malformed, NoArgs,
    Part, StateAnswer, WaitAnswer, WaitArgs,
};
use serde::Serialize;

use crate::life::lifetime;

/// Answers one request: whatever it says, the answer is one of the protocol.
///
/// The life pipe of a machine that is to be attached is descriptor 3 of this process.
pub async fn answer(backend: &dyn Backend, request: &[u8]) -> Vec<u8> {
    let call = match Call::decode(request) {
        Ok(call) => call,
        Err(e) => return encoded(Err::<Done, _>(misunderstood(e))),
    };
    match call {
        Call::Probe(NoArgs {}) => encoded(backend.probe().await),
        Call::Create(args) => encoded(create(backend, args).await),
        Call::Wait(args) => encoded(wait(backend, args).await),
        Call::Open(args) => on(backend, args, async |m| describe(m)).await,
        Call::State(args) => on(backend, args, async |m| m.state().await.map(told)).await,
        Call::Isolation(args) => on(backend, args, async |m| m.isolation().await).await,
        Call::Stats(args) => on(backend, args, async |m| stats(m)?.read().await).await,
        Call::Start(args) => on(backend, args, async |m| m.start().await.map(done)).await,
        Call::Kill(args) => on(backend, args, async |m| m.kill().await.map(done)).await,
        Call::Destroy(args) => on(backend, args, async |m| m.destroy().await.map(done)).await,
        Call::Pause(args) => on(backend, args, async |m| pause(m)?.pause().await.map(done)).await,
        Call::Resume(args) => on(backend, args, async |m| pause(m)?.resume().await.map(done)).await,
        Call::PowerButton(args) => {
            on(backend, args, async |m| button(m)?.press().await.map(done)).await
        }
    }
}

fn encoded<T: Serialize>(result: Result<T>) -> Vec<u8> {
    let unsaid = |e| Answer::<Done>::of(Err(misunderstood(e))).encode();
    Answer::of(result).encode().or_else(unsaid).unwrap_or_default()
}

fn misunderstood(error: Malformed) -> Error {
    Error::new(ErrorKind::Protocol, "cannot say or understand a request").with_source(error)
}

async fn create(backend: &dyn Backend, args: CreateArgs) -> Result<MachineAnswer> {
    let CreateArgs { spec, dir, lifetime: args } = args;
    let machine = backend.create(&spec, &absolute(dir)?, lifetime(args)?).await?;
    describe(machine.as_ref())
}

async fn wait(backend: &dyn Backend, args: WaitArgs) -> Result<WaitAnswer> {
    let WaitArgs { dir, within_ms } = args;
    let within = Duration::from_millis(within_ms);
    if within > MAX_WAIT {
        let message = format!("waiting for {within:?} was asked for, at most {MAX_WAIT:?} is done");
        return Err(Error::new(ErrorKind::Usage, message));
    }
    let exit = open(backend, dir).await?.wait(within).await?;
    Ok(WaitAnswer { exit })
}

/// The answer to an operation on the machine in a directory.
async fn on<T: Serialize>(
    backend: &dyn Backend,
    args: DirArgs,
    operation: impl AsyncFnOnce(&dyn Machine) -> Result<T>,
) -> Vec<u8> {
    encoded(match open(backend, args.dir).await {
        Ok(machine) => operation(machine.as_ref()).await,
        Err(e) => Err(e),
    })
}

fn done((): ()) -> Done {
    Done {}
}

fn told(state: State) -> StateAnswer {
    StateAnswer { state }
}

async fn open(backend: &dyn Backend, dir: PathBuf) -> Result<Box<dyn Machine>> {
    backend.open(&absolute(dir)?).await
}

fn absolute(dir: PathBuf) -> Result<RunDir> {
    if dir.is_absolute() {
        return Ok(RunDir::at(dir));
    }
    let message = format!("run directory '{}' is not absolute", dir.display());
    Err(Error::new(ErrorKind::Usage, message))
}

fn pause(machine: &dyn Machine) -> Result<&dyn Pause> {
    machine.as_pause().ok_or_else(|| no_part("pause"))
}

fn stats(machine: &dyn Machine) -> Result<&dyn Stats> {
    machine.as_stats().ok_or_else(|| no_part("stats"))
}

fn button(machine: &dyn Machine) -> Result<&dyn PowerButton> {
    machine.as_power_button().ok_or_else(|| no_part("power_button"))
}

fn no_part(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("machines here cannot be asked for '{what}'"))
}

fn describe(machine: &dyn Machine) -> Result<MachineAnswer> {
    let parts = [
        (Part::Pause, machine.as_pause().is_some()),
        (Part::Stats, machine.as_stats().is_some()),
        (Part::PowerButton, machine.as_power_button().is_some()),
    ];
    Ok(MachineAnswer {
        console: name(machine.console().path())?,
        vsock: name(machine.vsock().path())?,
        parts: parts.into_iter().filter(|(_, has)| *has).map(|(part, _)| part).collect(),
    })
}

/// The name of a file that stands in the run directory itself.
fn name(path: &Path) -> Result<FileName> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    FileName::new(name).map_err(|e| Error::new(ErrorKind::Protocol, e.to_string()))
}

#[cfg(test)]
mod tests;
