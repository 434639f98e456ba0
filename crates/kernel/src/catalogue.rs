//! Which kernels there are, and which of them a run boots.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use microagent_machine::{Arch, DeviceArguments, KernelFormat};

use crate::digest;
use crate::error::KernelError;
use crate::facts::Facts;
use crate::inspect::{self, inspect};
use crate::manifest::Manifest;
use crate::stamp;

/// The name of an installed kernel, whatever its format.
pub(crate) const KERNEL: &str = "vmlinux";
/// The feature of a manifest by which a compressed kernel says what an uncompressed one shows.
const DEVICE_ARGUMENTS: &str = "device-arguments";
/// The name of the manifest beside it.
pub(crate) const MANIFEST: &str = "manifest.json";

/// The kernels of one state directory and of the places that came with the program.
///
/// All methods block: they read files of tens of megabytes, and [`Catalogue::build`] runs a
/// compiler for minutes.
#[derive(Debug, Clone)]
pub struct Catalogue {
    state: PathBuf,
    share: Vec<PathBuf>,
}

/// The kernel that a run boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The file.
    pub path: PathBuf,
    /// How it is entered.
    pub format: KernelFormat,
    /// Its SHA-256 in lower-case hexadecimal, checked against its manifest; `None` for a
    /// kernel of the user's that has none.
    pub sha256: Option<String>,
    /// What its manifest says that it has built in; empty where that is not known.
    pub features: BTreeSet<String>,
    /// Whether it can be told of its devices by arguments: by its manifest, or because an
    /// uncompressed kernel shows it.
    pub device_arguments: DeviceArguments,
    /// Where it comes from.
    pub source: Source,
}

/// Where a kernel comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Named by the user.
    Explicit,
    /// Installed in the state directory.
    Installed,
    /// Came with the program.
    Shared,
}

/// A place that holds a kernel, and whether that can be used.
#[derive(Debug)]
pub struct ListedKernel {
    /// The file.
    pub path: PathBuf,
    /// Where it comes from.
    pub source: Source,
    /// What is recorded of it, or why a run would refuse it.
    pub manifest: Result<Manifest, KernelError>,
}

/// A kernel that was hashed, whatever is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// The file.
    pub path: PathBuf,
    /// How it is entered.
    pub format: KernelFormat,
    /// The SHA-256 that it has, in lower-case hexadecimal.
    pub sha256: String,
    /// Whether that was compared with anything: `false` where no sum was given and there is
    /// no manifest.
    pub compared: bool,
}

impl Catalogue {
    /// A catalogue of the kernels in `state`, which is written to, and of those in each
    /// directory of `share`, which are only read. Below each stands a directory per
    /// architecture with a kernel and its manifest.
    pub fn new(state: PathBuf, share: Vec<PathBuf>) -> Self {
        Catalogue { state, share }
    }

    /// The kernel to boot: `explicit` where it is given, else the installed one, else the
    /// first that came with the program. Never falls through one that is there but bad.
    ///
    /// # Errors
    /// [`KernelError::NotInstalled`] if there is none; what [`inspect`] says; a manifest that
    /// is missing, unreadable or of other bytes.
    pub fn pick(&self, explicit: Option<&Path>) -> Result<Kernel, KernelError> {
        if let Some(path) = explicit {
            return self.pick_explicit(path);
        }
        let places = self.places();
        match places.iter().find(|(dir, _)| dir.join(KERNEL).exists()) {
            Some((dir, source)) => {
                let path = dir.join(KERNEL);
                let (manifest, facts) = self.checked(&path)?;
                Ok(Kernel::recorded(path, manifest, &facts, *source))
            }
            None => Err(KernelError::NotInstalled {
                searched: places.iter().map(|(dir, _)| dir.join(KERNEL)).collect(),
            }),
        }
    }

    /// Every place that holds a kernel, in the order in which [`Catalogue::pick`] looks.
    pub fn list(&self) -> Vec<ListedKernel> {
        let places = self.places();
        let there = places.into_iter().map(|(dir, source)| (dir.join(KERNEL), source));
        there
            .filter(|(path, _)| path.exists())
            .map(|(path, source)| {
                let manifest = self.checked(&path).map(|(manifest, _)| manifest);
                ListedKernel { manifest, path, source }
            })
            .collect()
    }

