//! Choosing among backends that exist only here.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use async_trait::async_trait;
use microagent_backend::{
    Acceleration, IsolationPlan, Lifetime, Limits, Machine, PowerOff, RunDir,
};
use microagent_machine::{Arch, Feature, MiB};

use super::*;
use crate::{Entry, Wanted};

/// A backend that can be probed and nothing else.
struct Probed {
    works: bool,
    memory: MiB,
}

#[async_trait]
impl Backend for Probed {
    fn name(&self) -> &str {
        "probed"
    }

    async fn probe(&self) -> Result<Capabilities> {
        if !self.works {
            return Err(Error::new(ErrorKind::Unavailable, "the moon is full"));
        }
        Ok(Capabilities {
            backend: "probed".into(),
            version: "1".into(),
            architectures: vec![Arch::X86_64],
            features: BTreeSet::from([Feature::Console]),
            remedies: Default::default(),
            cautions: Default::default(),
            limits: Limits { vcpus: 1, memory: self.memory, virtio_slots: None, disks: 0 },
            acceleration: Acceleration::Emulated { evidence: "test".into() },
            power_off: PowerOff::Reset,
            isolation: IsolationPlan::default(),
        })
    }

    async fn create(&self, _: &MachineSpec, _: &RunDir, _: Lifetime) -> Result<Box<dyn Machine>> {
        Err(Error::new(ErrorKind::Unsupported, "only probed"))
    }

    async fn open(&self, _: &RunDir) -> Result<Box<dyn Machine>> {
        Err(Error::new(ErrorKind::NotFound, "only probed"))
    }
}

fn entry(name: &'static str, works: bool) -> Entry {
    sized(name, works, MiB(64))
}

fn sized(name: &'static str, works: bool, memory: MiB) -> Entry {
    Entry {
        name,
        automatic: true,
        recognises: if works { |line| line.starts_with("probed version") } else { |_| false },
        make: Some(Box::new(move |wanted| match wanted {
            Wanted::Options("") | Wanted::Program(_) => Ok(Box::new(Probed { works, memory })),
            Wanted::Options(other) => {
                Err(Error::new(ErrorKind::Usage, format!("unknown option '{other}'")))
            }
        })),
    }
}

fn spec(vcpus: u32) -> MachineSpec {
    MachineSpec {
        arch: Arch::X86_64,
        vcpus,
        memory: MiB(64),
        disks: Vec::new(),
        vsock: None,
        net: None,
        rng: false,
        boot: None,
    }
}

fn registry() -> Registry {
    let reserved = Entry { name: "later", automatic: false, recognises: |_| false, make: None };
    Registry::new(vec![entry("broken", false), entry("probed", true), reserved])
}

fn choose(text: &str, vcpus: u32) -> std::result::Result<Choice, (ErrorKind, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let selection = Selection::parse(text).unwrap();
    runtime
        .block_on(registry().choose(&selection, &spec(vcpus)))
        .map_err(|e| (e.kind, e.to_string()))
}

fn check(text: &str, vcpus: u32, kind: ErrorKind, says: &str) {
    let (got, message) = choose(text, vcpus).unwrap_err();
    assert_eq!(got, kind, "{text}: {message}");
    assert!(message.contains(says), "{text}: {message}");
}

#[test]
fn auto_takes_the_first_that_works_and_keeps_the_reasons() {
    let choice = choose("auto", 1).unwrap();
    let reasons: Vec<_> = choice.reasons.iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        [
            "broken: the moon is full",
            "probed: the first that works and can run this; emulated: test"
        ]
    );
}

#[test]
fn a_named_backend_never_falls_through() {
    check("broken", 1, ErrorKind::Unavailable, "the moon is full");
    check("later", 1, ErrorKind::Usage, "'later' is not built yet");
    check("unheard", 1, ErrorKind::Usage, "no supervisor 'unheard'");
    check("probed:colour=red", 1, ErrorKind::Usage, "unknown option 'colour=red'");
    check("probed", 2, ErrorKind::Unsupported, "vcpus: 2 asked for, at most 1 here");
}

