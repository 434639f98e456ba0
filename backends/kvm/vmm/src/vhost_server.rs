//! What every server of a device has in common whose driver is in another process's guest.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use microagent_confine::{Limits, Rules, Ruleset};
use rustix::event::{PollFd, PollFlags, Timespec};
use vhost::vhost_user::Listener;
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringMutex};

use crate::filters::{self, Class};
use crate::life::Life;

/// Why there is no device, or no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("cannot confine this process")]
    Confine(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot watch the {0}")]
    Watch(&'static str, #[source] io::Error),
    #[error("no hypervisor connected within {} s", .0.as_secs())]
    NoFrontend(Duration),
    /// The library's errors are no `std::error::Error`, so this one cannot be a source.
    #[error("cannot serve the hypervisor: {0}")]
    Serve(vhost_user_backend::Error),
}

/// A device that a hypervisor can be served with.
pub(crate) trait Server:
    VhostUserBackend<Bitmap = (), Vring = VringMutex> + Clone + 'static
{
}

impl<T: VhostUserBackend<Bitmap = (), Vring = VringMutex> + Clone + 'static> Server for T {}

/// Leaves this process the directories that it makes or finds sockets in, and so many
/// descriptors. Before the first thread, since it holds for threads that are made later.
pub(crate) fn restrict(write: Vec<PathBuf>, open_files: u64) -> Result<(), ServerError> {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let open_files = files.maximum.map_or(open_files, |most| most.min(open_files));
    let confine = |e: io::Error| ServerError::Confine(e.into());
    Limits { file_size: 0, open_files }.apply().map_err(confine)?;
    let rules = Rules { write, ..Rules::default() };
    let ruleset = Ruleset::new(&rules).map_err(|e| ServerError::Confine(e.into()))?;
    if ruleset.is_supported() {
        ruleset.restrict_self().map_err(|e| ServerError::Confine(e.into()))?;
    }
    Ok(())
}

/// Ends this process with the life pipe, whatever else it is doing.
pub(crate) fn watch_life(life: Life) -> Result<(), ServerError> {
    std::thread::Builder::new()
        .name("life".into())
        .spawn(move || {
            life.wait_for_end();
            std::process::exit(0)
        })
        .map(drop)
        .map_err(|source| ServerError::Watch("life pipe", source))
}

/// Serves the one frontend that connects, until it is gone. Once there are all threads and the
/// guest has not run yet, none makes any other call than those of `class`.
pub(crate) fn serve(
    mut daemon: VhostUserDaemon<impl Server>,
    listener: UnixListener,
    within: Option<Duration>,
    class: Class,
) -> Result<(), ServerError> {
    wait_for_frontend(&listener, within)?;
    daemon.start(&mut Listener::from(listener)).map_err(ServerError::Serve)?;
    filters::install(class).map_err(|e| ServerError::Confine(e.into()))?;
    match daemon.wait() {
        Ok(()) | Err(vhost_user_backend::Error::HandleRequest(_)) => Ok(()),
        Err(error) => Err(ServerError::Serve(error)),
    }
}

fn wait_for_frontend(listener: &UnixListener, within: Option<Duration>) -> Result<(), ServerError> {
    let watch = |e: rustix::io::Errno| ServerError::Watch("vhost-user listener", e.into());
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    let timeout = within.and_then(|within| Timespec::try_from(within).ok());
    match (rustix::event::poll(&mut fds, timeout.as_ref()).map_err(watch)?, within) {
        (0, Some(within)) => Err(ServerError::NoFrontend(within)),
        _ => Ok(()),
    }
}