    /// Hashes `path`, or the kernel that a run without `--kernel` would boot, and compares it
    /// with `sha256` and with the manifest beside it, as far as there are any.
    ///
    /// # Errors
    /// [`KernelError::Mismatch`], [`KernelError::BadSum`], and what [`Catalogue::pick`] says.
    pub fn verify(
        &self,
        path: Option<&Path>,
        sha256: Option<&str>,
    ) -> Result<VerifyReport, KernelError> {
        let given = sha256.map(digest::parse).transpose()?;
        let path = match path {
            Some(path) => path.to_owned(),
            None => self.pick(None)?.path,
        };
        let format = inspect(&path)?.format;
        let got = hash(&path)?;
        let recorded = Manifest::read(&path.with_file_name(MANIFEST))?.map(|found| found.sha256);
        let expected: Vec<String> = given.into_iter().chain(recorded).collect();
        expected.iter().try_for_each(|sum| digest::compare(&path, sum, &got))?;
        Ok(VerifyReport { path, format, sha256: got, compared: !expected.is_empty() })
    }

    /// The directory that an installed kernel is in.
    pub(crate) fn installed(&self) -> PathBuf {
        self.state.join(Arch::HOST.name())
    }

    fn places(&self) -> Vec<(PathBuf, Source)> {
        let shared = self.share.iter().map(|dir| (dir.join(Arch::HOST.name()), Source::Shared));
        std::iter::once((self.installed(), Source::Installed)).chain(shared).collect()
    }

    fn pick_explicit(&self, path: &Path) -> Result<Kernel, KernelError> {
        let format = inspect(path)?.format;
        // A manifest that happens to stand beside a user's file says something of it only if
        // it is about these very bytes.
        if let Ok((manifest, facts)) = self.checked(path) {
            return Ok(Kernel::recorded(path.to_owned(), manifest, &facts, Source::Explicit));
        }
        let facts = self.facts(path)?;
        Ok(Kernel {
            path: path.to_owned(),
            format,
            sha256: None,
            features: BTreeSet::new(),
            device_arguments: device_arguments(&BTreeSet::new(), &facts),
            source: Source::Explicit,
        })
    }

    /// The manifest beside `path`, if it is the manifest of what is in `path`.
    fn checked(&self, path: &Path) -> Result<(Manifest, Facts), KernelError> {
        let format = inspect(path)?.format;
        let manifest_path = path.with_file_name(MANIFEST);
        let bad = |why: &str| KernelError::BadManifest {
            path: manifest_path.clone(),
            why: why.to_owned(),
        };
        let manifest = Manifest::read(&manifest_path)?.ok_or_else(|| bad("does not exist"))?;
        if manifest.format != format {
            return Err(bad("names another format than the kernel has"));
        }
        let facts = self.facts(path)?;
        digest::compare(path, &manifest.sha256, &facts.sha256)?;
        Ok((manifest, facts))
    }

    fn facts(&self, path: &Path) -> Result<Facts, KernelError> {
        let (mut file, _) = inspect::open(path)?;
        stamp::facts(&mut file, &self.stamps()).map_err(KernelError::io("read", path))
    }

    fn stamps(&self) -> PathBuf {
        self.state.join("stamps")
    }
}

impl Kernel {
    fn recorded(path: PathBuf, manifest: Manifest, facts: &Facts, source: Source) -> Self {
        let Manifest { format, sha256, features, .. } = manifest;
        let device_arguments = device_arguments(&features, facts);
        Kernel { path, format, sha256: Some(sha256), features, device_arguments, source }
    }
}

fn device_arguments(features: &BTreeSet<String>, facts: &Facts) -> DeviceArguments {
    match facts.device_arguments || features.contains(DEVICE_ARGUMENTS) {
        true => DeviceArguments::Understood,
        false => DeviceArguments::Unknown,
    }
}

fn hash(path: &Path) -> Result<String, KernelError> {
    let mut file = File::open(path).map_err(KernelError::io("open", path))?;
    let facts = Facts::of(&mut file).map_err(KernelError::io("read", path))?;
    Ok(facts.sha256)
}

#[cfg(test)]
mod tests;
