//! What belongs to this program: hypervisors, monitor, agent, kernel.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use microagent_backend::{Capabilities, admit};
use microagent_guarded::{ask, locate_passt};
use microagent_kernel::Catalogue;
use microagent_machine::{Feature, MachineSpec};
use microagent_supervisor::Selection;
use microagent_workspace::{RunError, StateDir, ordinary_machine};

use super::Finding;
use crate::commands::backends::Found;
use crate::failure::{Failure, chain};
use crate::run::host_cpus;
use crate::tools;

const KVM: &str = "/dev/kvm";

/// What `--network` and the configuration call no network.
const ISOLATED: &str = "isolated";

/// What to do where KVM cannot be had.
const NO_KVM: &str =
    "machines run by translation, many times slower; use a host with KVM to be faster";

/// Whether KVM is there, may be used, and is real.
pub(super) fn kvm(found: &[Found]) -> Finding {
    let name = "kvm";
    if let Err(e) = OpenOptions::new().read(true).write(true).open(KVM) {
        let remedy = match e.kind() {
            io::ErrorKind::NotFound => {
                "load the kvm module, and switch on virtualisation in firmware"
            }
            io::ErrorKind::PermissionDenied => {
                "let this user read and write it, as members of its group may: usermod -aG kvm"
            }
            _ => NO_KVM,
        };
        return Finding::degraded(name, format!("{KVM} cannot be opened: {e}"), remedy);
    }
    match found.iter().find(|one| one.supervisor == name) {
        Some(Found { capabilities: Some(capabilities), .. }) => {
            let acceleration = &capabilities.acceleration;
            let (kind, evidence) = (acceleration.name(), acceleration.evidence());
            Finding::ok(name, format!("{kind}: {evidence}"))
        }
        Some(Found { error: Some(failure), .. }) => {
            Finding::degraded(name, &*failure.message, NO_KVM)
        }
        _ => Finding::degraded(name, "nothing here tries it", NO_KVM),
    }
}

/// The hypervisors that are programs of their own. One that is not installed is missed only
/// if machines would run by nothing else: see [`supervisor`].
pub(super) fn hypervisors(found: &[Found]) -> Vec<Finding> {
    let looked_at = [("qemu", "qemu:accel=tcg"), ("cloud-hypervisor", "cloud-hypervisor")];
    let finding = |(name, supervisor): (&'static str, &str)| {
        let one = found.iter().find(|one| one.supervisor == supervisor)?;
        Some(match (&one.capabilities, &one.error) {
            (Some(capabilities), _) => {
                Finding::ok(name, format!("version {}", capabilities.version))
            }
            (None, Some(Failure { message, hint, .. })) if name == "qemu" => {
                Finding::degraded(name, message, hint.clone().unwrap_or_default())
            }
            (None, error) => {
                let why = error.as_ref().map(|error| &*error.message).unwrap_or_default();
                Finding::ok(name, format!("not used: {why}"))
            }
        })
    };
    looked_at.into_iter().filter_map(finding).collect()
}

/// Whether machines can have a network, as they have unless told otherwise.
pub(super) fn passt() -> Finding {
    match locate_passt() {
        Ok(program) => Finding::ok("passt", program.display().to_string()),
        Err(e) => Finding::degraded("passt", e.message, e.hint.unwrap_or_default()),
    }
}

/// Whether anything runs machines here: what `run` without `--supervisor` would take.
pub(super) async fn supervisor(found: &[Found], state: &StateDir) -> Finding {
    let name = "supervisor";
    let ordinary = ordinary_machine(host_cpus());
    match named(state) {
        Err(failure) => Finding::failed(name, failure.message, failure.hint),
        Ok(Selection::Auto) => automatic(found, &ordinary, state),
        Ok(selection) => match tools::registry(state).choose(&selection, &ordinary).await {
            Ok(choice) => {
                let why = choice.reasons.last().map(|reason| reason.text.clone());
                let why = why.unwrap_or_default();
                let detail = format!("{}: {why}", choice.backend.name());
                with_network(detail, &choice.capabilities, state)
            }
            Err(e) => {
                let failure = Failure::from(RunError::from(e));
                Finding::failed(name, failure.message, failure.hint)
            }
        },
    }
}

