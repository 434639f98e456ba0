//! Whole images: built from layers, judged by e2fsck, read back with mkext4's
//! reader, compared with what umoci unpacks.

// Helpers of tests are not tests to clippy.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bundles;
mod contents;
mod disk;
mod mke2fs;
mod sizes;
// The package's own unit tests use the rest of it.
#[allow(dead_code)]
#[path = "../../src/testing.rs"]
mod testing;
mod umoci;
