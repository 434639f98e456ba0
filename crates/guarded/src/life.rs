//! How long a machine lives, in the form in which its processes are told.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use microagent_backend::{Error, ErrorKind, Lifetime, Result, RunDir};
use microagent_vmm_protocol::LIFE_FD;

/// How long a machine lives.
#[derive(Debug)]
pub struct Life {
    /// The read end of the life pipe of an attached machine.
    pipe: Option<OwnedFd>,
    remove: Vec<PathBuf>,
}

impl Life {
    /// Reads what was asked for a machine in `dir`, which goes with an attached machine.
    ///
    /// # Errors
    /// `Usage` for a path to be removed that is not absolute.
    pub fn of(lifetime: Lifetime, dir: &RunDir) -> Result<Self> {
        let (pipe, remove) = match lifetime {
            Lifetime::Attached { pipe, remove } => (Some(pipe), remove),
            Lifetime::Detached => (None, Vec::new()),
        };
        if let Some(path) = remove.iter().find(|path| !path.is_absolute()) {
            let message = format!("'{}' to be removed is not absolute", path.display());
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let remove = [dir.path().to_owned()].into_iter().chain(remove).collect();
        Ok(Self { pipe, remove })
    }

    /// Whether the machine ends with the pipe.
    pub fn is_attached(&self) -> bool {
        self.pipe.is_some()
    }

    /// What a guard removes once the pipe has ended.
    pub fn remove(&self) -> Vec<PathBuf> {
        self.remove.clone()
    }

    /// The pipe as a process is given it.
    ///
    /// # Errors
    /// `Io` if no more descriptors can be had.
    pub fn fd(&self) -> Result<Option<(OwnedFd, i32)>> {
        let copy = self.pipe.as_ref().map(|pipe| pipe.try_clone());
        let copy = copy.transpose().map_err(|e| Error::io("copy the life pipe", e))?;
        Ok(copy.map(|fd| (fd, LIFE_FD)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_is_absolute() {
        let dir = RunDir::at("/run/m");
        let life = Life::of(Lifetime::Detached, &dir).unwrap();
        assert_eq!(life.remove(), [dir.path()]);
        assert!(!life.is_attached());
        let pipe = std::io::pipe().unwrap().0.into();
        let remove = vec!["scratch".into()];
        let error = Life::of(Lifetime::Attached { pipe, remove }, &dir).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
    }
}
