//! What confines a machine's processes is read, not promised.

use microagent_backend::ErrorKind;

use crate::case::case;
use crate::failure::{Result, refused, require};
use crate::{Case, Context};

pub(super) const CASES: &[Case] = &[
    case!(T0, [], what_is_planned_is_in_force),
    case!(T0, [], a_machine_that_is_gone_has_no_isolation),
];

async fn what_is_planned_is_in_force(context: Context) -> Result {
    let plan = context.caps().await?.isolation;
    let subject = context.make("m", &context.idle()?).await?;
    subject.machine.start().await?;
    let processes = subject.machine.isolation().await?.processes;
    require(processes.iter().any(|p| p.role == "monitor"), || {
        format!("no process has the role 'monitor': {processes:?}")
    })?;
    for process in &processes {
        let fails = |what: &str| format!("{what} is planned and not in force: {process:?}");
        // Landlock shows nowhere in `/proc`; who runs the guest reports it, others may.
        let unknown = process.role != "monitor" && process.landlock.is_none();
        let landlock = process.landlock == Some(true) || unknown;
        require(!plan.seccomp || process.seccomp == 2, || fails("seccomp"))?;
        require(!plan.no_new_privs || process.no_new_privs, || fails("no_new_privs"))?;
        require(!plan.landlock || landlock, || fails("landlock"))?;
        require(!plan.rlimits || process.max_file_size.is_some(), || fails("a limit"))?;
    }
    subject.destroyed().await
}

async fn a_machine_that_is_gone_has_no_isolation(context: Context) -> Result {
    let subject = context.make("m", &context.idle()?).await?;
    subject.destroyed().await?;
    let read = subject.machine.isolation().await;
    refused("isolation", read, &[ErrorKind::InvalidState]).map(drop)
}
