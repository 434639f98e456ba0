//! Layers of an image, merged; some of them also written as a disk.
#![no_main]

use std::fs::File;

use libfuzzer_sys::fuzz_target;
use microagent_fuzz::{Input, limit_allocations, memory_file, path_of};
use microagent_rootfs::{BuildRequest, Compression, DiskSize, LayerInput, Limits, build};

/// Small, so that each of them is met.
const LIMITS: Limits = Limits {
    entries: 64,
    inodes: 64,
    metadata_blocks: 64,
    total_bytes: 1 << 20,
    ratio: 50,
    ratio_free_bytes: 64 << 10,
    metadata_bytes: 16 << 10,
    pax_bytes: 4 << 10,
    path_bytes: 1024,
    depth: 16,
    xattrs: 8,
    sparse_segments: 16,
};
/// What is held beside that: buffers between threads, those of zstd, a disk's block groups.
const MAX_ALLOCATED: usize = 64 << 20;

fn layer(file: &File, how: u8) -> LayerInput {
    let compression = match how & 3 {
        1 => Compression::Gzip,
        2 => Compression::Zstd,
        _ => Compression::None,
    };
    LayerInput { path: path_of(file), compression, diff_id: None, description: "fuzz".into() }
}

fuzz_target!(init: limit_allocations(MAX_ALLOCATED), |data: &[u8]| {
    let mut input = Input::new(data);
    let (how, split) = (input.byte(), usize::from(input.byte()) * 512);
    // One layer, or two.
    let files: Vec<File> = match split {
        0 => vec![memory_file(input.rest())],
        _ => vec![memory_file(input.take(split)), memory_file(input.rest())],
    };
    let layers: Vec<_> =
        files.iter().zip([how, how >> 2]).map(|(file, how)| layer(file, how)).collect();
    // Too small for any disk: nothing is written.
    let size = DiskSize::MiB(if how & 0x80 == 0 { 1 } else { 128 });
    let request = BuildRequest { layers: &layers, size, identity: "fuzz", limits: LIMITS };
    let out = memory_file(b"");
    match build(&request, &out, &|_| ()) {
        Ok(report) => {
            assert!(report.inodes <= u64::from(LIMITS.inodes) + 16);
            assert!(report.content_bytes <= LIMITS.total_bytes);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