/// What the environment or the configuration names.
fn named(state: &StateDir) -> Result<Selection, Failure> {
    let named = std::env::var("MICROAGENT_SUPERVISOR").ok().filter(|name| !name.is_empty());
    let text = named.or(tools::config(state)?.supervisor).unwrap_or_else(|| "auto".into());
    Selection::parse(&text).map_err(|e| Failure::from(RunError::from(e)))
}

/// The first that works and can run it, in the order in which `auto` tries them.
fn automatic(found: &[Found], ordinary: &MachineSpec, state: &StateDir) -> Finding {
    let works = found.iter().filter_map(|one| Some((one, one.capabilities.as_ref()?)));
    match works.into_iter().find(|(_, capabilities)| admit(ordinary, capabilities).is_empty()) {
        Some((one, capabilities)) => {
            let kind = capabilities.acceleration.name();
            let detail = format!("auto takes {} ({kind})", one.supervisor);
            with_network(detail, capabilities, state)
        }
        None => Finding::failed(
            "supervisor",
            "none works here",
            Some("install QEMU (Debian: apt-get install qemu-system-x86)".into()),
        ),
    }
}

/// Whether what was chosen gives a machine the network that it has unless told otherwise.
fn with_network(detail: String, capabilities: &Capabilities, state: &StateDir) -> Finding {
    let network = tools::config(state).ok().and_then(|config| config.network);
    let wanted = network.as_deref() != Some(ISOLATED);
    if !wanted || capabilities.features.contains(&Feature::UserNet) {
        return Finding::ok("supervisor", detail);
    }
    let remedy = format!(
        "a run has one by default and is refused: --network {ISOLATED}, or network = \
         \"{ISOLATED}\" in config.toml, has none"
    );
    Finding::degraded("supervisor", format!("{detail}; it has no network"), remedy)
}

/// Whether the monitor is there and of this version.
pub(super) async fn monitor(found: microagent_backend::Result<PathBuf>) -> Finding {
    let name = "monitor";
    let path = match found {
        Ok(path) => path,
        Err(e) => return Finding::failed(name, chain(&e), e.hint),
    };
    let expected = format!("microagent-vmm {}", env!("CARGO_PKG_VERSION"));
    let remedy = || Some("install microagent and microagent-vmm of the same version".to_owned());
    match ask(&path, &["--version"]).await {
        Ok(answer) if answer.text.trim_end() == expected => {
            Finding::ok(name, format!("{} ({expected})", path.display()))
        }
        Ok(answer) => {
            let said: String = answer.text.chars().filter(|c| !c.is_control()).take(80).collect();
            let path = path.display();
            Finding::failed(name, format!("{path} is '{said}', expected '{expected}'"), remedy())
        }
        Err(e) => Finding::failed(name, chain(&e), remedy()),
    }
}

/// Whether the guest agent is in this program.
pub(super) fn agent() -> Finding {
    match tools::has_agent() {
        true => Finding::ok("agent", "built in"),
        false => Finding::failed(
            "agent",
            "this microagent was built without its guest agent",
            Some("build it with the default features".into()),
        ),
    }
}

/// Whether there is a guest kernel, and whether it is the one that was recorded.
pub(super) fn kernel(named: Option<&Path>, state: &StateDir) -> Finding {
    let name = "kernel";
    let configured = tools::config(state).ok().and_then(|config| config.kernel);
    let catalogue = Catalogue::new(state.kernels(), tools::shared_kernels());
    match catalogue.pick(named.or(configured.as_deref())) {
        Ok(kernel) => match &kernel.sha256 {
            Some(sum) => {
                let (path, short) = (kernel.path.display(), sum.get(..12).unwrap_or(sum));
                Finding::ok(name, format!("{path}, SHA-256 {short} as recorded"))
            }
            None => Finding::degraded(
                name,
                format!("{} has no recorded SHA-256 to be compared with", kernel.path.display()),
                "install it: microagent kernel install --from PATH --sha256 HEX",
            ),
        },
        Err(e) => {
            let failure = Failure::from(RunError::from(e));
            Finding::failed(name, failure.message, failure.hint)
        }
    }
}
