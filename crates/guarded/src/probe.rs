//! What KVM is here: asked of `microagent-vmm probe`, which runs a guest, once per boot.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use microagent_backend::{Acceleration, Error, ErrorKind, Result};
use microagent_vmm_protocol::{ProbeReport, ProbeVerdict, VERSION};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::cache::{Cache, Stamp};
use crate::host::boot_id;
use crate::limits::{MAX_EVIDENCE, MAX_PROBE_OUTPUT, PROBE_WITHIN};
use crate::words::one_line;

/// File name of the cache in its directory.
const FILE: &str = "kvm.json";
const DEVICE: &str = "/dev/kvm";

/// What is known of this host's KVM, in memory and perhaps in a file.
#[derive(Debug)]
pub struct KvmProbe {
    known: Cache<Key, ProbeReport>,
    within: Duration,
}

/// What an answer holds for. A host that may or may not use KVM is asked anew, see
/// [`KvmProbe::report`], so the user is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    boot: String,
    monitor: Stamp,
    device: Stamp,
}

impl Key {
    /// `None` where there is nothing to remember an answer by.
    fn of(monitor: &Path) -> Option<Self> {
        Some(Self {
            boot: boot_id().ok()?,
            monitor: Stamp::of(monitor).ok()?,
            device: Stamp::of(Path::new(DEVICE)).ok()?,
        })
    }
}

impl KvmProbe {
    /// One whose answers are kept in `dir`, a directory that exists.
    pub fn new(dir: Option<&Path>) -> Self {
        Self { known: Cache::new(dir, FILE), within: PROBE_WITHIN }
    }

    /// What KVM is here, found by the program `monitor` unless it is known.
    ///
    /// That KVM is unavailable is found in no time and may change at any, so it is not
    /// remembered. A program that does not end within 15 s has a KVM that is of no use, and
    /// that it only interprets is what is remembered of it: nobody shall wait for that again.
    ///
    /// # Errors
    /// `Io` if the program cannot be run, `Crashed` if it fails, `Protocol` if it says what it
    /// must not.
    pub async fn report(&self, monitor: &Path) -> Result<ProbeReport> {
        let key = Key::of(monitor);
        if let Some(known) = key.as_ref().and_then(|key| self.known.recall(key)) {
            return Ok(known);
        }
        let report = run(monitor, self.within).await?;
        if let Some(key) = key
            && report.verdict != ProbeVerdict::Unavailable
        {
            let boot = key.boot.clone();
            let same = |other: &Key| other.boot != boot || other.monitor.path == monitor;
            self.known.keep(key, report.clone(), same);
        }
        Ok(report)
    }

    /// What runs the guests of KVM here, if that is the processor; else why not, in words.
    pub async fn acceleration(&self, monitor: &Path) -> std::result::Result<Acceleration, String> {
        match self.report(monitor).await {
            Ok(report) => by_processor(report),
            Err(error) => {
                let cause = error.source.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
                Err(format!("what KVM is here could not be found out: {error}{cause}"))
            }
        }
    }
}

/// What a report means for those who want the processor.
fn by_processor(report: ProbeReport) -> std::result::Result<Acceleration, String> {
    let evidence = report.evidence;
    match report.verdict {
        ProbeVerdict::Hardware => Ok(Acceleration::Hardware { evidence }),
        ProbeVerdict::Nested => Ok(Acceleration::Nested { evidence }),
        ProbeVerdict::Emulated => Err(format!("KVM only interprets guests: {evidence}")),
        ProbeVerdict::Unavailable => Err(evidence),
    }
}

async fn run(monitor: &Path, within: Duration) -> Result<ProbeReport> {
    let failed = |e| Error::io(format!("run {} probe", monitor.display()), e);
    let mut child = Command::new(monitor)
        .arg("probe")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    // Past the deadline it is dropped, and so killed.
    match tokio::time::timeout(within, listen(&mut child)).await {
        Ok(said) => said.map_err(failed).and_then(|said| said.report(monitor)),
        Err(_) => Ok(too_slow(within)),
    }
}

/// What is known of KVM when nothing was said of it in time.
fn too_slow(within: Duration) -> ProbeReport {
    ProbeReport {
        version: VERSION,
        verdict: ProbeVerdict::Emulated,
        evidence: format!("a guest of a few instructions did not end within {within:?}"),
        ratio: None,
        took_ms: within.as_millis().try_into().unwrap_or(u64::MAX),
    }
}

/// What the program said.
struct Said {
    report: Vec<u8>,
    words: Vec<u8>,
    status: ExitStatus,
}

async fn listen(child: &mut Child) -> std::io::Result<Said> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (report, words) = tokio::try_join!(read(stdout), read(stderr))?;
    Ok(Said { report, words, status: child.wait().await? })
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if let Some(from) = from {
        from.take(MAX_PROBE_OUTPUT).read_to_end(&mut text).await?;
    }
    Ok(text)
}

