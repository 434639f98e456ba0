//! A case, and how it is judged.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use microagent_machine::Feature;

use crate::failure::{Failure, Result};
use crate::{Context, traces};

/// One law, or one part of one.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What holds if it passes, in snake case.
    pub name: &'static str,
    /// What it needs to run.
    pub tier: Tier,
    /// The features that it exercises; it means nothing for a backend that lacks one.
    pub needs: &'static [Feature],
    /// The case itself.
    pub run: fn(Context) -> CaseFuture,
}

/// A case under way.
pub type CaseFuture = Pin<Box<dyn Future<Output = std::result::Result<(), Failure>> + Send>>;

/// What a case needs to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// The contract alone; whatever the guest does is of no matter.
    T0,
    /// A guest that runs.
    T1,
    /// A guest that uses devices.
    T2,
    /// Optional parts of a machine.
    T3,
    /// Hostile guests and hosts.
    T4,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The law holds.
    Passed,
    /// The law is broken, and how.
    Failed(String),
    /// It could not be judged here, and why.
    Skipped(String),
    /// It is about a feature that this backend does not declare.
    NotDeclared(Feature),
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", *self as u8)
    }
}

/// How long a case may take: several starts of a hypervisor on a busy host without
/// hardware acceleration.
const CASE_WITHIN: Duration = Duration::from_secs(120);

/// Judges one case. To be called on a runtime of its own, with time and I/O enabled.
pub async fn run(case: &Case, context: Context) -> Verdict {
    let scratch = context.scratch.clone();
    let judged = tokio::time::timeout(CASE_WITHIN, judge(case, context)).await;
    let verdict = match judged {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(Failure::Unavailable(reason))) => Verdict::Skipped(reason),
        Ok(Err(Failure::Broken(what))) => Verdict::Failed(what),
        Err(_) => Verdict::Failed(format!("not over within {CASE_WITHIN:?}")),
    };
    // Also where the case failed: nothing of it shall disturb the next.
    match traces::clear(&scratch).await {
        Err(left) if verdict == Verdict::Passed => Verdict::Failed(left.to_string()),
        _ => verdict,
    }
}

async fn judge(case: &Case, context: Context) -> Result<Verdict> {
    let caps = context.backend.probe().await?;
    let missing = case.needs.iter().find(|feature| !caps.features.contains(feature));
    if let Some(feature) = missing {
        return Ok(Verdict::NotDeclared(*feature));
    }
    (case.run)(context).await.map(|()| Verdict::Passed)
}

/// A case from the name of its function: `case!(T0, [Pause], pause_when_created)`.
macro_rules! case {
    ($tier:ident, [$($feature:ident),*], $name:ident) => {
        $crate::Case {
            name: stringify!($name),
            tier: $crate::Tier::$tier,
            needs: &[$(microagent_machine::Feature::$feature),*],
            run: |context| Box::pin($name(context)),
        }
    };
}
pub(crate) use case;
