//! Files into a workspace and out of it.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use microagent_guest_protocol::ExitStatus;
use microagent_rootfs::{Ext4, Extracted, Follow, Target};
use microagent_transfer::send_tree;
use microagent_vsock::{ExecIo, Session};

use super::client::{Attached, attach};
use super::create::DISK;
use super::registered::Registered;
use super::visit::visit;
use crate::directory::WorkspaceDir;
use crate::outputs::Words;
use crate::run::{Wanted, fetch};
use crate::{
    DiskRequest, DiskSource, Interrupts, Name, RunError, RunIo, RunRequest, StateDir, Tools,
};

/// How long a relay may take to say that it is there.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The command of a session that does one thing.
const ONLY: u32 = 1;

/// Copies a file or directory of a workspace to `to`, or into the directory that is there,
/// without the permission bits in `umask`: through its agent while it is up, from its disk while
/// it is at rest.
///
/// # Errors
/// `NoWorkspace`; `Usage` where something is in the way; what of it cannot be had.
pub async fn copy_out(
    state: &StateDir,
    name: &Name,
    from: &str,
    to: &Path,
    umask: u32,
    interrupts: &mut Interrupts,
) -> Result<Extracted, RunError> {
    let place = place_for(from, to)?;
    let workspace = Registered::find(state, name)?;
    let failed = |reason: String| RunError::Copy { path: format!("{name}:{from}"), reason };
    if !workspace.standing()?.state.is_resting() {
        let attached = ready(state, name).await?;
        let wanted = Wanted { id: ONLY, path: from, place: &place, umask };
        return fetch(attached.session(), None, &wanted, interrupts).await?.map_err(failed);
    }
    workspace.check_rests()?;
    let directory = WorkspaceDir::open(state, name)?;
    let image = directory.file(DISK);
    let disk = Ext4::open(&image).map_err(|source| RunError::Read { image, source })?;
    let node = disk.lookup(from.as_bytes(), Follow::Yes);
    let got = node.and_then(|node| disk.extract(node, Target::begin(&place, umask)?));
    got.map_err(|e| failed(crate::error::chain(&e)))
}

/// Copies a file or directory of the host to `to` in a workspace, or into the directory that is
/// there: through its agent while it is up; while it is at rest its machine is up for that alone,
/// and it is at rest again. Its files are root's there.
///
/// # Errors
/// `NoWorkspace`; `Usage` for what would be gone with the machine; what starting one meets; what
/// of it cannot be had or made.
pub async fn copy_in(
    tools: &Tools,
    name: &Name,
    from: &Path,
    to: &str,
    io: &mut RunIo,
) -> Result<(), RunError> {
    let failed = |e| RunError::state(format!("cannot read {}", from.display()), e);
    let root = std::fs::canonicalize(from).map_err(failed)?;
    let called = base_name(&from.display().to_string()).unwrap_or_else(|| base_of(&root));
    let sent = Sent { root, called, workspace: name, to };
    let workspace = Registered::find(&tools.state, name)?;
    if workspace.standing()?.state.is_resting() && !workspace.is_orphaned()? {
        refuse_bundle(&workspace.manifest()?.request()?, to)?;
        let what = async |session: &Session, interrupts: &mut Interrupts| {
            send(session, sent, interrupts).await
        };
        return visit(&workspace, tools, io, what).await;
    }
    let attached = ready(&tools.state, name).await?;
    send(attached.session(), sent, &mut io.interrupts).await
}

/// What is copied into a workspace, and where to.
struct Sent<'a> {
    /// Its path on the host, absolute.
    root: PathBuf,
    /// What it is called in a directory.
    called: String,
    workspace: &'a Name,
    to: &'a str,
}

/// A bundle is made anew at each start.
fn refuse_bundle(request: &RunRequest, to: &str) -> Result<(), RunError> {
    let bundle = |disk: &&DiskRequest| {
        matches!(disk.source, DiskSource::Bundle { .. })
            && Path::new(to).starts_with(disk.target.to_string())
    };
    let Some(disk) = request.disks.iter().find(bundle) else { return Ok(()) };
    let message =
        format!("{to} is in disk '{}', a bundle that is packed anew at each start", disk.id);
    Err(RunError::Usage { message, hint: Some("change what it is packed of".into()) })
}

async fn send(
    session: &Session,
    Sent { root, called, workspace: name, to }: Sent<'_>,
    interrupts: &mut Interrupts,
) -> Result<(), RunError> {
    let from = root.clone();
    let io = |e| RunError::state(format!("cannot read {}", from.display()), e);
    let (ours, theirs) = UnixStream::pair().map_err(io)?;
    theirs.set_nonblocking(true).map_err(io)?;
    let source = tokio::net::UnixStream::from_std(theirs).map_err(io)?;
    let sending = tokio::task::spawn_blocking(move || send_tree(&root, ours));
    let words = Words::default();
    let streams = ExecIo {
        stdin: Some(Box::new(source)),
        stdout: Box::new(tokio::io::sink()),
        stderr: words.sink(),
    };
    let exec = session.store(ONLY, (to.to_owned(), called), streams);
    let status = tokio::select! {
        biased;
        interrupt = interrupts.next() => return Err(RunError::Interrupted(interrupt)),
        status = exec.wait() => status,
    };
    drop(exec);
    let sent = sending.await.map_err(|e| io(e.into()))?;
    let failed = |reason: String| RunError::Copy { path: format!("{name}:{to}"), reason };
    match status {
        Ok(ExitStatus::Code { code: 0 }) => Ok(()),
        // Whoever failed first says why.
        Ok(_) if sent.as_ref().is_err_and(|e| e.kind() != std::io::ErrorKind::BrokenPipe) => {
            sent.map_err(io)
        }
        Ok(ExitStatus::NotStarted { message, .. }) => Err(failed(message)),
        Ok(_) => Err(failed(words.text())),
        Err(error) => Err(failed(crate::error::chain(&error))),
    }
}

/// A session with the agent of a workspace that is up, once it answers.
pub(crate) async fn ready(state: &StateDir, name: &Name) -> Result<Attached, RunError> {
    let attached = attach(state, name).await?;
    let lost = |e| RunError::Lost { reason: crate::error::chain(&e), console: Vec::new() };
    attached.session().ready(READY_WITHIN).await.map_err(lost)?;
    Ok(attached)
}

/// Where something goes that is copied to `to`, which may be a directory that is there.
fn place_for(from: &str, to: &Path) -> Result<PathBuf, RunError> {
    let place = match base_name(from) {
        Some(name) if to.is_dir() => to.join(name),
        _ => to.to_owned(),
    };
    if place.symlink_metadata().is_ok() {
        let message = format!("{} is there already", place.display());
        return Err(RunError::Usage { message, hint: Some("nothing is replaced".into()) });
    }
    Ok(place)
}

/// The last component of a path, if it is a name.
fn base_name(path: &str) -> Option<String> {
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    (!matches!(name, "" | "." | "..")).then(|| name.to_owned())
}

fn base_of(path: &Path) -> String {
    path.file_name().map_or("root".into(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_there_takes_it_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let check = |from: &str, to: &str, expect: Option<&str>| {
            let placed = place_for(from, &dir.path().join(to)).ok();
            assert_eq!(placed, expect.map(|at| dir.path().join(at)), "{from} {to}");
        };
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/taken"), "").unwrap();
        check("/etc/passwd", "new", Some("new"));
        check("/etc/passwd", "d", Some("d/passwd"));
        check("/etc/", "d", Some("d/etc"));
        check("/a/taken", "d", None);
        check("/", "d", None);
    }
}
