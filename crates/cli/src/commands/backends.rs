//! `backends list|probe`: what each backend can do here.

use std::collections::BTreeSet;

use microagent_backend::{Capabilities, Error, IsolationPlan};
use microagent_machine::{Arch, Feature, MachineSpec, MiB};
use microagent_supervisor::{Registry, Selection, Wanted};
use microagent_workspace::{RunError, StateDir};
use serde::Serialize;
use serde_json::json;

use crate::args::{BackendsCommand, Global};
use crate::failure::Failure;
use crate::output::{print, print_json, table};
use crate::tools;

/// Options that make a backend of one name into several.
const VARIANTS: &[(&str, &[&str])] = &[("qemu", &["accel=kvm", "accel=tcg"])];

/// Exit code where one that was named cannot be used.
const EXIT_UNAVAILABLE: u8 = 1;

/// What was found about one supervisor.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    /// As it is named with `--supervisor`.
    pub(super) supervisor: String,
    /// Whether it can be used here.
    pub(super) available: bool,
    /// What it can do.
    pub(super) capabilities: Option<Capabilities>,
    /// Why it cannot be used.
    pub(super) error: Option<Failure>,
}

pub(crate) async fn run(command: BackendsCommand, global: &Global) -> Result<u8, Failure> {
    let registry = tools::registry(&StateDir::peek(tools::state_path(global)?)?);
    let (found, asked) = match command {
        BackendsCommand::List => (all(&registry).await, false),
        BackendsCommand::Probe { supervisors } if supervisors.is_empty() => {
            (all(&registry).await, false)
        }
        BackendsCommand::Probe { supervisors } => (each(&registry, &supervisors).await?, true),
    };
    if global.json {
        print_json(&json!({ "backends": found }));
    } else {
        print(&matrix(&found));
        print(&format!("\n{}", reasons(&found)));
    }
    let missing = asked && found.iter().any(|one| !one.available);
    Ok(if missing { EXIT_UNAVAILABLE } else { 0 })
}

/// Every backend that this program has, in the order in which `auto` tries them.
pub(super) async fn all(registry: &Registry) -> Vec<Found> {
    let mut found = Vec::new();
    for entry in registry.entries() {
        let Some(make) = &entry.make else { continue };
        let variants = VARIANTS.iter().find(|(name, _)| *name == entry.name);
        for options in variants.map_or(&[""][..], |(_, variants)| variants) {
            let probed = match make(Wanted::Options(options)) {
                Ok(backend) => backend.probe().await,
                Err(e) => Err(e),
            };
            let separator = if options.is_empty() { "" } else { ":" };
            found.push(Found::of(format!("{}{separator}{options}", entry.name), probed));
        }
    }
    found
}

async fn each(registry: &Registry, supervisors: &[String]) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    for text in supervisors {
        let failure = |e: Error| Failure::from(RunError::from(e));
        let selection = Selection::parse(text).map_err(failure)?;
        registry.check(&selection).await.map_err(failure)?;
        let chosen = registry.choose(&selection, &anything()).await;
        found.push(Found::of(text.clone(), chosen.map(|choice| choice.capabilities)));
    }
    Ok(found)
}

/// A machine that every backend can make: it has nothing.
fn anything() -> MachineSpec {
    MachineSpec {
        arch: Arch::HOST,
        vcpus: 1,
        memory: MiB(1),
        disks: Vec::new(),
        vsock: None,
        net: None,
        rng: false,
        boot: None,
    }
}

impl Found {
    fn of(supervisor: String, probed: microagent_backend::Result<Capabilities>) -> Self {
        let (capabilities, error) = match probed {
            Ok(capabilities) => (Some(capabilities), None),
            Err(e) => (None, Some(Failure::from(RunError::from(e)))),
        };
        Self { supervisor, available: capabilities.is_some(), capabilities, error }
    }
}

/// A column for each supervisor, a line for each thing that it can or cannot do.
fn matrix(found: &[Found]) -> String {
    let mut rows = vec![line("available", found, |_| yes(true), yes(false))];
    let mut add = |name: &str, of: &dyn Fn(&Capabilities) -> String| {
        rows.push(line(name, found, of, "-".into()));
    };
    add("version", &|c| c.version.clone());
    add("acceleration", &|c| c.acceleration.name().into());
    add("vcpus", &|c| c.limits.vcpus.to_string());
    add("memory/MiB", &|c| c.limits.memory.0.to_string());
    add("disks", &|c| c.limits.disks.to_string());
    let offered = found.iter().filter_map(|one| one.capabilities.as_ref());
    let offered: BTreeSet<Feature> = offered.flat_map(|c| c.features.iter().copied()).collect();
    let known: BTreeSet<Feature> = Feature::ALL.iter().copied().collect();
    for feature in known.union(&offered) {
        add(feature.name(), &|c| yes(c.features.contains(feature)));
    }
    add("seccomp", &|c| yes(isolation(c).seccomp));
    add("landlock", &|c| yes(isolation(c).landlock));
    add("no_new_privs", &|c| yes(isolation(c).no_new_privs));
    add("rlimits", &|c| yes(isolation(c).rlimits));
    let header = std::iter::once("WHAT").chain(found.iter().map(|one| &*one.supervisor));
    table(&header.collect::<Vec<_>>(), rows)
}

fn isolation(capabilities: &Capabilities) -> &IsolationPlan {
    &capabilities.isolation
}

fn line(
    name: &str,
    found: &[Found],
    of: impl Fn(&Capabilities) -> String,
    none: String,
) -> Vec<String> {
    let cell = |one: &Found| one.capabilities.as_ref().map_or_else(|| none.clone(), &of);
    std::iter::once(name.to_owned()).chain(found.iter().map(cell)).collect()
}

fn yes(yes: bool) -> String {
    if yes { "yes".into() } else { "no".into() }
}

/// What shows how each runs guests, and what is to be known or to be done about a feature; or why
/// it cannot be used and what to do.
fn reasons(found: &[Found]) -> String {
    let reason = |one: &Found| match (&one.capabilities, &one.error) {
        (Some(capabilities), _) => {
            let Capabilities { acceleration, remedies, cautions, .. } = capabilities;
            let said = |(feature, text): (&Feature, &String)| format!("\n  {feature}: {text}");
            let said: String = remedies.iter().chain(cautions).map(said).collect();
            format!("{}: {}{said}", one.supervisor, acceleration.evidence())
        }
        (None, Some(Failure { message, hint, .. })) => {
            let hint = hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
            format!("{}: {message}{hint}", one.supervisor)
        }
        (None, None) => one.supervisor.clone(),
    };
    found.iter().map(reason).collect::<Vec<_>>().join("\n")
}
