//! An image whose upper layers hide, replace and bring back what lower ones hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{base_layer, reference};
use crate::oci::{Compression, Config, Entry, Layer, Layout};
use crate::requirement::{root, tools};
use crate::{cache, listing};

/// The image, and what umoci makes of it.
#[derive(Debug)]
pub struct Whiteouts {
    path: PathBuf,
}

const TAG: &str = "whiteouts";

impl Whiteouts {
    /// A reference to it.
    pub fn reference(&self) -> String {
        format!("oci:{}:{TAG}", self.path.join("layout").display())
    }

    /// What [`listing::BUSYBOX`] prints in the tree that umoci unpacks.
    ///
    /// # Panics
    /// Where the cache has been tampered with.
    pub fn expected(&self) -> String {
        fs::read_to_string(self.path.join("reference")).expect("the maker writes it")
    }
}

/// The image, made if need be. `None`, with a visible reason, without the tools or root.
pub fn whiteouts() -> Option<&'static Whiteouts> {
    static MADE: OnceLock<Whiteouts> = OnceLock::new();
    if let Some(path) = cache::given(TAG) {
        return Some(MADE.get_or_init(|| Whiteouts { path }));
    }
    if !tools(&["busybox", "skopeo", "umoci"]) || !root() {
        return None;
    }
    Some(MADE.get_or_init(|| {
        let inputs = [include_str!("whiteouts.rs"), include_str!("busybox.rs"), listing::BUSYBOX];
        Whiteouts { path: cache::made(TAG, &inputs, make) }
    }))
}

fn make(path: &Path) {
    let layout_path = path.join("layout");
    let layers = [lowest(), middle(), highest()].map(|layer| layer.pack(Compression::Gzip));
    let base = base_layer().pack(Compression::Gzip);
    let [low, mid, high] = &layers;
    let config = Config { env: vec!["PATH=/bin:/usr/bin".to_owned()], ..Config::default() };
    Layout::create(&layout_path).add(TAG, &config, &[&base, low, mid, high]);
    reference::write(&layout_path, TAG, listing::BUSYBOX, &path.join("reference"));
}

fn text(path: &str) -> Entry {
    Entry::file(path, format!("{path}\n"))
}

fn lowest() -> Layer {
    let dirs = ["w", "w/dir", "w/dir/sub", "w/opaque", "w/opaque/sub", "w/becomes-file"];
    let mut layer = Layer::of(dirs.map(Entry::dir));
    let files = [
        "w/kept",
        "w/hidden",
        "w/brought-back",
        "w/dir/kept",
        "w/dir/hidden",
        "w/dir/sub/deep",
        "w/opaque/below",
        "w/opaque/brought-back",
        "w/opaque/sub/below",
        "w/becomes-file/inside",
        "w/becomes-dir",
        "w/becomes-link",
        "w/linked",
        "w/edited",
    ];
    files.iter().for_each(|file| layer.add(&text(file)));
    layer.add(&Entry::hardlink("w/linked-too", "w/linked"));
    layer.add(&Entry::symlink("w/link", "dir"));
    // A directory that is hidden whole and comes back in the same layer.
    layer.add(&Entry::dir("w/renewed").mode(0o700).owner(5, 5));
    layer.add(&text("w/renewed/old"));
    // One that a later layer names again only to change its mode.
    layer.add(&Entry::dir("w/chmod").mode(0o700));
    layer.add(&text("w/chmod/kept"));
    layer
}

fn middle() -> Layer {
    Layer::of([
        Entry::whiteout("w/hidden"),
        Entry::whiteout("w/brought-back"),
        Entry::whiteout("w/dir/hidden"),
        Entry::whiteout("w/dir/sub"),
        Entry::whiteout("w/never-was"),
        // The marker stands after what this layer puts into the directory, and hides none
        // of that.
        Entry::dir("w/opaque").mode(0o711),
        text("w/opaque/above"),
        Entry::opaque("w/opaque"),
        Entry::file("w/becomes-file", "a file now\n"),
        Entry::dir("w/becomes-dir"),
        text("w/becomes-dir/inside"),
        Entry::symlink("w/becomes-link", "kept"),
        // A second name for a file of a lower layer, and the loss of one of two names.
        Entry::hardlink("w/another-busybox", "bin/busybox"),
        Entry::whiteout("w/linked"),
        Entry::whiteout("w/renewed"),
        Entry::dir("w/renewed").mode(0o755).owner(6, 6),
        text("w/renewed/new"),
        Entry::dir("w/chmod").mode(0o755),
        Entry::file("w/edited", "edited\n").mode(0o600).owner(7, 8),
    ])
}

fn highest() -> Layer {
    Layer::of([
        Entry::dir("w/brought-back").mode(0o750),
        text("w/brought-back/inside"),
        text("w/opaque/brought-back"),
        text("w/dir/sub"),
        // What the layer below put over a hidden directory is hidden in turn.
        Entry::opaque("w/becomes-dir"),
        text("w/becomes-dir/later"),
        Entry::whiteout("w/link"),
        Entry::dir("w/link"),
        text("w/link/inside"),
    ])
}
