//! `microagent.yaml`: what `create` would be told by flags, which go over it.

mod known;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::args::{CreateArgs, Restart, RunArgs};
use crate::failure::{Failure, chain};

/// Longest file that is read, in bytes.
const MAX_LEN: u64 = 1 << 20;

/// A workspace as a file describes it. Paths are relative to where the command is run.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WorkspaceFile {
    /// Its name.
    name: Option<String>,
    /// The image that its disk is made of.
    image: Option<String>,
    /// Resources by name: tiny, small, medium, large.
    profile: Option<String>,
    /// When it is started again after it ended without having been asked to.
    restart: Option<Restart>,
    /// Shell words that are run at every start; it halts when they end.
    entrypoint: Option<String>,
    /// The guest's shell.
    shell: Option<String>,
    /// The guest's host name.
    hostname: Option<String>,
    /// Lines for the shell that run once, at the first start.
    setup: Vec<String>,
    /// Over the image's environment.
    env: BTreeMap<String, String>,
    /// How much of the host it gets.
    resources: ResourcesSection,
    /// Its network.
    network: NetworkSection,
    /// A channel from the guest to a target of the host.
    mediation: Option<MediationSection>,
    /// As `--disk`.
    disks: Vec<String>,
    /// As `--bundle`.
    bundles: Vec<String>,
    /// As `--volume`.
    volumes: Vec<String>,
    /// As `--output`.
    outputs: Vec<String>,
}

/// How much of the host it gets.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ResourcesSection {
    /// Guest memory in MiB.
    memory_mib: Option<u32>,
    /// Number of vCPUs.
    cpus: Option<u32>,
    /// Size of the root disk in MiB.
    size_mib: Option<u32>,
}

/// Its network.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct NetworkSection {
    /// As `--network`.
    mode: Option<String>,
    /// As `--publish`.
    publish: Vec<String>,
}

/// A channel from the guest to a target of the host.
#[derive(Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MediationSection {
    /// The port of the guest's vsock.
    port: u32,
    /// `HOST:PORT`, with `,listen` also at the guest's 127.0.0.1.
    target: String,
    /// Whether it is not started without it.
    #[serde(default = "required")]
    required: bool,
}

fn required() -> bool {
    true
}

/// Adds what the file says and no flag does.
pub(crate) fn merge(args: &mut CreateArgs, path: &Path) -> Result<(), Failure> {
    let usage = |why: String| Failure::usage(format!("--file {}: {why}", path.display()));
    let meta = fs::metadata(path).map_err(|e| usage(e.to_string()))?;
    if meta.len() > MAX_LEN {
        return Err(usage(format!("{} bytes, at most {MAX_LEN} are read", meta.len())));
    }
    let text = fs::read_to_string(path).map_err(|e| usage(e.to_string()))?;
    put(args, parse(&text).map_err(usage)?);
    Ok(())
}

fn parse(text: &str) -> Result<WorkspaceFile, String> {
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|e| chain(&e))?;
    // An empty file says nothing.
    if value.is_null() {
        return Ok(WorkspaceFile::default());
    }
    known::check(&value)?;
    serde_json::from_value(value).map_err(|e| e.to_string())
}

