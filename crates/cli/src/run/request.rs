//! From what was written to a request.

use std::fs;
use std::path::{Path, PathBuf};

use microagent_image::{PullPolicy, Source};
use microagent_supervisor::Selection;
use microagent_workspace::{
    CommandRequest, Config, MediationRequest, Name, Need, Origin, PROFILES, Profile, Resources,
    RunRequest,
};

use super::network::network;
use super::{disks, outputs};
use crate::args::{Global, Pull, RunArgs};
use crate::failure::Failure;
use crate::{quantity, umask};

/// The shell of a guest for which none is named.
const SHELL: &str = "/bin/sh";

/// Longest environment file that is read, in bytes.
const MAX_ENV_FILE: u64 = 1 << 20;

/// Checks what was written, as far as it can be without looking at an image.
pub(crate) fn from_args(
    args: &RunArgs,
    config: &Config,
    global: &Global,
) -> Result<RunRequest, Failure> {
    let (reference, arguments) = image_and_arguments(args)?;
    let source: Source = reference.parse().map_err(|e: microagent_image::ImageError| {
        Failure::from(microagent_workspace::RunError::from(e))
    })?;
    let command = command(args, arguments)?;
    made_of(Origin::Image { reference, source }, command, args, (config, global))
}

/// The same for a root disk that is there: all that is not a flag is the command.
pub(crate) fn from_args_on_rootfs(
    args: &RunArgs,
    rootfs: PathBuf,
    config: &Config,
    global: &Global,
) -> Result<RunRequest, Failure> {
    let command = command(args, args.positional.clone())?;
    made_of(Origin::Rootfs { path: rootfs }, command, args, (config, global))
}

fn made_of(
    origin: Origin,
    command: CommandRequest,
    args: &RunArgs,
    (config, global): (&Config, &Global),
) -> Result<RunRequest, Failure> {
    check_platform(args.platform.as_deref())?;
    check_mke2fs(args.mke2fs.as_deref())?;
    check_absolute("--shell", args.shell.as_deref())?;
    check_absolute("--workdir", args.workdir.as_deref())?;
    check_hostname(args.hostname.as_deref())?;
    let name = match &args.name {
        Some(text) => Name::new(text).map_err(|e| Failure::usage(e.to_string()))?,
        None => Name::generate(),
    };
    if let Some(timeout) = &args.timeout {
        quantity::timeout(timeout)?;
    }
    let supervisor = supervisor(args)?.or(config.supervisor.as_deref());
    // A port to publish asks for a network, whatever is the default.
    let default = config.network.as_deref().filter(|_| args.publish.is_empty());
    let mode = args.network.as_deref().or(default);
    let mut insecure_registries = config.insecure_registries.clone();
    insecure_registries.extend(args.insecure_registry.iter().cloned());
    Ok(RunRequest {
        origin,
        pull: match args.pull {
            Pull::Always => PullPolicy::Always,
            Pull::Missing => PullPolicy::Missing,
            Pull::Never => PullPolicy::Never,
        },
        insecure_registries,
        command,
        setup: args.setup.clone(),
        env: environment(args)?,
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        shell: args.shell.clone().unwrap_or_else(|| SHELL.to_owned()),
        hostname: args.hostname.clone(),
        name,
        keep: args.keep,
        resources: resources(args)?,
        mediation: mediation(args)?,
        network: network(mode, &args.publish)?,
        kernel: args.kernel.clone().or_else(|| config.kernel.clone()),
        mke2fs: args.mke2fs.clone(),
        disks: disks::requests(&args.disks)?,
        outputs: outputs::requests(args)?,
        umask: umask::callers(),
        output_dir: args.disks.output_dir.clone(),
        supervisor: Selection::parse(supervisor.unwrap_or("auto"))
            .map_err(|e| Failure::from(microagent_workspace::RunError::from(e)))?,
        verbose: global.verbose,
        measure: false,
    })
}

fn supervisor(args: &RunArgs) -> Result<Option<&str>, Failure> {
    match &args.supervisor[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        [..] => Err(Failure::usage("--supervisor is given more than once")
            .with_hint("`microagent compare` runs the same on several")),
    }
}

