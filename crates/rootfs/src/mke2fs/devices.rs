//! Device nodes of a disk that was made from a directory: the named pipes that
//! stand for them become what they stand for.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use mkext4::reader::Fs;
use mkext4::spec::{DirentIter, Inode as DiskInode, ROOT_INO};
use mkext4::{Error, csum};

use crate::RootfsError;
use crate::tree::{InodeId, Kind, ROOT, Tree};

/// `S_IFCHR` and `S_IFBLK`, and what a directory says of them.
const CHARACTER: (u16, u8) = (0o020_000, 3);
const BLOCK: (u16, u8) = (0o060_000, 4);

/// Offsets in an inode: mode, block map, checksum (`struct ext4_inode`).
const MODE: usize = 0x00;
const BLOCK_MAP: usize = 0x28;
const CHECKSUM_LOW: usize = 0x7c;
const CHECKSUM_HIGH: usize = 0x82;

/// Where the type stands in a directory record, and how long the record of the
/// block's checksum is.
const RECORD_TYPE: usize = 7;
const TAIL: usize = 12;

/// Puts every device of `tree` right in `disk`.
pub(super) fn restore(tree: &Tree<'_>, disk: &File) -> Result<(), RootfsError> {
    let run = || -> Result<(), Error> {
        let fs = Fs::open(disk.try_clone()?)?;
        let ways = ways_to_devices(tree);
        let mut pending = vec![(ROOT, ROOT_INO)];
        while let Some((id, ino)) = pending.pop() {
            let Some(directory) = tree.directory(id) else { continue };
            for (name, entry) in &directory.entries {
                if let Some(device) = device(tree, entry.inode) {
                    one(&fs, disk, ino, name, device)?;
                } else if ways.contains(&entry.inode) {
                    let child = fs.lookup(ino, name)?.ok_or_else(missing)?;
                    pending.push((entry.inode, child));
                }
            }
        }
        Ok(())
    };
    run().map_err(|error| RootfsError::Io {
        doing: "making device nodes in the root disk".to_owned(),
        source: io::Error::other(error.to_string()),
    })
}

#[derive(Debug, Clone, Copy)]
struct Device {
    kind: (u16, u8),
    major: u32,
    minor: u32,
}

fn device(tree: &Tree<'_>, id: InodeId) -> Option<Device> {
    match tree.inode(id).kind {
        Kind::CharDevice { major, minor } => Some(Device { kind: CHARACTER, major, minor }),
        Kind::BlockDevice { major, minor } => Some(Device { kind: BLOCK, major, minor }),
        _ => None,
    }
}

/// The directories that hold devices, and all above them.
fn ways_to_devices(tree: &Tree<'_>) -> HashSet<InodeId> {
    let mut ways = HashSet::new();
    let mut pending = vec![ROOT];
    while let Some(id) = pending.pop() {
        let Some(directory) = tree.directory(id) else { continue };
        let mut entries = directory.entries.values().map(|entry| entry.inode);
        if entries.clone().any(|inode| device(tree, inode).is_some()) {
            let mut way = id;
            while ways.insert(way)
                && let Some(directory) = tree.directory(way)
            {
                way = directory.parent;
            }
        }
        pending.extend(entries.by_ref().filter(|&inode| tree.directory(inode).is_some()));
    }
    ways
}

fn one(fs: &Fs<File>, disk: &File, parent: u32, name: &[u8], device: Device) -> Result<(), Error> {
    let ino = fs.lookup(parent, name)?.ok_or_else(missing)?;
    inode(fs, disk, ino, device)?;
    record(fs, disk, parent, name, device)
}

fn inode(fs: &Fs<File>, disk: &File, ino: u32, device: Device) -> Result<(), Error> {
    let mut raw = fs.inode_raw(ino)?;
    let decoded = DiskInode::decode(&raw)?;
    let mode = decoded.mode & 0o7777 | device.kind.0;
    put(&mut raw, MODE, &mode.to_le_bytes());
    let Device { major, minor, .. } = device;
    let words = if major < 256 && minor < 256 {
        [(major << 8) | minor, 0]
    } else {
        [0, (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)]
    };
    put(&mut raw, BLOCK_MAP, &words[0].to_le_bytes());
    put(&mut raw, BLOCK_MAP + 4, &words[1].to_le_bytes());
    let sum = csum::inode(fs.fs_seed(), ino, decoded.generation, &raw).to_le_bytes();
    put(&mut raw, CHECKSUM_LOW, &sum[..2]);
    put(&mut raw, CHECKSUM_HIGH, &sum[2..]);
    let superblock = fs.superblock();
    let per_group = superblock.inodes_per_group;
    let group = fs.group_desc(u64::from((ino - 1) / per_group))?;
    let index = u64::from((ino - 1) % per_group);
    let at = group.inode_table * superblock.block_size() + index * u64::from(superblock.inode_size);
    Ok(disk.write_all_at(&raw, at)?)
}

/// mke2fs writes directories without an index: every block is a list.
fn record(
    fs: &Fs<File>,
    disk: &File,
    parent: u32,
    name: &[u8],
    device: Device,
) -> Result<(), Error> {
    let directory = fs.inode(parent)?;
    let size = fs.superblock().block_size();
    let extents = fs.extents(parent, &directory)?;
    for logical in 0..directory.size / size {
        let Some(block) = fs.file_block(&extents, logical) else { continue };
        let mut raw = fs.read_block(block)?;
        let mut at = None;
        for entry in DirentIter::new(&raw) {
            let entry = entry?;
            if entry.name == name {
                // Names are slices of the block: their place is the record's.
                at = Some(entry.name.as_ptr() as usize - raw.as_ptr() as usize - 8);
            }
        }
        let Some(at) = at else { continue };
        put(&mut raw, at + RECORD_TYPE, &[device.kind.1]);
        let seed = csum::inode_seed(fs.fs_seed(), parent, directory.generation);
        let sum = csum::dirent_block(seed, &raw).to_le_bytes();
        let tail = raw.len() - TAIL + 8;
        put(&mut raw, tail, &sum);
        return Ok(disk.write_all_at(&raw, block * size)?);
    }
    Err(missing())
}

fn put(raw: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = raw.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn missing() -> Error {
    Error::Invalid("a name that was written is not there".to_owned())
}
