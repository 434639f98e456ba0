//! `probe`: what a host's KVM is, found by running a guest of a few instructions.
//!
//! There are hosts whose `/dev/kvm` opens and answers every call, and which then interpret the
//! guest's code, slowly and in part. Nothing that can be asked tells them from others, so a
//! guest is run: through what a stock kernel needs, and through a loop that is timed. It opens
//! `/dev/kvm` and nothing else, and its report is one line on standard output.

mod alarm;
mod assembly;
mod feature;
mod guest;
mod image;
mod steps;
mod verdict;

use std::arch::x86_64::__cpuid;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kvm_ioctls::Kvm;
use microagent_confine::{Rules, Ruleset, forbid_new_privileges};
use microagent_vmm_protocol::{ProbeReport, VERSION};

use crate::log::chain;

use self::guest::{Guest, GuestError};
use self::verdict::{Ended, Finding, Observed};

/// How long the guest may run, all in all. Where the processor runs it, it takes less than a
/// thousandth of that.
const LIMIT: Duration = Duration::from_secs(2);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("cannot confine this process")]
    Confine(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot write the report")]
    Report(#[source] io::Error),
}

/// Prints a report; succeeds whatever it says.
pub(crate) fn run() -> ExitCode {
    match report() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn report() -> Result<(), ProbeError> {
    let began = Instant::now();
    forbid_new_privileges().map_err(|e| ProbeError::Confine(e.into()))?;
    let kvm = guest::open();
    forbid_opening()?;
    let Finding { verdict, evidence, ratio } = match kvm.and_then(|kvm| observe(&kvm)) {
        Ok(observed) => verdict::judge(&observed),
        Err(error) => Finding::unavailable(chain(&error)),
    };
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let report = ProbeReport { version: VERSION, verdict, evidence, ratio, took_ms };
    let mut line = serde_json::to_vec(&report).map_err(|e| ProbeError::Report(e.into()))?;
    line.push(b'\n');
    io::stdout().write_all(&line).map_err(ProbeError::Report)
}

/// From here on no file can be opened, where the kernel has Landlock.
fn forbid_opening() -> Result<(), ProbeError> {
    let ruleset = Ruleset::new(&Rules::default()).map_err(|e| ProbeError::Confine(e.into()))?;
    if ruleset.is_supported() {
        ruleset.restrict_self().map_err(|e| ProbeError::Confine(e.into()))?;
    }
    Ok(())
}

fn observe(kvm: &Kvm) -> Result<Observed, GuestError> {
    let host_is_guest = host_is_guest();
    let offered = guest::offered(kvm)?;
    let all = steps::all();
    if let Some(step) = all.iter().find(|step| step.needs.is_missing(&offered)) {
        let ended = Ended::Before { step: step.name };
        return Ok(Observed { ended, ratio: None, host_is_guest });
    }
    let possible: Vec<_> = all.into_iter().filter(|step| step.needs.is_met(&offered)).collect();
    let on_host = steps::ticks_on_host();
    let (ended, in_guest) = Guest::new(kvm, &offered, &possible)?.run(LIMIT)?;
    let ratio = in_guest.map(|ticks| ticks as f64 / on_host.max(1) as f64);
    Ok(Observed { ended, ratio, host_is_guest })
}

/// CPUID.1:ECX\[31\], reserved for hypervisors to say that there is one.
fn host_is_guest() -> bool {
    __cpuid(1).ecx & 1 << 31 != 0
}
