//! `rootfs ls|cat|extract`: files in a disk that nothing uses.

use std::io::{self, Write};
use std::path::Path;

use microagent_rootfs::{Ext4, Follow, Node, NodeKind, ReadError, Target};
use microagent_workspace::{RunError, check_unused};
use serde::Serialize;

use crate::args::{Global, ImagePath, RootfsExtractArgs, RootfsLsArgs};
use crate::failure::Failure;
use crate::output::{print, print_json, printable, table};
use crate::run::told_left_out;
use crate::umask;

/// Bytes that a list takes: an image may give every name the longest target.
const LISTED_MAX: u64 = 256 << 20;
/// What each name takes of that beside its text and its target, as a row of a table.
const ROW: usize = 512;

/// A name in a directory of an image. Its JSON form is part of the command-line interface.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    target: Option<String>,
}

/// Lists a directory, or one thing that is none.
pub(super) fn ls(args: &RootfsLsArgs, global: &Global) -> Result<u8, Failure> {
    check_unused(&args.image)?;
    let listed = listed(args).map_err(failed(&args.image))?;
    if global.json {
        print_json(&serde_json::json!({ "entries": listed }));
        return Ok(0);
    }
    let row = |item: Listed| {
        let arrow = item.target.map(|target| format!(" -> {target}")).unwrap_or_default();
        let name = printable(&format!("{}{arrow}", item.name));
        let owner = format!("{}:{}", item.uid, item.gid);
        vec![item.kind.to_owned(), item.mode, owner, item.size.to_string(), name]
    };
    if !listed.is_empty() {
        let header = ["KIND", "MODE", "OWNER", "SIZE", "NAME"];
        print(&table(&header, listed.into_iter().map(row).collect()));
    }
    Ok(0)
}

fn listed(args: &RootfsLsArgs) -> Result<Vec<Listed>, ReadError> {
    let disk = Ext4::open(&args.image)?;
    let node = disk.lookup(args.path.as_bytes(), Follow::No)?;
    let node = match node.kind() {
        NodeKind::Symlink if args.path.ends_with('/') => {
            disk.lookup(args.path.as_bytes(), Follow::Yes)?
        }
        _ => node,
    };
    if node.kind() != NodeKind::Directory {
        return Ok(vec![item(&disk, args.path.as_bytes(), &node)?]);
    }
    let mut names = disk.names(&node)?;
    names.sort_by(|a, b| a.bytes.cmp(&b.bytes));
    let (mut items, mut bytes) = (Vec::new(), 0);
    for name in &names {
        let item = item(&disk, &name.bytes, &disk.node(name)?)?;
        bytes += (ROW + item.name.len() + item.target.as_ref().map_or(0, String::len)) as u64;
        if bytes > LISTED_MAX {
            return Err(ReadError::Limit { what: "bytes in a list", limit: LISTED_MAX });
        }
        items.push(item);
    }
    Ok(items)
}

fn item(disk: &Ext4, name: &[u8], node: &Node) -> Result<Listed, ReadError> {
    let meta = node.meta();
    let target = match node.kind() {
        NodeKind::Symlink => Some(String::from_utf8_lossy(&disk.target(node)?).into_owned()),
        _ => None,
    };
    Ok(Listed {
        name: String::from_utf8_lossy(name).into_owned(),
        kind: node.kind().word(),
        mode: format!("{:04o}", meta.mode),
        uid: meta.uid,
        gid: meta.gid,
        size: meta.size,
        target,
    })
}

/// Prints a file, its holes as zeros.
pub(super) fn cat(args: &ImagePath) -> Result<u8, Failure> {
    check_unused(&args.image)?;
    let mut stdout = io::stdout().lock();
    let printed = write_file(args, &mut stdout);
    match printed {
        // Whoever read it has seen enough.
        Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        other => other.map(|()| 0).map_err(failed(&args.image)),
    }
}

fn write_file(args: &ImagePath, out: &mut impl Write) -> Result<(), ReadError> {
    let disk = Ext4::open(&args.image)?;
    let node = disk.lookup(args.path.as_bytes(), Follow::Yes)?;
    if node.kind() != NodeKind::File {
        return Err(ReadError::Kind { path: args.path.clone(), found: node.kind().name() });
    }
    let printing =
        |source: io::Error| ReadError::Io { doing: "writing to standard output".into(), source };
    let mut at = 0;
    disk.read(&node, &mut |offset, bytes| {
        zeros(out, offset - at).and_then(|()| out.write_all(bytes)).map_err(printing)?;
        at = offset + bytes.len() as u64;
        Ok(())
    })?;
    zeros(out, node.meta().size - at).and_then(|()| out.flush()).map_err(printing)
}

fn zeros(out: &mut impl Write, count: u64) -> io::Result<()> {
    use std::io::Read;
    io::copy(&mut io::repeat(0).take(count), out).map(drop)
}

/// Copies a file or directory out.
pub(super) fn extract(args: &RootfsExtractArgs, global: &Global) -> Result<u8, Failure> {
    let ImagePath { image, path } = &args.from;
    check_unused(image)?;
    let extracted = Ext4::open(image).and_then(|disk| {
        let node = disk.lookup(path.as_bytes(), Follow::Yes)?;
        disk.extract(node, Target::begin(&args.to, umask::callers())?)
    });
    let done = extracted.map_err(failed(image))?;
    if global.json {
        print_json(&serde_json::json!({
            "place": args.to, "entries": done.entries, "bytes": done.bytes,
            "left_out": done.left_out, "left_out_count": done.left_out_count,
        }));
    } else {
        told_left_out(&args.to, &done.left_out, done.left_out_count);
    }
    Ok(0)
}

fn failed(image: &Path) -> impl FnOnce(ReadError) -> Failure {
    let image = image.to_owned();
    |source| Failure::from(RunError::Read { image, source })
}