/// `--image` makes every positional argument part of the command; without it the first is
/// the image.
fn image_and_arguments(args: &RunArgs) -> Result<(String, Vec<String>), Failure> {
    let positional = args.positional.clone();
    match &args.image {
        Some(image) => Ok((image.clone(), positional)),
        None => match positional.split_first() {
            Some((image, rest)) => Ok((image.clone(), rest.to_vec())),
            None => Err(Failure::usage("no image was named")
                .with_hint("microagent run --image <ref> --exec '<command>'")),
        },
    }
}

fn command(args: &RunArgs, arguments: Vec<String>) -> Result<CommandRequest, Failure> {
    match &args.exec {
        Some(_) if !arguments.is_empty() => Err(Failure::usage(
            "--exec and a command were both given",
        )
        .with_hint("--exec '<line>' runs a line in a shell, `command arg...` runs without one")),
        Some(line) => Ok(CommandRequest::Shell { line: line.clone() }),
        None => Ok(CommandRequest::Program { entrypoint: entrypoint(args)?, arguments }),
    }
}

fn entrypoint(args: &RunArgs) -> Result<Option<Vec<String>>, Failure> {
    let Some(text) = &args.entrypoint else { return Ok(None) };
    let words = shell_words::split(text)
        .map_err(|e| Failure::usage(format!("--entrypoint '{text}': {e}")))?;
    Ok(Some(words))
}

fn check_platform(platform: Option<&str>) -> Result<(), Failure> {
    match platform {
        None | Some("linux/amd64" | "linux/x86_64" | "amd64" | "x86_64") => Ok(()),
        Some(other) => Err(Failure::usage(format!(
            "--platform {other}: guests run on the host's processor, which is linux/amd64"
        ))),
    }
}

fn mediation(args: &RunArgs) -> Result<Option<MediationRequest>, Failure> {
    let Some(text) = &args.mediation else { return Ok(None) };
    let mut request: MediationRequest =
        text.parse().map_err(|e| Failure::usage(format!("--mediation {text}: {e}")))?;
    if args.mediation_optional {
        request.need = Need::Optional;
    }
    Ok(Some(request))
}

fn check_mke2fs(path: Option<&Path>) -> Result<(), Failure> {
    match path {
        Some(path) if !path.is_file() => {
            Err(Failure::usage(format!("--mke2fs {}: there is no such program", path.display())))
        }
        _ => Ok(()),
    }
}

fn check_absolute(flag: &str, path: Option<&str>) -> Result<(), Failure> {
    match path {
        Some(path) if !path.starts_with('/') => {
            Err(Failure::usage(format!("{flag} '{path}' must be an absolute path in the guest")))
        }
        _ => Ok(()),
    }
}

/// A host name is at most 64 bytes for Linux; labels as RFC 1123 has them.
fn check_hostname(hostname: Option<&str>) -> Result<(), Failure> {
    let Some(name) = hostname else { return Ok(()) };
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let label =
        |l: &str| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-') && l.bytes().all(known);
    if name.len() <= 64 && name.split('.').all(label) {
        return Ok(());
    }
    Err(Failure::usage(format!("--hostname '{name}' is no host name"))
        .with_hint("letters, digits and '-' in parts between dots, 64 bytes at most"))
}

/// How many processors this host has, as far as this process may use them.
pub(crate) fn host_cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

fn resources(args: &RunArgs) -> Result<Resources, Failure> {
    let profile = args.profile.as_deref().map(profile).transpose()?;
    let memory = args.memory.as_deref().map(quantity::memory).transpose()?;
    let host_cpus = host_cpus();
    let size = match args.size_mib {
        Some(0) => return Err(Failure::usage("--size-mib 0 is no size")),
        size => size.map(microagent_machine::MiB),
    };
    let resources = Resources::new(profile, memory, args.cpus, size, host_cpus);
    if resources.cpus == 0 || resources.cpus > host_cpus {
        return Err(Failure::usage(format!(
            "{} vCPUs were asked for, this host has {host_cpus}",
            resources.cpus
        ))
        .with_hint(format!("--cpus 1 to {host_cpus}")));
    }
    Ok(resources)
}

fn profile(name: &str) -> Result<Profile, Failure> {
    PROFILES.into_iter().find(|profile| profile.name == name).ok_or_else(|| {
        let names = PROFILES.map(|profile| profile.name).join(", ");
        Failure::usage(format!("there is no profile '{name}'"))
            .with_hint(format!("known are: {names}"))
    })
}