fn refused(text: &str, spec: &MachineSpec) -> (String, String) {
    let more = MiB(65);
    let registry = Registry::new(vec![
        entry("small", true),
        sized("broken", false, more),
        sized("one", true, more),
        sized("two", true, more),
    ]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let selection = Selection::parse(text).unwrap();
    let error = runtime.block_on(registry.choose(&selection, spec)).unwrap_err();
    (error.message, error.hint.unwrap_or_default())
}

#[test]
fn a_refusal_names_all_reasons_both_numbers_and_who_could() {
    let mut asked = spec(1);
    asked.memory = MiB(65);
    let (message, hint) = refused("small", &asked);
    assert!(message.contains("memory: 65 asked for, at most 64 here"), "{message}");
    assert_eq!(hint, "one, two can: --supervisor one");
    asked.memory = MiB(66);
    asked.rng = true;
    let (message, hint) = refused("two", &asked);
    assert!(message.contains("does not offer rng; memory: 66 asked for, at most 65"), "{message}");
    assert_eq!(hint, "no other supervisor that works here can either");
}

#[test]
fn a_path_is_known_by_what_it_prints() {
    let dir = tempfile::tempdir().unwrap();
    let script = |name: &str, body: &str, mode: u32| {
        let path = dir.path().join(name);
        microagent_tests_scripts::write(&path, body);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let usage = ErrorKind::Usage;
    choose(&script("good", "#!/bin/sh\necho probed version 7\n", 0o700), 1).unwrap();
    check(&script("other", "#!/bin/sh\necho hello\n", 0o700), 1, usage, "\"hello\"");
    check(&script("exits3", "#!/bin/sh\nexit 3\n", 0o700), 1, usage, "\"\"");
    check(&script("text", "just text", 0o600), 1, usage, "is not executable");
    check(&script("lib.so", "", 0o700), 1, usage, "plugin");
    check(dir.path().to_str().unwrap(), 1, usage, "is a directory");
    check(dir.path().join("no").to_str().unwrap(), 1, usage, "does not exist");
}

#[test]
fn a_path_may_speak_the_supervisor_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let check = |answer: &str, kind: Option<ErrorKind>, says: &str| {
        let path = dir.path().join("supervisor");
        microagent_tests_scripts::write(&path, &format!("#!/bin/sh\nread -r request\n{answer}\n"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let selection = Selection::parse(path.to_str().unwrap()).unwrap();
        let chosen = runtime.block_on(registry().choose(&selection, &spec(1)));
        let text = match &chosen {
            Ok(choice) => choice.backend.name().to_owned(),
            Err(e) => format!("{e}: {:?}", e.source),
        };
        assert_eq!(chosen.err().map(|e| e.kind), kind, "{answer}: {text}");
        assert!(text.contains(says), "{answer}: {text}");
    };
    let caps = |name: &str, more: &str| {
        format!(
            r#"echo '{{"protocol":1,"ok":{{"backend":"{name}","version":"1",
            "architectures":["x86_64"],"features":["console"],"limits":{{"vcpus":1,"memory":64,
            "virtio_slots":null,"disks":0}},"acceleration":{{"kind":"emulated","evidence":"x"}},
            "power_off":"reset","isolation":{{"seccomp":false,"landlock":false,
            "no_new_privs":false,"rlimits":false}}{more}}}}}'"#
        )
    };
    let usage = Some(ErrorKind::Usage);
    check(&caps("mine", ""), None, "mine");
    check(&caps("a b", ""), Some(ErrorKind::Protocol), "calls itself \"a b\"");
    check(&caps("mine", r#","colour":"red""#), usage, "colour");
    check(&(caps("mine", "") + "; exit 3"), usage, "exit status: 3");
    check(&(caps("mine", "") + "; echo more"), usage, "does not know");
    check(&(caps("mine", "") + "; kill -SEGV $$"), usage, "signal: 11");
    check(r#"printf '{"protocol":1,"ok"'"#, usage, "EOF");
    check("echo hello >&2", usage, "did not answer when asked to 'probe'; it said last: hello");
    let refusal = r#"{"protocol":1,"err":{"kind":"unavailable","message":"no\nluck"}}"#;
    check(&format!("printf '%s' '{refusal}'"), Some(ErrorKind::Unavailable), "no luck");
}

#[test]
fn a_flood_is_read_to_its_limit_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flood");
    microagent_tests_scripts::write(&path, "#!/bin/sh\nexec cat /dev/zero\n");
    let began = std::time::Instant::now();
    check(path.to_str().unwrap(), 1, ErrorKind::Usage, "no hypervisor that is known");
    assert!(began.elapsed() < Duration::from_secs(4));
}
