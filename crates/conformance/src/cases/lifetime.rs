//! Detached machines outlive everybody; attached ones die with their pipe.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use microagent_backend::{ErrorKind, Exit, Lifetime, RunDir, State};

use crate::bench::{END_WITHIN, Subject};
use crate::case::case;
use crate::failure::{Failure, Result, refused, same};
use crate::maker::{Made, MakeRequest};
use crate::{Case, Context, traces};

pub(super) const CASES: &[Case] = &[
    case!(T0, [Detached], a_detached_machine_outlives_its_handle),
    case!(T0, [Detached], a_detached_machine_outlives_the_runtime_that_made_it),
    case!(T0, [Detached], a_detached_machine_outlives_its_killed_maker),
    case!(T0, [], an_attached_machine_outlives_its_handle),
    case!(T0, [], an_attached_machine_dies_with_its_pipe),
    case!(T0, [], an_attached_machine_dies_with_its_killed_maker),
    case!(T0, [], an_attached_machine_takes_with_it_what_it_was_told),
];

async fn a_detached_machine_outlives_its_handle(context: Context) -> Result {
    let Subject { machine, dir, .. } = context.make_detached("m", &context.idle()?).await?;
    drop(machine);
    let opened = context.backend.open(&dir).await?;
    same("state", opened.state().await?, State::Created)?;
    opened.start().await?;
    drop(opened);
    taken_up(&context, dir).await
}

/// Takes up a running detached machine and ends it.
async fn taken_up(context: &Context, dir: RunDir) -> Result {
    let machine = context.backend.open(&dir).await?;
    let subject = Subject { machine, dir, life: None };
    subject.is(State::Running).await?;
    subject.machine.kill().await?;
    same("exit", subject.exit().await?, Exit::Killed)?;
    subject.destroyed().await
}

async fn a_detached_machine_outlives_the_runtime_that_made_it(context: Context) -> Result {
    let (spec, dir) = (context.idle()?, context.dir("m")?);
    let (backend, place) = (Arc::clone(&context.backend), dir.clone());
    let thread = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().map_err(Failure::from)?;
        runtime.block_on(async {
            let machine = backend.create(&spec, &place, Lifetime::Detached).await?;
            Ok::<_, Failure>(machine.start().await?)
        })
    });
    let joined = tokio::task::spawn_blocking(|| thread.join()).await;
    joined
        .map_err(|e| Failure::broken(e.to_string()))?
        .map_err(|_| Failure::broken("the thread that made the machine panicked"))??;
    taken_up(&context, dir).await
}

/// Has another process make and start a machine, and ends that process by `kill -9`.
async fn made_by_another(context: &Context, attached: Option<Vec<PathBuf>>) -> Result<RunDir> {
    let no_maker = || Failure::Unavailable("no other process can make machines here".to_owned());
    let maker = context.maker.as_ref().ok_or_else(no_maker)?;
    let dir = context.dir("m")?;
    let spec = context.idle()?;
    let request = MakeRequest { spec, dir: dir.path().to_owned(), attached };
    let made = Made::make(maker, &request).await?;
    let opened = context.backend.open(&dir).await?;
    same("state", opened.state().await?, State::Running)?;
    made.kill().await?;
    Ok(dir)
}

async fn a_detached_machine_outlives_its_killed_maker(context: Context) -> Result {
    let dir = made_by_another(&context, None).await?;
    taken_up(&context, dir).await
}

async fn an_attached_machine_outlives_its_handle(context: Context) -> Result {
    let subject = context.make("m", &context.idle()?).await?;
    subject.machine.start().await?;
    let Subject { machine, dir, life } = subject;
    drop(machine);
    let machine = context.backend.open(&dir).await?;
    let subject = Subject { machine, dir, life };
    subject.is(State::Running).await?;
    same("wait", subject.machine.wait(std::time::Duration::from_millis(100)).await?, None)?;
    subject.destroyed().await
}

/// Fails unless all of an attached machine goes now.
async fn all_gone(context: &Context, dir: &RunDir) -> Result {
    traces::no_file(dir.path()).await?;
    traces::no_process(dir.path()).await?;
    refused("open", context.backend.open(dir).await, &[ErrorKind::NotFound]).map(drop)
}

async fn an_attached_machine_dies_with_its_pipe(context: Context) -> Result {
    for (state, mut subject) in context.one_in_each_state().await? {
        let life = subject.life.take();
        drop(life);
        let exit = subject.machine.wait(END_WITHIN).await?;
        same(&format!("exit of a {state:?} machine"), exit, Some(Exit::Killed))?;
        all_gone(&context, &subject.dir).await?;
        subject.is(State::Stopped).await?;
        subject.machine.kill().await?;
        subject.machine.destroy().await?;
    }
    Ok(())
}

async fn an_attached_machine_dies_with_its_killed_maker(context: Context) -> Result {
    let scratch = context.scratch.join("scratch.img");
    fs::write(&scratch, "scratch")?;
    let dir = made_by_another(&context, Some(vec![scratch.clone()])).await?;
    all_gone(&context, &dir).await?;
    traces::no_file(&scratch).await
}

async fn an_attached_machine_takes_with_it_what_it_was_told(context: Context) -> Result {
    let file = context.scratch.join("with space");
    let folder = context.scratch.join("folder");
    let other = context.scratch.join("other");
    fs::write(&file, "")?;
    fs::create_dir_all(folder.join("deep"))?;
    fs::write(folder.join("deep/file"), "")?;
    fs::write(&other, "")?;
    let missing = context.scratch.join("never-there");
    let remove = vec![file.clone(), missing, folder.clone()];
    let mut subject = context.make_with("m", &context.idle()?, remove).await?;
    subject.machine.start().await?;
    drop(subject.life.take());
    all_gone(&context, &subject.dir).await?;
    traces::no_file(&file).await?;
    traces::no_file(&folder).await?;
    crate::failure::require(other.exists(), || "what it was not told is gone too".to_owned())
}
