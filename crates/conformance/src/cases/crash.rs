//! A monitor that is killed from outside.

use std::fs;

use microagent_backend::{Exit, State};
use microagent_machine::{Access, DiskId};

use crate::bench::Subject;
use crate::case::case;
use crate::failure::{Failure, Result, require, same};
use crate::{Case, Context, End, Script, Step, traces};

pub(super) const CASES: &[Case] = &[
    case!(T0, [], a_monitor_killed_from_outside_is_a_crash),
    case!(T0, [], a_crash_stays_a_crash),
    case!(T4, [], a_crash_is_seen_while_it_is_waited_for),
    case!(T4, [Disk], what_the_guest_has_flushed_outlives_a_killed_monitor),
];

/// Kills the process that runs the guest, as `kill -9` does.
pub(super) async fn kill_monitor(subject: &Subject) -> Result {
    let processes = subject.machine.isolation().await?.processes;
    let monitor = processes.iter().find(|process| process.role == "monitor");
    let monitor = monitor.ok_or_else(|| Failure::broken("no process has the role 'monitor'"))?;
    traces::kill(monitor.pid);
    Ok(())
}

/// Fails unless this is the end of a monitor that was killed.
pub(super) fn crashed(exit: &Exit) -> Result {
    match exit {
        Exit::Crashed { detail } if !detail.is_empty() => Ok(()),
        other => Err(Failure::broken(format!("exit: got {other:?}, expected Crashed"))),
    }
}

async fn a_monitor_killed_from_outside_is_a_crash(context: Context) -> Result {
    for (state, subject) in context.one_in_each_state().await? {
        kill_monitor(&subject).await?;
        let exit = subject.exit().await?;
        crashed(&exit).map_err(|e| Failure::broken(format!("{state:?} machine: {e}")))?;
        subject.is(State::Stopped).await?;
        subject.destroyed().await?;
    }
    Ok(())
}

async fn a_crash_stays_a_crash(context: Context) -> Result {
    let subject = context.make("m", &context.idle()?).await?;
    subject.machine.start().await?;
    kill_monitor(&subject).await?;
    let exit = subject.exit().await?;
    crashed(&exit)?;
    subject.machine.kill().await?;
    same("exit after kill", subject.exit().await?, exit)?;
    let opened = context.backend.open(&subject.dir).await?;
    same("state by another handle", opened.state().await?, State::Stopped)?;
    match opened.wait(crate::bench::END_WITHIN).await? {
        Some(exit) => crashed(&exit)?,
        None => return Err(Failure::broken("another handle still waits")),
    }
    subject.destroyed().await
}

async fn a_crash_is_seen_while_it_is_waited_for(context: Context) -> Result {
    let subject = context.make("m", &context.idle()?).await?;
    subject.machine.start().await?;
    let (exit, killed) = tokio::join!(subject.exit(), async {
        tokio::task::yield_now().await;
        kill_monitor(&subject).await
    });
    killed?;
    crashed(&exit?)?;
    subject.destroyed().await
}

async fn what_the_guest_has_flushed_outlives_a_killed_monitor(context: Context) -> Result {
    let disk = context.disk("data", Access::ReadWrite, "as-it-was")?;
    let path = disk.path.clone();
    let id = DiskId::new("data").map_err(|e| Failure::broken(e.to_string()))?;
    // A write is flushed before the next step.
    let write = Step::Write { disk: id, text: "by-the-guest".to_owned() };
    let script = Script { steps: vec![write, Step::say("flushed")], end: End::Never };
    let mut spec = context.device_spec(&script)?;
    spec.disks.push(disk);
    let subject = context.make("m", &spec).await?;
    subject.machine.start().await?;
    subject.says("flushed").await?;
    kill_monitor(&subject).await?;
    crashed(&subject.exit().await?)?;
    let image = fs::read(path)?;
    require(image.starts_with(b"by-the-guest"), || {
        format!("the image begins with {:?}", String::from_utf8_lossy(&image[..12]))
    })?;
    subject.destroyed().await
}