fn put(args: &mut CreateArgs, file: WorkspaceFile) {
    let WorkspaceFile {
        name,
        image,
        profile,
        restart,
        entrypoint,
        shell,
        hostname,
        setup,
        env,
        resources,
        network,
        mediation,
        disks,
        bundles,
        volumes,
        outputs,
    } = file;
    let CreateArgs { run, rootfs, restart: wanted, file: _ } = args;
    // A positional image is one as well.
    if run.image.is_none() && run.positional.is_empty() && rootfs.is_none() {
        run.image = image;
    }
    run.name = run.name.take().or(name);
    run.profile = run.profile.take().or(profile);
    *wanted = wanted.or(restart);
    if run.exec.is_none() && run.positional.is_empty() {
        run.entrypoint = run.entrypoint.take().or(entrypoint);
    }
    run.shell = run.shell.take().or(shell);
    run.hostname = run.hostname.take().or(hostname);
    if run.setup.is_empty() {
        run.setup = setup;
    }
    // The last one counts: those of the flags come after.
    let env = env.into_iter().map(|(key, value)| format!("{key}={value}"));
    run.env = env.chain(std::mem::take(&mut run.env)).collect();
    run.memory = run.memory.take().or(resources.memory_mib.map(|mib| mib.to_string()));
    run.cpus = run.cpus.or(resources.cpus);
    // Which says how large a disk is that is made of an image.
    run.size_mib = run.size_mib.or(resources.size_mib.filter(|_| rootfs.is_none()));
    apply_network(run, network);
    if let Some(MediationSection { port, target, required }) =
        mediation.filter(|_| run.mediation.is_none())
    {
        run.mediation = Some(format!("{port}={target}"));
        run.mediation_optional |= !required;
    }
    let lists = [
        (&mut run.disks.disk, disks),
        (&mut run.disks.bundle, bundles),
        (&mut run.disks.volume, volumes),
        (&mut run.disks.output, outputs),
    ];
    for (flags, file) in lists {
        if flags.is_empty() {
            *flags = file;
        }
    }
}

