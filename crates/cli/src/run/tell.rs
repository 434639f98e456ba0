//! How the end of a run is told.

use microagent_workspace::{
    DryRun, EXIT_FAILED, EXIT_TIMEOUT, Ending, Phase, ReportedMediation, RunError, RunReport,
    RunRequest,
};
use serde_json::{Value, json};

use super::outputs::told_outputs;
use super::sinks::{Capture, captured};
use crate::args::{Global, RunArgs};
use crate::failure::{EXIT_USAGE, Failure};
use crate::output::{print, print_json, printable, say, table};

/// Tells how a run ended and gives the exit code of the program.
pub(super) fn ending(
    request: &RunRequest,
    report: &RunReport,
    ending: Result<Ending, RunError>,
    captures: Option<(Capture, Capture)>,
    args: &RunArgs,
    global: &Global,
) -> u8 {
    let failure = match &ending {
        Ok(ending) => failure_of_command(ending, args.timeout.as_deref()),
        Err(_) => None,
    };
    let code = match &ending {
        Ok(ending) => ending.exit_code(),
        Err(e) if e.kind() == "usage" => EXIT_USAGE,
        Err(_) => EXIT_FAILED,
    };
    let there = matches!(ending, Ok(_) | Err(RunError::NotWrittenBack { .. }));
    let kept = there && request.keep;
    let left = matches!(ending, Ok(Ending::Left));
    let failure = failure.or(ending.err().map(Failure::from));
    let missing = told_outputs(&report.outputs, global);
    // The command's own end says more than that what it made could not be had.
    let code = if code == 0 && missing.is_some() { EXIT_FAILED } else { code };
    let failure = failure.or(missing);
    match captures {
        Some(captures) => print_json(&object(report, failure.as_ref(), &captures)),
        None => {
            if let Some(failure) = &failure {
                failure.print_text();
            }
            if left {
                say(&format!("detached from {}, which goes on", request.name));
            } else if kept {
                say(&format!("kept workspace {}", request.name));
            }
        }
    }
    if args.trace && !global.json {
        say(&phase_table(&report.phases));
    }
    code
}

/// What there is to say beside the exit code.
pub(crate) fn failure_of_command(ending: &Ending, timeout: Option<&str>) -> Option<Failure> {
    use microagent_workspace::ExitStatus;
    match ending {
        Ending::Command(ExitStatus::NotStarted { message, .. }) => {
            Some(Failure { kind: "not_found".into(), message: printable(message), hint: None })
        }
        Ending::Command(_) | Ending::Interrupted { .. } | Ending::Left => None,
        Ending::Setup { number, line, status } => Some(Failure {
            kind: "setup".into(),
            message: format!("setup {number} '{line}' {}", status_text(status)),
            hint: None,
        }),
        Ending::MediationBroken { target, reason } => Some(Failure {
            kind: "unavailable".into(),
            message: format!("the mediation to {target} was severed: {reason}"),
            hint: Some("the command ended well without it; see --mediation-optional".into()),
        }),
        Ending::TimedOut => Some(Failure {
            kind: "timeout".into(),
            message: format!(
                "killed after {} seconds (exit {EXIT_TIMEOUT})",
                timeout.unwrap_or("?")
            ),
            hint: None,
        }),
    }
}

fn status_text(status: &microagent_workspace::ExitStatus) -> String {
    use microagent_workspace::ExitStatus;
    match status {
        ExitStatus::Code { code } => format!("exited with {code}"),
        ExitStatus::Signal { signal } => format!("was ended by signal {signal}"),
        ExitStatus::NotStarted { message, .. } => format!("could not be started: {message}"),
    }
}

fn object(report: &RunReport, failure: Option<&Failure>, captures: &(Capture, Capture)) -> Value {
    let mut object = json!(report);
    if let Some(result) = object.get_mut("result") {
        put_streams(result, captures);
    }
    if let Some(object) = object.as_object_mut() {
        object.insert("error".into(), json!(failure));
    }
    object
}

/// Adds what a command printed to its result.
pub(crate) fn put_streams(result: &mut Value, captures: &(Capture, Capture)) {
    let (stdout, stderr) = captured(&captures.0, &captures.1);
    let Some(result) = result.as_object_mut() else { return };
    result.insert("stdout".into(), stdout.text.into());
    result.insert("stderr".into(), stderr.text.into());
    result.insert("stdout_truncated".into(), stdout.truncated.into());
    result.insert("stderr_truncated".into(), stderr.truncated.into());
    let encoding = if stdout.base64 { "base64" } else { "utf8" };
    result.insert("encoding".into(), encoding.into());
}

fn phase_table(phases: &[Phase]) -> String {
    let total: f64 = phases.iter().map(|phase| phase.ms).sum();
    let row = |name: &str, ms: f64| vec![name.to_owned(), format!("{ms:.1}")];
    let rows = phases.iter().map(|phase| row(phase.name, phase.ms));
    table(&["PHASE", "MS"], rows.chain([row("total", total)]).collect())
}

fn channel(mediation: &ReportedMediation) -> String {
    let ReportedMediation { port, target, required, listen, .. } = mediation;
    let need = if *required { "required" } else { "optional" };
    let also = if *listen { format!(" and 127.0.0.1:{port}") } else { String::new() };
    format!("vsock port {port}{also} to {target}, {need}")
}

/// Tells what a run would do.
pub(super) fn plan(plan: &DryRun, global: &Global) {
    if global.json {
        return print_json(plan);
    }
    let command = plan.command.as_ref().map(shell_words::join);
    let mut rows = vec![
        ["image", &plan.image],
        ["command", command.as_deref().unwrap_or("(known once the image is here)")],
        ["disk", &plan.disk],
        ["kernel", &plan.kernel],
        ["backend", &plan.backend],
    ];
    rows.extend(plan.backend_reasons.iter().map(|reason| ["", reason.as_str()]));
    let machine = format!(
        "{} vCPUs, {}, {} disks, vsock, rng",
        plan.machine.vcpus,
        plan.machine.memory,
        plan.machine.disks.len()
    );
    rows.push(["machine", &machine]);
    let channel = plan.mediation.as_ref().map(channel);
    if let Some(channel) = &channel {
        rows.push(["mediation", channel]);
    }
    let rows = rows.into_iter().map(|row| row.map(str::to_owned).to_vec()).collect();
    print(&table(&["PLAN", ""], rows));
}