fn environment(args: &RunArgs) -> Result<Vec<(String, String)>, Failure> {
    let mut env = Vec::new();
    for path in &args.env_file {
        for line in env_file(path)?.lines() {
            let line = line.trim_start();
            if !line.is_empty() && !line.starts_with('#') {
                env.extend(variable(line, &path.display().to_string())?);
            }
        }
    }
    env.extend(variables(&args.env)?);
    Ok(env)
}

/// What `--env` says.
pub(crate) fn variables(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut env = Vec::new();
    for text in texts {
        env.extend(variable(text, "--env")?);
    }
    Ok(env)
}

fn env_file(path: &Path) -> Result<String, Failure> {
    let usage = |why: String| Failure::usage(format!("--env-file {}: {why}", path.display()));
    let meta = fs::metadata(path).map_err(|e| usage(e.to_string()))?;
    if meta.len() > MAX_ENV_FILE {
        return Err(usage(format!("{} bytes, at most {MAX_ENV_FILE} are read", meta.len())));
    }
    fs::read_to_string(path).map_err(|e| usage(e.to_string()))
}

/// `KEY=VALUE`, or `KEY` for the host's value, which may be none.
fn variable(text: &str, place: &str) -> Result<Option<(String, String)>, Failure> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    if key.is_empty() || key.contains(char::is_whitespace) || text.contains('\0') {
        return Err(Failure::usage(format!("{place}: '{text}' is no KEY=VALUE")));
    }
    Ok(value.map(|value| (key.to_owned(), value)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn request(line: &str) -> Result<RunRequest, String> {
        let words = shell_words::split(line).unwrap();
        let cli =
            Cli::try_parse_from(["microagent", "run"].into_iter().map(str::to_owned).chain(words))
                .map_err(|e| e.to_string())?;
        let Command::Run(args) = cli.command else { return Err("not run".into()) };
        from_args(&args, &Config::default(), &cli.global).map_err(|failure| failure.message)
    }

    fn check(line: &str, says: &str) {
        let message = request(line).unwrap_err();
        assert!(message.contains(says), "{line}: {message}");
    }

    #[test]
    fn both_forms_name_an_image_and_a_command() {
        let shell = request("--image busybox --exec 'echo hi'").unwrap();
        assert_eq!(shell.command, CommandRequest::Shell { line: "echo hi".into() });
        let program = request("-e A=1 busybox ls -l --all").unwrap();
        assert_eq!(program.origin.to_string(), "busybox");
        let arguments = ["ls", "-l", "--all"].map(str::to_owned).to_vec();
        assert_eq!(program.command, CommandRequest::Program { entrypoint: None, arguments });
        assert_eq!(program.env, [("A".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name_and_value() {
        check("", "no image was named");
        check("--image b --exec x y", "both given");
        check("--image b --exec x --entrypoint y", "cannot be used with");
        check("--entrypoint 'a \"b' b", "--entrypoint");
        check("--platform linux/arm64 b", "linux/arm64");
        check("--shell sh b", "--shell 'sh' must be an absolute path");
        check("--workdir a b", "--workdir 'a' must be an absolute path");
        check("--hostname a_b b", "--hostname 'a_b'");
        check("--name ../x b", "workspace name '../x'");
        check("--profile huge b", "no profile 'huge'");
        check("--cpus 0 b", "0 vCPUs");
        check("--cpus 100000 b", "100000 vCPUs");
        check("--memory 1T b", "--memory '1T'");
        check("--size-mib 0 b", "--size-mib 0");
        check("--timeout 0 b", "--timeout '0'");
        check("--env =x b", "'=x' is no KEY=VALUE");
        check("--env-file /nonexistent b", "--env-file /nonexistent");
        check("--network isolated -p 80:80 b", "--publish needs a network");
        check("--network host b", "no network 'host'");
        check("--mediation 5000 b", "--mediation 5000: '5000' is no channel");
        check("--mediation 1024=a:1 b", "port 1024 is the agent's own");
        check("--mediation 1=a:1 --mediation 2=a:1 b", "cannot be used multiple times");
        check("--mediation-optional b", "--mediation");
        check("--keep --rm b", "cannot be used with");
        check("--supervisor a --supervisor c b", "more than once");
        check("--no-such-flag b", "unexpected argument");
        check("UPPER:tag x", "UPPER:tag");
    }
}
