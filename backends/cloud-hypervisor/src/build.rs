//! Building a machine: all of it, or nothing that is left behind.

use std::os::fd::OwnedFd;
use std::path::Path;

use microagent_backend::{Error, ErrorKind, Lifetime, Result, RunDir, State};
use microagent_guarded::{
    GUARD, Life, PASST, Reports, SocketDir, Started, Unfinished, died, last_words,
};
use microagent_machine::{Boot, MachineSpec};
use microagent_vmm_protocol::{EventWatch, FIRST_PASSED_FD, GuardReport, GuardSpec, VERSION};

use crate::CloudHypervisorVersion;
use crate::accepted::accepted;
use crate::api::Client;
use crate::backend::NAME;
use crate::claim::claim;
use crate::confinement::confinement;
use crate::ending::AGAIN;
use crate::files;
use crate::machine::CloudHypervisorMachine;
use crate::network;
use crate::refusal::{ended_early, not_started};
use crate::translate::vm_config;
use crate::vm_config::VmConfig;

/// The descriptor at which Cloud Hypervisor takes requests.
const API_FD: i32 = FIRST_PASSED_FD;
/// The descriptor to which it tells its events.
const EVENTS_FD: i32 = FIRST_PASSED_FD + 1;
/// The first of those that claim disks.
const FIRST_CLAIM_FD: i32 = FIRST_PASSED_FD + 2;

/// What machines are made of here.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// The program `microagent-vmm`.
    pub(crate) vmm: &'a Path,
    /// Cloud Hypervisor.
    pub(crate) program: &'a Path,
    /// passt, where there is one.
    pub(crate) passt: Option<&'a Path>,
    /// Which it is.
    pub(crate) version: CloudHypervisorVersion,
}

/// Builds a machine in `dir`, an absolute path, with its vCPUs not there yet: Cloud
/// Hypervisor makes them when it boots.
pub(crate) async fn build(
    parts: &Parts<'_>,
    spec: &MachineSpec,
    boot: &Boot,
    dir: &RunDir,
    lifetime: Lifetime,
) -> Result<CloudHypervisorMachine> {
    let config = vm_config(spec, boot, dir, parts.version)?;
    let life = Life::of(lifetime, dir)?;
    let mut unfinished = Unfinished::begin(parts.vmm, dir, files::OWN)?;
    let link = dir.file(files::KERNEL);
    std::os::unix::fs::symlink(&boot.kernel, &link)
        .map_err(|e| Error::io(format!("make the link {}", link.display()), e))?;
    let given = Given::new(unfinished.sockets(), claim(&spec.disks)?)?;
    let mut gateway = None;
    if let Some((net, passt)) = spec.net.as_ref().zip(parts.passt) {
        let (started, device) = unfinished.gateway(passt, net, &life)?;
        network::serve(device, &life, &mut unfinished)?;
        gateway = Some(started);
    }
    let guard = GuardSpec {
        version: VERSION,
        program: parts.program.to_owned(),
        args: arguments(),
        env: Vec::new(),
        dir: dir.path().to_owned(),
        attached: life.is_attached(),
        remove: life.remove(),
        console: files::CONSOLE.into(),
        confinement: confinement(parts.program, spec, boot, dir),
        pass: given.passed,
        events: Some(EventWatch { word: AGAIN.into() }),
    };
    let mut reports = unfinished.guard(&guard, &life, given.fds)?;
    let client = Client::new(SocketDir::open(dir)?);
    let network = async {
        match gateway {
            Some(gateway) => gateway.ready(dir).await.map(Some),
            None => Ok(None),
        }
    };
    let built = until_built(dir, &client, &config, &mut reports);
    let (passt, started) = tokio::try_join!(network, built)?;
    if let Some(pid) = passt {
        unfinished.helper_started(PASST, pid)?;
    }
    CloudHypervisorMachine::new(unfinished.finish(NAME, started)?, Some(reports))
}

/// What Cloud Hypervisor is told before it can be asked anything.
fn arguments() -> Vec<String> {
    let api = format!("fd={API_FD}");
    let events = format!("fd={EVENTS_FD}");
    ["--api-socket", &api, "--event-monitor", &events, "--seccomp", "true"].map(Into::into).into()
}

/// The descriptors that guard and monitor are given.
struct Given {
    fds: Vec<(OwnedFd, i32)>,
    /// How many of them are the monitor's.
    passed: u8,
}

impl Given {
    fn new(sockets: &SocketDir, claims: Vec<OwnedFd>) -> Result<Self> {
        let api = sockets.listen(files::API)?;
        let (seen, told) = std::io::pipe().map_err(|e| Error::io("make a pipe for events", e))?;
        let mut fds = vec![(api.into(), API_FD), (told.into(), EVENTS_FD)];
        fds.extend(claims.into_iter().zip(FIRST_CLAIM_FD..));
        let passed = u8::try_from(fds.len()).map_err(|_| {
            Error::new(ErrorKind::Unsupported, format!("{} disks are too many", fds.len()))
        })?;
        fds.push((seen.into(), FIRST_PASSED_FD + i32::from(passed)));
        Ok(Self { fds, passed })
    }
}

/// Waits until Cloud Hypervisor knows what its machine shall be, or finds out why it does not.
async fn until_built(
    dir: &RunDir,
    client: &Client,
    config: &VmConfig,
    reports: &mut Reports,
) -> Result<Started> {
    let told = tell(client, config);
    tokio::pin!(told);
    let mut child = None;
    let mut is_told = false;
    loop {
        if let (Some(started), true) = (child, is_told) {
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
            outcome = &mut told, if !is_told => match outcome {
                Ok(()) => is_told = true,
                // It is about to end, and its guard will know why.
                Err(error) if error.kind == ErrorKind::Crashed => {
                    return Err(why_it_ended(reports).await.unwrap_or(error));
                }
                Err(error) => return Err(error),
            },
        }
    }
}

/// Says what the machine shall be, and looks at what was made of it.
async fn tell(client: &Client, config: &VmConfig) -> Result<()> {
    client.create(config).await?;
    let info = client.info().await?;
    accepted(config, &info.config)?;
    match info.state() {
        State::Created => Ok(()),
        other => {
            let what = format!("cloud-hypervisor says that a machine just made is {other:?}");
            Err(Error::new(ErrorKind::Protocol, what))
        }
    }
}

async fn why_it_ended(reports: &mut Reports) -> Option<Error> {
    reports.until_exit().await.map(|exit| ended_early(&exit))
}
