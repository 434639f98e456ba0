//! Building a machine: all of it, or nothing that is left behind.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use microagent_backend::{Error, ErrorKind, Lifetime, Result, RunDir};
use microagent_guarded::{
    GUARD, Life, PASST, Reports, SocketDir, Started, Unfinished, died, last_words, memory_file,
};
use microagent_machine::{Boot, MachineSpec};
use microagent_vmm_protocol::{
    CONTROL_LISTENER_FD, GuardReport, GuardSpec, NET_FD, SPEC_FD, VERSION, VSOCK_LISTENER_FD,
};

use crate::backend::NAME;
use crate::client::{Client, Standing};
use crate::confinement::confinement;
use crate::files;
use crate::limits::BUILD_WITHIN;
use crate::machine::KvmMachine;
use crate::refusal::{ended_early, not_started};
use crate::translate::monitor_spec;

/// What the monitor's executable is told to be.
const RUN: &str = "run";
/// What machines are made of here.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// The program `microagent-vmm`.
    pub(crate) vmm: &'a Path,
    /// passt, where there is one.
    pub(crate) passt: Option<&'a Path>,
}

/// Builds a machine in `dir`, an absolute path, with its vCPUs held.
pub(crate) async fn build(
    parts: &Parts<'_>,
    spec: &MachineSpec,
    boot: &Boot,
    dir: &RunDir,
    lifetime: Lifetime,
) -> Result<KvmMachine> {
    let vmm = parts.vmm;
    let monitor_spec = monitor_spec(spec, boot)?;
    let life = Life::of(lifetime, dir)?;
    let mut unfinished = Unfinished::begin(vmm, dir, files::OWN)?;
    // The sockets first, so that nobody has to wait for them.
    let control = unfinished.sockets().listen(files::CONTROL)?;
    let vsock = vsock_listener(unfinished.sockets(), spec.vsock.is_some())?;
    let told = memory_file(&monitor_spec).map_err(|e| Error::io("write the specification", e))?;
    let net = spec.net.as_ref().zip(parts.passt);
    let net = net.map(|(net, passt)| unfinished.gateway(passt, net, &life)).transpose()?;
    let (gateway, device) = net.unzip();
    let mut fds = vec![
        (control.into(), CONTROL_LISTENER_FD),
        (vsock, VSOCK_LISTENER_FD),
        (told.into(), SPEC_FD),
    ];
    fds.extend(device.map(|device| (device, NET_FD)));
    let guard = GuardSpec {
        version: VERSION,
        program: vmm.to_owned(),
        args: vec![RUN.into()],
        env: Vec::new(),
        dir: dir.path().to_owned(),
        attached: life.is_attached(),
        remove: life.remove(),
        console: files::CONSOLE.into(),
        confinement: confinement(vmm, spec, boot, dir),
        pass: fds.len() as u8,
        events: None,
    };
    let mut reports = unfinished.guard(&guard, &life, fds)?;
    let client = Client::new(SocketDir::open(dir)?, BUILD_WITHIN);
    let network = async {
        match gateway {
            Some(gateway) => gateway.ready(dir).await.map(Some),
            None => Ok(None),
        }
    };
    let (passt, started) = tokio::try_join!(network, until_built(dir, &client, &mut reports))?;
    if let Some(pid) = passt {
        unfinished.helper_started(PASST, pid)?;
    }
    KvmMachine::new(unfinished.finish(NAME, started)?, Some(reports))
}

/// Something to be listened at in any case, since descriptors go by number.
fn vsock_listener(sockets: &SocketDir, wanted: bool) -> Result<OwnedFd> {
    match wanted {
        true => Ok(sockets.listen(files::VSOCK)?.into()),
        false => {
            let null = File::open("/dev/null");
            Ok(null.map_err(|e| Error::io("open /dev/null", e))?.into())
        }
    }
}

/// Waits until the monitor says that its machine is built, or finds out why it is not.
async fn until_built(dir: &RunDir, client: &Client, reports: &mut Reports) -> Result<Started> {
    let built = client.state();
    tokio::pin!(built);
    let mut child = None;
    let mut answered = false;
    loop {
        if let (Some(started), true) = (child, answered) {
            return Ok(started);
        }
        tokio::select! {
            report = reports.next() => match report? {
                Some(GuardReport::Started { pid, landlock }) => {
                    child = Some(Started { pid, landlock });
                }
                Some(GuardReport::Exited(exit)) => return Err(ended_early(&exit)),
                Some(GuardReport::Failed { message }) => return Err(not_started(&message)),
                None => return Err(died(GUARD, &last_words(dir, GUARD))),
            },
            outcome = &mut built, if !answered => match outcome {
                Ok(standing) => answered = is_created(standing)?,
                Err(error) if error.kind == ErrorKind::Timeout => return Err(error),
                // The monitor is about to end, and its guard will know why.
                Err(error) => {
                    return Err(why_it_ended(reports).await.unwrap_or(error));
                }
            },
        }
    }
}

fn is_created(standing: Standing) -> Result<bool> {
    match standing.state {
        microagent_backend::State::Created => Ok(true),
        other => {
            let message = format!("the monitor says that a machine just built is {other:?}");
            Err(Error::new(ErrorKind::Protocol, message))
        }
    }
}

async fn why_it_ended(reports: &mut Reports) -> Option<Error> {
    reports.until_exit().await.map(|exit| ended_early(&exit))
}
