//! Every case over every backend, each an ordinary test: `fake::t0::kill_is_idempotent`.
//!
//! What cannot be judged here says `SKIP: ` and why on standard error: a backend that cannot
//! be had is ignored, a single case passes. It fails instead where `CONFORMANCE_REQUIRE` or
//! `MICROAGENT_REQUIRE` (names with commas between them: `fake`, `kvm`, `kvm-bare`,
//! `qemu`, `qemu-kvm`) holds
//! the backend's name, or the latter `all`, which does not stand for hardware. A case about
//! a feature that the backend does not declare passes; the matrix at the end shows `-`.
//!
//! `CONFORMANCE_RECORD` names a file to keep what was found in, for `ci/backends-doc`.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use libtest_mimic::{Arguments, Failed, Trial};
use microagent_backend::ErrorKind;
use microagent_conformance::{
    Case, Context, MakeRequest, Maker, Matrix, Verdict, cases, make_and_hold,
};
use microagent_plugin::{reply, serve};
use microagent_supervisor::plugin_answer;
use microagent_tests_conformance::{
    LOAD, SERVE, Wired, external, judge, record, runtime, served, wired,
};

/// First argument of the process that makes machines for others.
const MAKE: &str = "make-and-hold";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [MAKE, backend, request] => return make_for_another(backend, request),
        [SERVE, backend] => return serve_backend(backend),
        [LOAD, plugin] => {
            reply(|request| plugin_answer(Path::new(plugin), request))?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let arguments = Arguments::from_args();
    let matrix = Arc::new(Mutex::new(Matrix::default()));
    let mut all = Vec::new();
    let (mut lacking, mut judged) = (Vec::new(), Vec::new());
    for (wired, cases) in all_forms() {
        let lack = unavailable(&wired).filter(|_| !wired.is_required());
        all.extend(trials(&wired, &cases, lack.as_deref(), &matrix));
        match lack {
            Some(why) => lacking.push((wired.name, why)),
            None => judged.push((wired, cases)),
        }
    }
    let conclusion = libtest_mimic::run(&arguments, all);
    let mut matrix = matrix.lock().unwrap_or_else(PoisonError::into_inner);
    record(&matrix, &judged)?;
    for (name, why) in lacking {
        eprintln!("SKIP: {name}: {why}");
        matrix.fill(name, &Verdict::Skipped(why));
    }
    if !arguments.list {
        eprintln!("\n{matrix}");
    }
    Ok(conclusion.exit_code())
}

fn make_for_another(backend: &str, request: &str) -> anyhow::Result<ExitCode> {
    let request: MakeRequest = serde_json::from_str(request)?;
    let form = external().into_iter().find(|form| form.name == backend);
    let wired = match form {
        Some(form) => form.wired(),
        None => wired().into_iter().find(|wired| wired.name == backend),
    };
    let backend = wired.context("no such backend")?.backend.map_err(anyhow::Error::msg)?;
    runtime()?.block_on(make_and_hold(&*backend, &request))?;
    Ok(ExitCode::SUCCESS)
}

/// Serves the one request that is on standard input.
fn serve_backend(backend: &str) -> anyhow::Result<ExitCode> {
    let wired = served(backend).context("no such backend")?;
    let backend = wired.backend.map_err(anyhow::Error::msg)?;
    runtime()?.block_on(serve(&*backend))?;
    Ok(ExitCode::SUCCESS)
}

/// Every backend in every form, with the cases that judge it.
fn all_forms() -> Vec<(Wired, Vec<Case>)> {
    let linked = wired().into_iter().map(|wired| (wired, cases()));
    let others = external().into_iter().filter_map(|form| {
        let judging = cases().into_iter().filter(|case| form.is_judged_by(case));
        Some((form.wired()?, judging.collect()))
    });
    linked.chain(others).collect()
}

/// A trial for each case; all are ignored where the backend cannot be had.
fn trials(
    wired: &Wired,
    cases: &[Case],
    lack: Option<&str>,
    matrix: &Arc<Mutex<Matrix>>,
) -> Vec<Trial> {
    let trial = |case| trial(wired.clone(), case, Arc::clone(matrix));
    cases.iter().map(|case| trial(*case).with_ignored_flag(lack.is_some())).collect()
}

/// Why a backend cannot be had here.
fn unavailable(wired: &Wired) -> Option<String> {
    let backend = match &wired.backend {
        Ok(backend) => Arc::clone(backend),
        Err(why) => return Some(why.clone()),
    };
    let probed = runtime().ok()?.block_on(async move { backend.probe().await });
    probed.err().filter(|e| e.kind == ErrorKind::Unavailable).map(|e| e.to_string())
}

fn trial(wired: Wired, case: Case, matrix: Arc<Mutex<Matrix>>) -> Trial {
    let name = format!("{}::{}::{}", wired.name, case.tier, case.name);
    Trial::test(name.clone(), move || {
        let with_maker = |context| Context { maker: Some(maker(wired.name)), ..context };
        let verdict =
            judge(&wired, &case, with_maker).map_err(|e| Failed::from(format!("{e:#}")))?;
        let mut matrix = matrix.lock().unwrap_or_else(PoisonError::into_inner);
        matrix.add(wired.name, case.tier, case.name, verdict.clone());
        match verdict {
            Verdict::Passed | Verdict::NotDeclared(_) => Ok(()),
            Verdict::Failed(what) => Err(what.into()),
            Verdict::Skipped(why) if wired.is_required() => {
                Err(format!("required, and cannot be judged: {why}").into())
            }
            Verdict::Skipped(why) => {
                eprintln!("SKIP: {name}: {why}");
                Ok(())
            }
        }
    })
}

/// This program, told to make a machine.
fn maker(backend: &'static str) -> Maker {
    Arc::new(move |request| {
        let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        let mut command = Command::new(program);
        let request = serde_json::to_string(request).unwrap_or_default();
        command.args([MAKE, backend, &request]);
        command
    })
}
