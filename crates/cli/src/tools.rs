//! Finding what belongs to this program: its state, its monitor, its kernels, its backends.

use std::env;
use std::path::{Path, PathBuf};

use microagent_backend::Backend;
use microagent_cloud_hypervisor::{CloudHypervisorBackend, CloudHypervisorOptions};
use microagent_kvm::{KvmBackend, KvmOptions};
use microagent_qemu::{QemuBackend, QemuOptions};
use microagent_supervisor::{Entry, PluginHost, Registry, Wanted};
use microagent_workspace::{Config, StateDir, Tools};

use crate::args::Global;
use crate::failure::Failure;

/// The guest agent, a static program for the guest.
#[cfg(feature = "embedded-agent")]
static AGENT: &[u8] = include_bytes!(env!("MICROAGENT_AGENT_BINARY"));
#[cfg(not(feature = "embedded-agent"))]
static AGENT: &[u8] = &[];

/// File name of the monitor.
const MONITOR: &str = "microagent-vmm";

/// Where everything is kept: the flag, or `.microagent` in the home directory.
pub(crate) fn state_path(global: &Global) -> Result<PathBuf, Failure> {
    match (&global.state_dir, env::home_dir()) {
        (Some(path), _) if !path.as_os_str().is_empty() => Ok(path.clone()),
        (_, Some(home)) => Ok(home.join(".microagent")),
        _ => Err(Failure::usage("there is no home directory to keep things in")
            .with_hint("name a directory with --state-dir")),
    }
}

/// Opens the state directory, making it if it is not there.
pub(crate) fn state(global: &Global) -> Result<StateDir, Failure> {
    Ok(StateDir::open(state_path(global)?)?)
}

/// The user's defaults.
pub(crate) fn config(state: &StateDir) -> Result<Config, Failure> {
    Config::read(&state.config_file())
        .map_err(|e| Failure::usage(crate::failure::chain(&e)).with_hint("mend or remove the file"))
}

/// Whether the guest agent is in this program.
pub(crate) const fn has_agent() -> bool {
    !AGENT.is_empty()
}

/// All that a run needs.
pub(crate) fn tools(state: StateDir) -> Result<Tools, Failure> {
    if AGENT.is_empty() {
        return Err(Failure {
            kind: "unavailable".into(),
            message: "this microagent was built without its guest agent".into(),
            hint: Some("build it with the default features".into()),
        });
    }
    let registry = registry(&state);
    Ok(Tools { state, agent: AGENT, registry, shared_kernels: shared_kernels() })
}

/// Directories of kernels that came with the program.
pub(crate) fn shared_kernels() -> Vec<PathBuf> {
    let beside = executable_dir().map(|dir| dir.join("../share/microagent/kernels"));
    beside.into_iter().collect()
}

fn executable_dir() -> Option<PathBuf> {
    env::current_exe().ok()?.parent().map(Path::to_path_buf)
}

/// The backends that this program was built with, in the order in which `auto` tries them.
pub(crate) fn registry(state: &StateDir) -> Registry {
    let registry = Registry::new(vec![
        Entry {
            name: "kvm",
            automatic: true,
            // It is started as a part of this program, by its name.
            recognises: |_| false,
            make: Some(Box::new({
                let cache = state.cache();
                move |wanted| kvm(wanted, &cache)
            })),
        },
        Entry {
            name: "cloud-hypervisor",
            automatic: true,
            recognises: |line| line.starts_with("cloud-hypervisor v"),
            make: Some(Box::new({
                let cache = state.cache();
                move |wanted| cloud_hypervisor(wanted, &cache)
            })),
        },
        Entry {
            name: "qemu",
            automatic: true,
            recognises: |line| line.starts_with("QEMU emulator version "),
            make: Some(Box::new({
                let cache = state.cache();
                move |wanted| qemu(wanted, &cache)
            })),
        },
    ]);
    match env::current_exe() {
        Ok(program) => registry
            .with_plugins(PluginHost { program, arguments: vec!["supervise-plugin".into()] }),
        Err(_) => registry,
    }
}

fn kvm(wanted: Wanted<'_>, cache: &Path) -> microagent_backend::Result<Box<dyn Backend>> {
    let mut options = match wanted {
        Wanted::Options(text) => KvmOptions::parse_options(text)?,
        Wanted::Program(_) => KvmOptions::default(),
    };
    options.monitor = monitor()?;
    options.cache_dir = cache.exists().then(|| cache.to_path_buf());
    Ok(Box::new(KvmBackend::new(options)))
}

fn cloud_hypervisor(
    wanted: Wanted<'_>,
    cache: &Path,
) -> microagent_backend::Result<Box<dyn Backend>> {
    let mut options = match wanted {
        Wanted::Options(text) => CloudHypervisorOptions::parse_options(text)?,
        Wanted::Program(path) => CloudHypervisorOptions {
            program: Some(path.to_path_buf()),
            ..CloudHypervisorOptions::default()
        },
    };
    options.monitor = monitor()?;
    options.cache_dir = cache.exists().then(|| cache.to_path_buf());
    Ok(Box::new(CloudHypervisorBackend::new(options)))
}

fn qemu(wanted: Wanted<'_>, cache: &Path) -> microagent_backend::Result<Box<dyn Backend>> {
    let mut options = match wanted {
        Wanted::Options(text) => QemuOptions::parse_options(text)?,
        Wanted::Program(path) => {
            QemuOptions { program: Some(path.to_path_buf()), ..QemuOptions::default() }
        }
    };
    options.monitor = monitor()?;
    options.cache_dir = cache.exists().then(|| cache.to_path_buf());
    Ok(Box::new(QemuBackend::new(options)))
}

/// The monitor: in `MICROAGENT_LIBEXEC`, beside the executable, or in
/// `../libexec/microagent`. That its version matches is checked by what it is told first.
pub(crate) fn monitor() -> microagent_backend::Result<PathBuf> {
    let named = env::var_os("MICROAGENT_LIBEXEC").map(PathBuf::from);
    let beside = executable_dir();
    let installed = beside.as_ref().map(|dir| dir.join("../libexec/microagent"));
    let places: Vec<PathBuf> = [named, beside, installed].into_iter().flatten().collect();
    let found = places.iter().map(|dir| dir.join(MONITOR)).find(|path| path.is_file());
    found.and_then(|path| std::path::absolute(path).ok()).ok_or_else(|| {
        let searched: Vec<_> = places.iter().map(|dir| dir.display().to_string()).collect();
        microagent_backend::Error::new(
            microagent_backend::ErrorKind::Unavailable,
            format!("{MONITOR} is not in {}", searched.join(", ")),
        )
        .with_hint("install it beside microagent, or name its directory in MICROAGENT_LIBEXEC")
    })
}
