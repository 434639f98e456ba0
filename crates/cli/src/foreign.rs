//! Flags that people bring along from containers, and flags that are to come: each is
//! answered with a sentence of its own instead of "unknown argument".

use clap::Args;

use crate::failure::Failure;

/// Flags of container engines that make no sense for a virtual machine.
#[derive(Debug, Default, Args)]
pub(crate) struct ForeignFlags {
    #[arg(long, hide = true)]
    privileged: bool,
    #[arg(long, hide = true, value_name = "X")]
    device: Option<String>,
    #[arg(long, hide = true, value_name = "X")]
    cap_add: Option<String>,
    #[arg(long, hide = true, value_name = "X")]
    cap_drop: Option<String>,
    #[arg(long, hide = true, value_name = "X")]
    pid: Option<String>,
    #[arg(long, hide = true, value_name = "X")]
    ipc: Option<String>,
    #[arg(long, hide = true, value_name = "X")]
    userns: Option<String>,
    #[arg(long, hide = true, value_name = "X")]
    security_opt: Option<String>,
    #[arg(long, hide = true, value_name = "X")]
    gpus: Option<String>,
    #[arg(long, hide = true, value_name = "X")]
    mount: Option<String>,
    #[arg(long, short, hide = true)]
    detach: bool,
}

/// Flags of `run` that are not built yet.
#[derive(Debug, Default, Args)]
pub(crate) struct LaterFlags {
    #[arg(long, hide = true, value_name = "X")]
    disk: Vec<String>,
    #[arg(long, hide = true, value_name = "X")]
    bundle: Vec<String>,
    #[arg(long, hide = true, value_name = "X")]
    output: Vec<String>,
    #[arg(long, hide = true, value_name = "X")]
    output_dir: Option<String>,
    #[arg(long, hide = true, value_name = "X")]
    volume: Vec<String>,
    #[arg(long, hide = true, value_name = "X")]
    mediation: Option<String>,
    #[arg(long, hide = true)]
    mediation_optional: bool,
    #[arg(long, hide = true, value_name = "X")]
    network: Option<String>,
    #[arg(long, short = 'p', hide = true, value_name = "X")]
    publish: Vec<String>,
    #[arg(long, short, hide = true)]
    tty: bool,
}

impl ForeignFlags {
    /// Fails for the first flag that was given.
    pub(crate) fn refuse(&self) -> Result<(), Failure> {
        // Exhaustive on purpose: a new flag must say what to do instead.
        let Self {
            privileged,
            device,
            cap_add,
            cap_drop,
            pid,
            ipc,
            userns,
            security_opt,
            gpus,
            mount,
            detach,
        } = self;
        let own = "the command has a kernel of its own";
        let table = [
            (*privileged, "--privileged", format!("leave it out: {own}, and root in it is root")),
            (device.is_some(), "--device", "devices of the host cannot be passed in".into()),
            (cap_add.is_some(), "--cap-add", format!("leave it out: {own} and every capability")),
            (cap_drop.is_some(), "--cap-drop", "run as another user: --user".into()),
            (pid.is_some(), "--pid", format!("leave it out: {own}, so it sees no host process")),
            (ipc.is_some(), "--ipc", format!("leave it out: {own}")),
            (userns.is_some(), "--userns", format!("leave it out: {own}")),
            (security_opt.is_some(), "--security-opt", format!("leave it out: {own}")),
            (gpus.is_some(), "--gpus", "there is no way to give a machine a GPU".into()),
            (mount.is_some(), "--mount", "directories of the host cannot be mounted".into()),
            (*detach, "--detach", "put the whole command into the background of the shell".into()),
        ];
        match table.into_iter().find(|(given, _, _)| *given) {
            Some((_, flag, hint)) => {
                Err(Failure::usage(format!("{flag} does not apply to a microVM")).with_hint(hint))
            }
            None => Ok(()),
        }
    }
}

impl LaterFlags {
    /// Fails for the first flag that was given.
    pub(crate) fn refuse(&self) -> Result<(), Failure> {
        let Self {
            disk,
            bundle,
            output,
            output_dir,
            volume,
            mediation,
            mediation_optional,
            network,
            publish,
            tty,
        } = self;
        let table = [
            (!disk.is_empty(), "--disk"),
            (!bundle.is_empty(), "--bundle"),
            (!output.is_empty(), "--output"),
            (output_dir.is_some(), "--output-dir"),
            (!volume.is_empty(), "--volume"),
            (mediation.is_some(), "--mediation"),
            (*mediation_optional, "--mediation-optional"),
            // No network is what there is.
            (network.as_deref().is_some_and(|mode| mode != "isolated"), "--network"),
            (!publish.is_empty(), "--publish"),
            (*tty, "--tty"),
        ];
        match table.into_iter().find(|(given, _)| *given) {
            Some((_, flag)) => Err(Failure::usage(format!("{flag} is not built yet"))
                .with_hint("`microagent run --help` lists what is")),
            None => Ok(()),
        }
    }
}