/// A mode of the flags goes over the whole section: the ports of the file are no reason to refuse
/// a workspace that is to have no network for once.
fn apply_network(run: &mut RunArgs, NetworkSection { mode, publish }: NetworkSection) {
    let isolated = run.network.as_deref() == Some("isolated");
    if run.publish.is_empty() && !isolated {
        run.publish = publish;
    }
    run.network = run.network.take().or(mode);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn check(text: &str, says: &str) {
        let message = parse(text).unwrap_err();
        assert!(message.contains(says), "{text}: {message}");
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_known_one() {
        check("imag: x", "there is no key 'imag', perhaps 'image'");
        check("resources: {memory: 5}", "there is no key 'resources.memory', perhaps 'memory_mib'");
        check("zzzzzzzzzz: 1", "there is no key 'zzzzzzzzzz', known are: ");
        check("cpus: 2", "there is no key 'cpus'");
        check("setup: one", "invalid type");
        check("restart: sometimes", "unknown variant `sometimes`");
        check("image: [", "");
        check("- a list", "is no mapping");
    }

    #[test]
    fn flags_go_over_the_file() {
        let line = ["microagent", "create", "--name", "mine", "-e", "A=flag", "--cpus", "1"];
        let Command::Create(mut args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("not create");
        };
        let text = "name: file\nimage: alpine:3\nenv: {A: file, B: file}\nrestart: always\n\
                    resources: {cpus: 2, memory_mib: 256}\nmediation: {port: 5, target: 'h:1'}\n";
        put(&mut args, parse(text).unwrap());
        assert_eq!(args.run.name.as_deref(), Some("mine"));
        assert_eq!(args.run.image.as_deref(), Some("alpine:3"));
        assert_eq!(args.run.env, ["A=file", "B=file", "A=flag"]);
        assert_eq!((args.run.cpus, args.run.memory.as_deref()), (Some(1), Some("256")));
        assert_eq!(args.restart, Some(Restart::Always));
        assert_eq!(args.run.mediation.as_deref(), Some("5=h:1"));
    }

    /// What a file says, and flags that say the same.
    const SAME: [(&str, &str); 21] = [
        ("name: box", "--name box"),
        ("image: i:1", "--image i:1"),
        ("profile: tiny", "--profile tiny"),
        ("restart: never", "--restart never"),
        ("restart: on-failure", "--restart on-failure"),
        ("restart: always", "--restart always"),
        ("entrypoint: a 'b c'", "--entrypoint \"a 'b c'\""),
        ("shell: /bin/ash", "--shell /bin/ash"),
        ("hostname: h", "--hostname h"),
        ("setup: [a b, c]", "--setup 'a b' --setup c"),
        ("env: {A: b, C: 'd e'}", "--env A=b --env 'C=d e'"),
        (
            "resources: {memory_mib: 256, cpus: 1, size_mib: 900}",
            "--memory 256 --cpus 1 --size-mib 900",
        ),
        ("network: {mode: isolated}", "--network isolated"),
        (
            "network: {mode: user, publish: ['80:80', '53:53/udp']}",
            "--network user -p 80:80 -p 53:53/udp",
        ),
        ("mediation: {port: 5, target: 'h:1'}", "--mediation 5=h:1"),
        ("mediation: {port: 5, target: 'h:1,listen', required: true}", "--mediation 5=h:1,listen"),
        (
            "mediation: {port: 5, target: 'h:1', required: false}",
            "--mediation 5=h:1 --mediation-optional",
        ),
        ("disks: ['a=b:/c:ro']", "--disk a=b:/c:ro"),
        ("bundles: ['a=b:/c:ro', 'd=e:/f:rw']", "--bundle a=b:/c:ro --bundle d=e:/f:rw"),
        ("volumes: ['a:/b', 'c:/d:ro']", "--volume a:/b --volume c:/d:ro"),
        ("outputs: ['a=/b']", "--output a=/b"),
    ];

    fn created(line: &str) -> CreateArgs {
        let words = shell_words::split(line).unwrap();
        let words = ["microagent", "create"].into_iter().map(str::to_owned).chain(words);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Create(args) => *args,
            _ => panic!("not create"),
        }
    }

    #[test]
    fn every_key_says_what_its_flag_does_and_the_flag_goes_over_it() {
        for (text, flags) in SAME {
            let mut args = created("");
            put(&mut args, parse(text).unwrap());
            assert_eq!(format!("{args:?}"), format!("{:?}", created(flags)), "{text}");
            // What is said twice is not said otherwise.
            let mut args = created(flags);
            put(&mut args, parse(text).unwrap());
            if !text.starts_with("env") {
                assert_eq!(format!("{args:?}"), format!("{:?}", created(flags)), "{text} {flags}");
            }
        }
        let schema = serde_json::to_value(schemars::schema_for!(WorkspaceFile)).unwrap();
        for key in schema["properties"].as_object().unwrap().keys() {
            assert!(SAME.iter().any(|(text, _)| text.starts_with(&format!("{key}:"))), "{key}");
        }
    }

    #[test]
    fn the_shell_of_a_flag_counts_even_if_it_is_the_default() {
        let mut args = created("--shell /bin/sh");
        put(&mut args, parse("shell: /bin/bash").unwrap());
        assert_eq!(args.run.shell.as_deref(), Some("/bin/sh"));
    }

    #[test]
    fn the_network_of_the_file_and_of_the_flags() {
        let check = |line: &str, text: &str, mode: Option<&str>, publish: &[&str]| {
            let line = ["microagent", "create"].into_iter().chain(line.split_whitespace());
            let Command::Create(mut args) = Cli::try_parse_from(line).unwrap().command else {
                panic!("not create");
            };
            put(&mut args, parse(&format!("network: {text}")).unwrap());
            assert_eq!(args.run.network.as_deref(), mode, "{text}");
            assert_eq!(args.run.publish, publish, "{text}");
        };
        check("", "{}", None, &[]);
        check("", "{publish: ['80:80', '53:53/udp']}", None, &["80:80", "53:53/udp"]);
        check("-p 81:81", "{mode: user, publish: ['80:80']}", Some("user"), &["81:81"]);
        check("--network isolated", "{publish: ['80:80']}", Some("isolated"), &[]);
        check("--network user", "{mode: isolated}", Some("user"), &[]);
    }

    #[test]
    fn the_published_schema_is_that_of_what_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/microagent.schema.json");
        let schema = serde_json::to_value(schemars::schema_for!(WorkspaceFile)).unwrap();
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if std::env::var_os("MICROAGENT_WRITE_SCHEMA").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let published = fs::read_to_string(&path).unwrap();
        assert!(published == text, "MICROAGENT_WRITE_SCHEMA=1 cargo test writes it anew");
    }

    #[test]
    fn the_example_is_understood() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/microagent.yaml");
        parse(&fs::read_to_string(path).unwrap()).unwrap();
    }
}
