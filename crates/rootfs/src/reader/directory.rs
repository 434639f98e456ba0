//! Directories (`Documentation/filesystems/ext4/directory.rst`), read from the first block to
//! the last. The index of a large one stands in entries without an inode, so that this reads
//! those too.

use super::blocks::Blocks;
use super::budget::Budget;
use super::error::within;
use super::extents;
use super::fields::{u16_at, u32_at};
use super::inode::{Inode, NodeKind};
use super::{Name, ReadError};

/// Bytes of one directory: two million of the longest names, with room to spare.
const BYTES_MAX: u64 = 1 << 30;
const HEADER: usize = 8;

/// Takes a name and its inode, and says whether to go on.
type Take<'t> = dyn FnMut(&[u8], u32) -> Result<bool, ReadError> + 't;

/// All names but `.` and `..`, as far as there is room for them.
pub(super) fn names(
    blocks: &Blocks,
    directory: &Inode,
    budget: &mut Budget,
) -> Result<Vec<Name>, ReadError> {
    let mut names = Vec::new();
    each(blocks, directory, &mut |bytes, inode| {
        budget.list(bytes)?;
        names.push(Name { bytes: bytes.to_vec(), inode });
        Ok(true)
    })?;
    Ok(names)
}

/// The inode that a name leads to.
pub(super) fn find(
    blocks: &Blocks,
    directory: &Inode,
    name: &[u8],
) -> Result<Option<u32>, ReadError> {
    let mut found = None;
    each(blocks, directory, &mut |bytes, inode| {
        if bytes == name {
            found = Some(inode);
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}

/// Gives every name to `take` until that says false.
fn each(blocks: &Blocks, directory: &Inode, take: &mut Take<'_>) -> Result<(), ReadError> {
    if directory.kind != NodeKind::Directory {
        let path = format!("inode {}", directory.number);
        return Err(ReadError::Kind { path, found: directory.kind.name() });
    }
    within(directory.meta.size, BYTES_MAX, "bytes in a directory")?;
    extents::read_while(blocks, directory, &mut |_, bytes| {
        for block in bytes.chunks(blocks.size()) {
            if !entries(directory.number, block, take)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

fn entries(directory: u32, block: &[u8], take: &mut Take<'_>) -> Result<bool, ReadError> {
    let wrong =
        || ReadError::Corrupt(format!("directory inode {directory} has an entry that is none"));
    let mut rest = block;
    while !rest.is_empty() {
        let (inode, length) = (u32_at(rest, 0), usize::from(u16_at(rest, 4)));
        let name = usize::from(rest.get(6).copied().unwrap_or_default());
        if length < HEADER || !length.is_multiple_of(4) || length > rest.len() {
            return Err(wrong());
        }
        let (entry, after) = rest.split_at(length);
        rest = after;
        if inode == 0 {
            continue;
        }
        let name = entry.get(HEADER..HEADER + name).ok_or_else(wrong)?;
        match name {
            b"." | b".." => continue,
            _ if name.is_empty() || name.contains(&b'/') || name.contains(&0) => {
                return Err(wrong());
            }
            _ if !take(name, inode)? => return Ok(false),
            _ => {}
        }
    }
    Ok(true)
}
