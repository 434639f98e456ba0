//! Root disks of images, built once and never modified.
//!
//! A base is named by the image's digest and the size that was asked for, so that its name
//! says what its bytes are. It is built in a file that has no name until it is whole, so
//! that being killed leaves nothing.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use microagent_image::Image;
use microagent_machine::MiB;
use microagent_rootfs::{BuildRequest, DiskSize, LayerInput, Limits};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::{Progress, RunError, StateDir};

/// Raised when the writer changes what bytes it makes of the same layers.
const WRITER_VERSION: u32 = 1;

/// Finds or builds the base of `image`. Blocks; two processes that want the same base at
/// once build it once.
pub(crate) fn materialise(
    state: &StateDir,
    image: &Image,
    size: Option<MiB>,
    mke2fs: Option<&Path>,
    progress: &dyn Progress,
) -> Result<PathBuf, RunError> {
    let path = state.bases().join(file_name(image, size, mke2fs)?);
    if path.exists() {
        return Ok(path);
    }
    let _lock = lock(&path)?;
    if path.exists() {
        return Ok(path);
    }
    progress.building_rootfs(&image.reference);
    let layers = layer_inputs(image);
    let identity = image.digest.to_string();
    let request = BuildRequest {
        layers: &layers,
        size: size.map_or(DiskSize::Default, |size| DiskSize::MiB(size.0)),
        identity: &identity,
        limits: Limits::default(),
    };
    match mke2fs {
        Some(mke2fs) => build_named(&request, mke2fs, &path)?,
        None => build_unnamed(&request, &state.bases(), &path)?,
    }
    Ok(path)
}

/// Where the base of `image` is or would be, and whether it is there. Makes nothing.
pub(crate) fn find(
    state: &StateDir,
    image: &Image,
    request: &crate::RunRequest,
) -> Result<(PathBuf, bool), RunError> {
    let name = file_name(image, request.resources.size_mib, request.mke2fs.as_deref())?;
    let path = state.bases().join(name);
    let there = path.exists();
    Ok((path, there))
}

fn layer_inputs(image: &Image) -> Vec<LayerInput> {
    use microagent_image::Compression as From;
    use microagent_rootfs::Compression as To;
    let input = |layer: &microagent_image::Layer| LayerInput {
        path: layer.path.clone(),
        compression: match layer.compression {
            From::None => To::None,
            From::Gzip => To::Gzip,
            From::Zstd => To::Zstd,
        },
        diff_id: Some(layer.diff_id.to_string()),
        description: format!("layer {} of {}", layer.digest, image.reference),
    };
    image.layers.iter().map(input).collect()
}

/// The built-in writer's bytes depend on layers and size alone. Those of another `mke2fs`
/// depend on it too, so its identity is part of the name.
fn file_name(image: &Image, size: Option<MiB>, mke2fs: Option<&Path>) -> Result<String, RunError> {
    let digest = image.digest.to_string().replace(':', "-");
    let size = size.map_or("default".to_owned(), |size| size.0.to_string());
    let writer = match mke2fs {
        None => format!("v{WRITER_VERSION}"),
        Some(path) => {
            let meta = fs::metadata(path).map_err(|_| RunError::Usage {
                message: format!("--mke2fs {}: there is no such program", path.display()),
                hint: None,
            })?;
            format!("mke2fs-{:x}-{:x}-{:x}", meta.ino(), meta.size(), meta.mtime_nsec())
        }
    };
    Ok(format!("{digest}-{size}-{writer}.ext4"))
}

fn lock(base: &Path) -> Result<File, RunError> {
    let path = base.with_extension("lock");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let locked = file.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|e| RunError::state(format!("cannot lock {}", path.display()), e))
}

fn build_unnamed(request: &BuildRequest<'_>, dir: &Path, path: &Path) -> Result<(), RunError> {
    let failed = |e: io::Error| RunError::state(format!("cannot write {}", path.display()), e);
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            let file = File::from(file);
            microagent_rootfs::build(request, &file, &|_| ())?;
            give_name(&file, path).map_err(failed)
        }
        // Not every file system has nameless files.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            let partial = path.with_extension("partial");
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true).mode(0o600);
            let file = options.open(&partial).map_err(failed)?;
            let built = microagent_rootfs::build(request, &file, &|_| ());
            finish_partial(built.map_err(RunError::from).map(|_| ()), &partial, path)
        }
        Err(e) => Err(failed(e.into())),
    }
}

fn build_named(request: &BuildRequest<'_>, mke2fs: &Path, path: &Path) -> Result<(), RunError> {
    let partial = path.with_extension("partial");
    let built = microagent_rootfs::build_with_mke2fs(request, mke2fs, &partial, &|_| ());
    finish_partial(built.map_err(RunError::from).map(|_| ()), &partial, path)
}

fn finish_partial(
    built: Result<(), RunError>,
    partial: &Path,
    path: &Path,
) -> Result<(), RunError> {
    let named = built.and_then(|()| {
        fs::rename(partial, path)
            .map_err(|e| RunError::state(format!("cannot write {}", path.display()), e))
    });
    if named.is_err() {
        let _ = fs::remove_file(partial);
    }
    named
}

/// Gives a file that has no name one. That another process was faster is fine: whoever
/// names the same path wrote the same.
pub(crate) fn give_name(file: &File, path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let proc = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, proc, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Err(rustix::io::Errno::EXIST) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Removes the bases of images that are not in `keep` (digests), and gives their number and
/// the bytes that they took. A machine that runs on one of them keeps it until it ends.
///
/// # Errors
/// Where the directory cannot be read or a base not removed.
pub fn prune_bases(state: &StateDir, keep: &[String]) -> Result<(usize, u64), RunError> {
    let dir = state.bases();
    let failed = |e| RunError::state(format!("cannot prune {}", dir.display()), e);
    let keep: Vec<_> = keep.iter().map(|digest| digest.replace(':', "-")).collect();
    let (mut count, mut bytes) = (0, 0);
    for entry in fs::read_dir(&dir).map_err(failed)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if keep.iter().any(|digest| name.starts_with(digest.as_str())) {
            continue;
        }
        // Whoever builds it holds its lock; that one is not ours to remove.
        let lock = entry.path().with_extension("lock");
        if File::open(&lock).is_ok_and(|lock| lock.try_lock().is_err()) {
            continue;
        }
        if name.ends_with(".ext4") {
            count += 1;
            bytes += entry.metadata().map_err(failed)?.blocks() * 512;
        }
        fs::remove_file(entry.path()).map_err(failed)?;
    }
    Ok((count, bytes))
}
