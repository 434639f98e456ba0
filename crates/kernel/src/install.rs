//! Putting a kernel into the state directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use microagent_machine::Arch;
use tempfile::NamedTempFile;

use crate::catalogue::{Catalogue, KERNEL, Kernel, MANIFEST};
use crate::digest;
use crate::error::KernelError;
use crate::facts::Facts;
use crate::inspect::{self, inspect};
use crate::manifest::Manifest;

impl Catalogue {
    /// Copies the kernel in `from` into the state directory, where runs find it from then on,
    /// and replaces the one that is there. Its manifest comes with it where one that matches
    /// stands beside `from`.
    ///
    /// # Errors
    /// What [`inspect`] says of `from`; [`KernelError::Mismatch`] if it does not have the
    /// `sha256` that is given. Nothing is replaced then.
    pub fn install(&self, from: &Path, sha256: Option<&str>) -> Result<Kernel, KernelError> {
        let expected = sha256.map(digest::parse).transpose()?;
        let format = inspect(from)?.format;
        let dir = self.installed();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(KernelError::io("create", &dir))?;
        let _lock = lock(&dir)?;

        let (mut copy, size) = copy_into(&dir, from)?;
        let kernel = dir.join(KERNEL);
        // The copy is what gets installed, so the copy is what is judged.
        let got =
            Facts::of(copy.as_file_mut()).map_err(KernelError::io("read", copy.path()))?.sha256;
        if let Some(expected) = expected {
            digest::compare(from, &expected, &got)?;
        }
        let manifest = Manifest::read(&from.with_file_name(MANIFEST))
            .ok()
            .flatten()
            .filter(|found| found.sha256 == got && found.format == format)
            .unwrap_or_else(|| Manifest::of_unknown(Arch::HOST, format, got, size));

        persist(copy, &kernel).map_err(KernelError::io("write", &kernel))?;
        let path = dir.join(MANIFEST);
        replace(&path, |file| file.write_all(&manifest.to_json()))
            .map_err(KernelError::io("write", &path))?;
        self.pick(None)
    }
}

/// Gives `path` the content that `write` writes, at once or not at all, also through a crash.
/// The file is readable by its owner only.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut temporary = NamedTempFile::new_in(directory(path)?)?;
    write(temporary.as_file_mut())?;
    persist(temporary, path)
}

fn persist(temporary: NamedTempFile, path: &Path) -> io::Result<()> {
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    File::open(directory(path)?)?.sync_all()
}

fn directory(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn copy_into(dir: &Path, from: &Path) -> Result<(NamedTempFile, u64), KernelError> {
    let (mut source, size) = inspect::open(from)?;
    let mut copy = NamedTempFile::new_in(dir).map_err(KernelError::io("write to", dir))?;
    let copied =
        io::copy(&mut source, copy.as_file_mut()).map_err(KernelError::io("copy", from))?;
    if copied != size {
        let source = io::Error::other(format!("its length changed from {size} to {copied}"));
        return Err(KernelError::Io { action: "copy", path: from.to_owned(), source });
    }
    Ok((copy, size))
}

/// Held while a kernel and its manifest are replaced, which are two files.
fn lock(dir: &Path) -> Result<File, KernelError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(KernelError::io("create", &path))?;
    file.lock().map_err(KernelError::io("lock", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests;
