//! An image of which bytes were changed: the input is a list of places and what they become.
#![no_main]

#[path = "../../../crates/rootfs/src/reader/tests/sample.rs"]
mod sample;

use libfuzzer_sys::fuzz_target;
use microagent_fuzz::{Input, limit_allocations, memory_file};
use microagent_rootfs::{Ext4, Follow, Node, NodeKind, ReadError, inspect};
use sample::Sample;

/// A few blocks, the names of a directory, a buffer to read with.
const MAX_ALLOCATED: usize = 16 << 20;
/// Deeper than any tree of so few blocks without a cycle.
const DEPTH: u32 = 64;
/// An image of 64 KiB has no more than that, each block in as many extents as one node holds.
const MAX_READ: u64 = 64 << 20;

fn walk(image: &Ext4, node: &Node, depth: u32, read: &mut u64) -> Result<(), ReadError> {
    match node.kind() {
        NodeKind::Directory if depth > 0 => {
            for name in image.names(node)? {
                assert!(!name.bytes.is_empty() && !name.bytes.contains(&b'/'));
                if *read > MAX_READ {
                    return Ok(());
                }
                *read += 1024;
                walk(image, &image.node(&name)?, depth - 1, read)?;
            }
            Ok(())
        }
        NodeKind::File => {
            let (size, mut end) = (node.meta().size, 0);
            image.read(node, &mut |offset, bytes| {
                assert!(offset >= end && offset + bytes.len() as u64 <= size);
                end = offset + bytes.len() as u64;
                *read += bytes.len() as u64;
                Ok(())
            })
        }
        NodeKind::Symlink => image.target(node).map(|target| assert!(target.len() < 4096)),
        _ => Ok(()),
    }
}

fuzz_target!(init: limit_allocations(MAX_ALLOCATED), |data: &[u8]| {
    let mut input = Input::new(data);
    let mut sample = Sample::new();
    while !input.is_empty() {
        let (place, length) = (usize::from(input.u16()), usize::from(input.byte() & 15) + 1);
        for (n, byte) in input.take(length).iter().enumerate() {
            if let Some(at) = sample.0.get_mut(place + n) {
                *at = *byte;
            }
        }
    }
    let file = memory_file(&sample.0);
    let facts = inspect(&file);
    let Ok(image) = Ext4::of(file) else { return };
    assert!(facts.is_ok());
    for path in ["/", "/d/f", "/l", "/long", "/d/../f", "//"] {
        if let Ok(node) = image.lookup(path.as_bytes(), Follow::Yes) {
            let mut read = 0;
            let _ = walk(&image, &node, DEPTH, &mut read);
        }
    }
});
