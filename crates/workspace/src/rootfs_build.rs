//! `rootfs build`: a root disk as a file of the user's.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use microagent_image::{PullPolicy, ResolveOptions, Source, Store};
use microagent_machine::MiB;
use sha2::{Digest, Sha256};

use crate::progress::ForImages;
use crate::{Progress, RunError, StateDir, base_disk};

/// A root disk that is asked for.
#[derive(Debug)]
pub struct RootfsRequest {
    /// Which image, as a user writes it.
    pub reference: String,
    /// The same, understood.
    pub source: Source,
    /// Registries that may be spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// The file to write; it must not exist.
    pub out: PathBuf,
    /// Its size; `None` is the smallest whole GiB that leaves 512 MiB free.
    pub size: Option<MiB>,
    /// Builds it with this program.
    pub mke2fs: Option<PathBuf>,
}

/// A root disk that was built.
#[derive(Debug, serde::Serialize)]
pub struct RootfsBuilt {
    /// The file.
    pub path: PathBuf,
    /// Digest of the image's manifest.
    pub image_digest: String,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the file, in lower-case hexadecimal.
    pub sha256: String,
}

/// Builds a root disk: the same digest and size make the same bytes.
///
/// # Errors
/// `Usage` where the file exists; what fetching and building meet.
pub async fn build_rootfs(
    request: RootfsRequest,
    state: StateDir,
    progress: std::sync::Arc<dyn Progress>,
) -> Result<RootfsBuilt, RunError> {
    if request.out.exists() {
        return Err(RunError::usage(format!("{} exists already", request.out.display())));
    }
    let store = Store::open(&state.images())?;
    let options = ResolveOptions {
        pull: PullPolicy::Missing,
        insecure_registries: request.insecure_registries.clone(),
        ..ResolveOptions::default()
    };
    let image = {
        let progress = ForImages(progress.as_ref());
        store.resolve(&request.source, &options, &progress).await?
    };
    let build = tokio::task::spawn_blocking(move || {
        let mke2fs = request.mke2fs.as_deref();
        let base = base_disk::materialise(&state, &image, request.size, mke2fs, progress.as_ref())?;
        microagent_rootfs::clone_for_run(&base, &request.out, None)?;
        describe(&request.out, image.digest.to_string())
    });
    build
        .await
        .unwrap_or_else(|e| Err(RunError::state("cannot build the root disk".into(), e.into())))
}

fn describe(path: &Path, image_digest: String) -> Result<RootfsBuilt, RunError> {
    let failed = |e| RunError::state(format!("cannot read {}", path.display()), e);
    Ok(RootfsBuilt {
        path: path.to_owned(),
        image_digest,
        size_bytes: fs::metadata(path).map_err(failed)?.len(),
        sha256: sha256(path).map_err(failed)?,
    })
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}
