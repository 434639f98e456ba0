//! A root disk made by a `mke2fs` of the user's.
//!
//! From e2fsprogs 1.47.1 on, built with libarchive, mke2fs takes a tar on its
//! standard input, and the merged tree is handed over as one. Older ones take a
//! directory only; then, and only as root, the tree is written into a private
//! one, from which everything is gone afterwards.

mod child;
mod devices;
mod staging;
mod stream;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::ext4::{Demand, Geometry, Identity, SMALLEST_MIB};
use crate::merge::merge;
use crate::spool::{BLOCK, Spool};
use crate::tree::{Kind, LayerIndex, ROOT, Tree};
use crate::{BuildReport, BuildRequest, DiskSize, RootfsError, mount_points};
use child::Finished;
use staging::Staging;

/// What a mke2fs must be to be used without root.
const NEEDED: &str = "e2fsprogs 1.47.1 or newer, built with libarchive";

/// An archive without members.
const EMPTY_TAR: [u8; 1024] = [0; 1024];

/// Size of the disk on which a mke2fs is tried.
const TRIAL_BYTES: u64 = 16 << 20;

/// How long the trial may take.
const TRIAL_TIME: Duration = Duration::from_secs(20);

/// How long making a disk may take: minutes suffice for any image.
const BUILD_TIME: Duration = Duration::from_secs(30 * 60);

/// As [`crate::build`], with `mke2fs` as the writer; `out` is made or replaced.
///
/// The bytes depend on the mke2fs and on the time; only [`crate::build`]
/// promises identical ones.
///
/// # Errors
/// As [`crate::build`]; [`RootfsError::Unsupported`] for a mke2fs that is too
/// old to be used without root; [`RootfsError::Io`] when it does not run, takes
/// too long or fails.
pub fn build_with_mke2fs(
    request: &BuildRequest<'_>,
    mke2fs: &Path,
    out: &Path,
    progress: &dyn Fn(u64),
) -> Result<BuildReport, RootfsError> {
    let disk = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(out)
        .map_err(RootfsError::io(format!("making {}", out.display())))?;
    let input = probe(mke2fs, out)?;
    let mut spool = Spool::beside(&disk)?;
    let mut tree = merge(request.layers, &request.limits, &mut spool, progress)?;
    mount_points::add(&mut tree, request.layers.len() as LayerIndex)?;
    let spool = spool.into_file().map_err(RootfsError::io("writing scratch space"))?;
    let demand = Demand::of(&tree);
    demand.within(&request.limits)?;
    let (geometry, minimum_mib) = choose(request.size, &demand)?;
    disk.set_len(geometry.disk_blocks * BLOCK)
        .map_err(RootfsError::io(format!("lengthening {}", out.display())))?;
    let mut command = command(mke2fs, &geometry, &Identity::of(request.identity), &tree);
    match input {
        Input::Tar => {
            command.arg("-d").arg("-").arg(out);
            run(&mut command, mke2fs, BUILD_TIME, |pipe| stream::write(&tree, &spool, pipe))?;
        }
        Input::Directory => {
            let staging = Staging::of(&tree, &spool, out)?;
            command.arg("-d").arg(staging.root()).arg(out);
            run(&mut command, mke2fs, BUILD_TIME, |_| Ok(()))?;
            devices::restore(&tree, &disk)?;
        }
    }
    check_made(&disk, mke2fs)?;
    Ok(BuildReport {
        size_bytes: geometry.disk_blocks * BLOCK,
        inodes: demand.inodes,
        content_bytes: content_bytes(&tree),
        minimum_mib,
    })
}

/// Where an ext4 has its magic number, and which (Linux, Documentation/filesystems/ext4,
/// super block).
const MAGIC: (u64, [u8; 2]) = (1024 + 0x38, [0x53, 0xef]);

/// That the program wrote a file system: one that ends well need not be a mke2fs.
fn check_made(disk: &File, mke2fs: &Path) -> Result<(), RootfsError> {
    use std::os::unix::fs::FileExt;
    let mut found = [0; 2];
    disk.read_exact_at(&mut found, MAGIC.0).map_err(RootfsError::io("reading the new disk"))?;
    if found == MAGIC.1 {
        return Ok(());
    }
    Err(RootfsError::Unsupported {
        what: format!("{} ended well and made no ext4", mke2fs.display()),
        hint: "name a mke2fs of e2fsprogs, or leave --mke2fs out",
    })
}