impl Said {
    fn report(self, monitor: &Path) -> Result<ProbeReport> {
        let monitor = monitor.display();
        if !self.status.success() {
            let words = one_line(&String::from_utf8_lossy(&self.words));
            let what = format!("{monitor} probe failed: {words} ({})", self.status);
            return Err(Error::new(ErrorKind::Crashed, what)
                .with_hint("the monitor must be of the same version as microagent: install both"));
        }
        let wrong = |what: String| {
            Error::new(ErrorKind::Protocol, format!("{monitor} probe reports {what}"))
        };
        let report: ProbeReport =
            serde_json::from_slice(&self.report).map_err(|e| wrong(format!("no report: {e}")))?;
        let ProbeReport { version, verdict: _, evidence, ratio, took_ms: _ } = &report;
        if *version != VERSION {
            return Err(wrong(format!("in version {version}, expected {VERSION}")));
        }
        if evidence.len() > MAX_EVIDENCE || *evidence != one_line(evidence) {
            return Err(wrong("evidence that is no short line".into()));
        }
        if ratio.is_some_and(|ratio| ratio < 0.0) {
            return Err(wrong("a negative ratio".into()));
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    const REPORT: &str =
        r#"{"version":1,"verdict":"nested","evidence":"it runs","ratio":1.5,"took_ms":3}"#;

    /// A program in the place of the monitor, which counts how often it was asked.
    fn impostor(dir: &Path, script: &str) -> PathBuf {
        let path = dir.join("vmm");
        let asked = dir.join("asked");
        let script = format!("#!/bin/sh\necho >> {}\n{script}\n", asked.display());
        microagent_tests_scripts::write(&path, &script);
        path
    }

    #[tokio::test]
    async fn only_a_report_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let check = async |script: &str, expect: std::result::Result<ProbeVerdict, ErrorKind>| {
            let got = run(&impostor(dir.path(), script), PROBE_WITHIN).await;
            assert_eq!(got.map(|r| r.verdict).map_err(|e| e.kind), expect, "{script}");
        };
        let say = |report: &str| format!("echo '{report}'");
        check(&say(REPORT), Ok(ProbeVerdict::Nested)).await;
        check(&format!("{}; exit 1", say(REPORT)), Err(ErrorKind::Crashed)).await;
        check("kill -9 $$", Err(ErrorKind::Crashed)).await;
        check("exit 0", Err(ErrorKind::Protocol)).await;
        check(&say(&REPORT.repeat(2)), Err(ErrorKind::Protocol)).await;
        for (from, to) in [
            (":1,", ":2,"),
            ("nested", "native"),
            ("it runs", "two\\nlines"),
            ("it runs", &"long".repeat(1000)),
            ("1.5", "-1.5"),
            ("took_ms", "took_us"),
        ] {
            check(&say(&REPORT.replacen(from, to, 1)), Err(ErrorKind::Protocol)).await;
        }
        check("yes", Err(ErrorKind::Crashed)).await;
        let none = run(&dir.path().join("none"), PROBE_WITHIN).await;
        assert_eq!(none.unwrap_err().kind, ErrorKind::Io);
    }

    #[tokio::test]
    async fn a_failure_is_told_in_the_programs_words() {
        let dir = tempfile::tempdir().unwrap();
        let monitor = impostor(dir.path(), "echo 'cannot: why' >&2; exit 3");
        let error = run(&monitor, PROBE_WITHIN).await.unwrap_err();
        let expect = format!("{} probe failed: cannot: why (exit status: 3)", monitor.display());
        assert_eq!(error.message, expect);
    }

    #[tokio::test]
    async fn an_answer_is_kept_until_the_program_changes() {
        if !Path::new(DEVICE).exists() {
            eprintln!("SKIP: without {DEVICE} nothing is kept");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let asked = || fs::metadata(dir.path().join("asked")).unwrap().len();
        let monitor = impostor(dir.path(), &format!("echo '{REPORT}'"));
        let open = || KvmProbe::new(Some(dir.path()));
        let first = open();
        let report = first.report(&monitor).await.unwrap();
        assert_eq!(first.report(&monitor).await.unwrap(), report);
        assert_eq!(open().report(&monitor).await.unwrap(), report);
        assert_eq!(asked(), 1);

        let gone = REPORT.replace("nested", "unavailable");
        let monitor = impostor(dir.path(), &format!("echo '{gone}'"));
        for times in 2..4 {
            let report = open().report(&monitor).await.unwrap();
            assert_eq!((report.verdict, asked()), (ProbeVerdict::Unavailable, times));
        }
    }

    #[tokio::test]
    async fn what_takes_too_long_is_waited_for_once() {
        if !Path::new(DEVICE).exists() {
            eprintln!("SKIP: without {DEVICE} nothing is kept");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let monitor = impostor(dir.path(), "exec sleep 1000");
        // Time enough to be counted, even by a busy host.
        let within = Duration::from_millis(500);
        let open = || KvmProbe { within, ..KvmProbe::new(Some(dir.path())) };
        for _ in 0..3 {
            let report = open().report(&monitor).await.unwrap();
            assert_eq!(report.verdict, ProbeVerdict::Emulated);
            let evidence = "a guest of a few instructions did not end within 500ms";
            assert_eq!((report.evidence.as_str(), report.took_ms), (evidence, 500));
        }
        assert!(fs::metadata(dir.path().join("asked")).is_ok_and(|asked| asked.len() <= 1));
    }

    #[test]
    fn only_a_processor_accelerates() {
        let check = |verdict, expect: std::result::Result<&str, &str>| {
            let evidence = "why".into();
            let report = ProbeReport { version: 1, verdict, evidence, ratio: None, took_ms: 0 };
            let got = by_processor(report).map(|a| a.name());
            assert_eq!(got, expect.map_err(str::to_owned));
        };
        check(ProbeVerdict::Hardware, Ok("hardware"));
        check(ProbeVerdict::Nested, Ok("nested"));
        check(ProbeVerdict::Emulated, Err("KVM only interprets guests: why"));
        check(ProbeVerdict::Unavailable, Err("why"));
    }
}