/// How the tree gets into a mke2fs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Tar,
    Directory,
}

/// Tries `mke2fs` on an empty archive.
fn probe(mke2fs: &Path, out: &Path) -> Result<Input, RootfsError> {
    let trial = out.with_added_extension("trial");
    let made = File::create(&trial).and_then(|file| file.set_len(TRIAL_BYTES));
    let result = made.map_err(RootfsError::io(format!("making {}", trial.display())));
    let result = result.and_then(|()| {
        let mut command = Command::new(mke2fs);
        command.args(["-q", "-F", "-t", "ext4", "-d", "-"]).arg(&trial);
        child::run(&mut command, TRIAL_TIME, |pipe| pipe.write_all(&EMPTY_TAR))
            .map_err(RootfsError::io(format!("running {}", mke2fs.display())))
    });
    // The trial is over either way; one that cannot be removed is harmless.
    let _ = std::fs::remove_file(&trial);
    match result? {
        Finished::Well => Ok(Input::Tar),
        Finished::Late => Err(late(mke2fs, TRIAL_TIME)),
        Finished::Badly(_) if rustix::process::geteuid().is_root() => Ok(Input::Directory),
        Finished::Badly(said) => Err(RootfsError::Unsupported {
            what: format!("{} takes no archive, {NEEDED} does: {said}", mke2fs.display()),
            hint: "use a newer mke2fs, run as root, or leave --mke2fs out",
        }),
    }
}

fn run(
    command: &mut Command,
    mke2fs: &Path,
    within: Duration,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
) -> Result<(), RootfsError> {
    let finished = child::run(command, within, feed)
        .map_err(RootfsError::io(format!("running {}", mke2fs.display())))?;
    match finished {
        Finished::Well => Ok(()),
        Finished::Late => Err(late(mke2fs, within)),
        Finished::Badly(said) => Err(RootfsError::Io {
            doing: format!("{} failed", mke2fs.display()),
            source: io::Error::other(said),
        }),
    }
}

fn late(mke2fs: &Path, within: Duration) -> RootfsError {
    RootfsError::Io {
        doing: format!("{} did not end within {} s", mke2fs.display(), within.as_secs()),
        source: io::ErrorKind::TimedOut.into(),
    }
}

fn command(mke2fs: &Path, geometry: &Geometry, identity: &Identity, tree: &Tree<'_>) -> Command {
    let root = &tree.inode(ROOT).meta;
    let extended = format!(
        "hash_seed={},root_owner={}:{},lazy_itable_init=0,lazy_journal_init=0,nodiscard",
        uuid(&identity.hash_seed),
        root.uid,
        root.gid
    );
    let mut command = Command::new(mke2fs);
    command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0"]);
    command.arg("-N").arg(geometry.inodes.to_string());
    command.arg("-U").arg(uuid(&identity.uuid)).arg("-E").arg(extended);
    command
}

fn uuid(bytes: &[u8; 16]) -> String {
    let text = hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// mke2fs sets aside more than the built-in writer: blocks to grow into, wider
/// descriptors, an orphan file. What that is depends on its version.
fn choose(size: DiskSize, demand: &Demand) -> Result<(Geometry, u64), RootfsError> {
    let more = Demand { metadata_blocks: demand.metadata_blocks + 8192, ..*demand };
    let minimum_mib = Geometry::minimum_for(&more)?.mib();
    let geometry = match size {
        DiskSize::Default => Geometry::default_for(&more)?,
        DiskSize::MiB(mib) if u64::from(mib) < minimum_mib.max(SMALLEST_MIB) => {
            return Err(RootfsError::TooSmall { asked_mib: mib.into(), minimum_mib });
        }
        DiskSize::MiB(mib) => Geometry::of_mib(mib.into(), &more)?,
    };
    Ok((geometry, minimum_mib))
}

fn content_bytes(tree: &Tree<'_>) -> u64 {
    let runs = tree.live_inodes().filter_map(|inode| match &inode.kind {
        Kind::File(content) => Some(content.runs.iter()),
        _ => None,
    });
    runs.flatten().map(|run| run.length).sum()
}
