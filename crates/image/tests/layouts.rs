//! Local layouts, whole and damaged, and what the store keeps of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "fixture/layout.rs"]
mod layout;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use layout::{CONFIG, GZIP, Layout, TAR, config, gzip, on, tar};
use microagent_image::{
    Compression, Digest, ErrorKind, Image, ImageError, NoProgress, PruneScope, ResolveOptions,
    Source, Store,
};
use serde_json::{Value, json};

async fn resolve(store: &Store, source: &str) -> Result<Image, ImageError> {
    let source: Source = source.parse().unwrap();
    store.resolve(&source, &ResolveOptions::default(), &NoProgress).await
}

fn oci(dir: &Path) -> String {
    format!("oci:{}", dir.display())
}

fn blobs(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("oci/blobs/sha256")).unwrap().count()
}

#[tokio::test]
async fn a_layout_becomes_verified_layers_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("layout"));
    layout.list(layout.image("amd64", &["one", "two", "one"]), Some("v1"));
    let store = Store::open(&dir.path().join("images")).unwrap();
    let first = resolve(&store, &oci(&layout.dir)).await.unwrap();
    assert!(!first.from_cache);
    assert_eq!(first.config.cmd, ["/bin/sh"]);
    assert_eq!(first.config.architecture, "amd64");
    assert_eq!(first.layers.len(), 3);
    assert_eq!(first.layers[0], first.layers[2]);
    for (layer, name) in first.layers.iter().zip(["one", "two", "one"]) {
        assert_eq!(layer.compression, Compression::Gzip);
        assert_eq!(layer.diff_id, Digest::of(&tar(name)));
        let content = std::fs::read(&layer.path).unwrap();
        assert_eq!(content, gzip(&tar(name)));
        assert_eq!(layer.size, content.len() as u64);
        assert_eq!(std::fs::metadata(&layer.path).unwrap().mode() & 0o7777, 0o600);
    }
    assert_eq!(std::fs::metadata(dir.path().join("images")).unwrap().mode() & 0o7777, 0o700);
    let second = resolve(&store, &format!("{}:v1", oci(&layout.dir))).await.unwrap();
    assert!(second.from_cache);
    assert_eq!((second.digest, second.layers), (first.digest, first.layers));
}

#[tokio::test]
async fn the_platform_is_chosen_also_in_a_nested_index() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("layout"));
    let amd64 = on(layout.image("amd64", &["amd64"]), "linux/amd64");
    let arm64 = on(layout.image("arm64", &["arm64"]), "linux/arm64");
    let attestation = on(layout.image("amd64", &["attestation"]), "unknown/unknown");
    let flat = layout.index(&[attestation, arm64.clone(), amd64.clone()]);
    let nested = layout.index(&[arm64.clone(), layout.index(std::slice::from_ref(&amd64))]);
    let deep = layout.index(&[layout.index(&[layout.index(std::slice::from_ref(&amd64))])]);
    let foreign = layout.index(&[arm64.clone(), on(arm64.clone(), "windows/amd64")]);
    layout.list(flat, Some("flat"));
    layout.list(nested, Some("nested"));
    layout.list(deep, Some("deep"));
    layout.list(foreign, Some("foreign"));
    let mut silent = arm64.clone();
    silent.as_object_mut().unwrap().remove("platform");
    layout.list(silent, Some("silent"));
    let store = Store::open(&dir.path().join("images")).unwrap();
    let named = |tag: &str| format!("{}:{tag}", oci(&layout.dir));
    for tag in ["flat", "nested"] {
        let image = resolve(&store, &named(tag)).await.unwrap();
        assert_eq!(image.digest.as_str(), amd64["digest"]);
    }
    let fails = async |source: String, kind: ErrorKind, text: &str| {
        let error = resolve(&store, &source).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };
    let available = "no linux/amd64 variant; it has linux/arm64, windows/amd64";
    fails(named("foreign"), ErrorKind::Unsupported, available).await;
    fails(named("silent"), ErrorKind::Unsupported, "it has linux/arm64").await;
    fails(named("deep"), ErrorKind::Unsupported, "nested deeper").await;
    fails(named("absent"), ErrorKind::NotFound, "deep, flat, foreign").await;
    fails(oci(&layout.dir), ErrorKind::Usage, "deep, flat, foreign").await;
    fails(oci(&dir.path().join("absent")), ErrorKind::NotFound, "absent").await;
    fails(oci(dir.path()), ErrorKind::NotFound, "index.json").await;
}

/// Makes an image, damages it, and expects that it is refused and that nothing is recorded.
async fn refused(damage: impl FnOnce(&mut Layout), kind: ErrorKind, text: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("layout"));
    damage(&mut layout);
    let store = Store::open(&dir.path().join("images")).unwrap();
    let error = resolve(&store, &oci(&layout.dir)).await.expect_err(text);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "'{text}' in '{error}'");
    assert_eq!(store.list().unwrap(), []);
}

/// Where the parts of an image are.
struct Parts {
    manifest: PathBuf,
    config: PathBuf,
    layer: PathBuf,
}

/// Lists an image of one layer.
fn one(layout: &mut Layout) -> Parts {
    let descriptor = layout.image("amd64", &["one"]);
    layout.list(descriptor.clone(), None);
    let manifest = layout.read(&descriptor);
    Parts {
        manifest: layout.content(&descriptor),
        config: layout.content(&manifest["config"]),
        layer: layout.content(&manifest["layers"][0]),
    }
}

/// Lists an image whose manifest is what `change` makes of a good one.
fn changed(layout: &mut Layout, change: impl FnOnce(&Layout, &mut Value)) {
    let descriptor = layout.image("amd64", &["one"]);
    let mut manifest = layout.read(&descriptor);
    change(layout, &mut manifest);
    let media_type = descriptor["mediaType"].as_str().unwrap();
    layout.list(layout.json(media_type, &manifest), None);
}

fn flip(path: &Path) {
    let mut content = std::fs::read(path).unwrap();
    let last = content.len() - 1;
    content[last] ^= 1;
    std::fs::write(path, content).unwrap();
}

fn truncate(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_refused() {
    use ErrorKind::Corrupt;
    refused(|l| flip(&one(l).manifest), Corrupt, "does not match its digest").await;
    refused(|l| flip(&one(l).config), Corrupt, "does not match its digest").await;
    refused(|l| flip(&one(l).layer), Corrupt, "expected sha256:").await;
    refused(|l| truncate(&one(l).manifest), Corrupt, "announced size").await;
    refused(|l| truncate(&one(l).layer), Corrupt, "announced size").await;
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    refused(|l| remove(&one(l).layer), Corrupt, "is missing from").await;
    refused(|l| remove(&one(l).config), Corrupt, "is missing from").await;
    refused(|l| remove(&one(l).manifest), Corrupt, "is missing from").await;
}

#[tokio::test]
async fn manifests_that_do_not_fit_their_content_are_refused() {
    use ErrorKind::{Corrupt, Unsupported};
    let wrong_size = |_: &Layout, manifest: &mut Value| manifest["layers"][0]["size"] = json!(7);
    refused(|l| changed(l, wrong_size), Corrupt, "announced size").await;
    let twice = |_: &Layout, manifest: &mut Value| {
        let layer = manifest["layers"][0].clone();
        let layers = manifest["layers"].as_array_mut().unwrap();
        layers.push(layer);
        layers[1]["size"] = json!(1);
    };
    refused(
        |l| {
            changed(l, |l, m| {
                twice(l, m);
                let diff = Digest::of(&tar("one")).to_string();
                m["config"] = l.json(CONFIG, &config("amd64", &[diff.clone(), diff]));
            })
        },
        Corrupt,
        "listed twice",
    )
    .await;
    refused(|l| changed(l, |_, m| m["layers"][0]["mediaType"] = json!(TAR)), Corrupt, "holds gzip")
        .await;
    refused(
        |l| changed(l, |l, m| m["layers"][0] = l.blob(GZIP, &tar("one"))),
        Corrupt,
        "neither gzip nor zstd",
    )
    .await;
    refused(
        |l| changed(l, |_, m| m["layers"][0]["mediaType"] = json!("text/x")),
        Unsupported,
        "text/x",
    )
    .await;
    refused(
        |l| changed(l, |l, m| m["config"] = l.json(CONFIG, &config("amd64", &[]))),
        Corrupt,
        "1 layers and its configuration 0 diff_ids",
    )
    .await;
    refused(
        |l| changed(l, |l, m| m["config"] = l.blob(CONFIG, b"nonsense")),
        Corrupt,
        "configuration sha256:",
    )
    .await;
    refused(|l| std::fs::write(l.dir.join("index.json"), "[").unwrap(), Corrupt, "index.json")
        .await;
}

#[tokio::test]
async fn a_layer_that_is_refused_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("layout"));
    changed(&mut layout, |_, m| m["layers"][0]["mediaType"] = json!(TAR));
    let images = dir.path().join("images");
    let store = Store::open(&images).unwrap();
    resolve(&store, &oci(&layout.dir)).await.unwrap_err();
    assert_eq!(blobs(&images), 1, "only the configuration");
}

#[tokio::test]
async fn a_blob_that_was_damaged_in_the_store_is_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("layout"));
    one(&mut layout);
    let store = Store::open(&dir.path().join("images")).unwrap();
    let image = resolve(&store, &oci(&layout.dir)).await.unwrap();
    let layer = &image.layers[0];
    truncate(&layer.path);
    assert!(!resolve(&store, &oci(&layout.dir)).await.unwrap().from_cache);
    assert_eq!(std::fs::metadata(&layer.path).unwrap().len(), layer.size);
    store.discard(&layer.digest).unwrap();
    store.discard(&layer.digest).unwrap();
    assert!(!resolve(&store, &oci(&layout.dir)).await.unwrap().from_cache);
}

#[tokio::test]
async fn what_is_held_stays_and_what_is_unused_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("layout"));
    layout.list(layout.image("amd64", &["shared", "one"]), Some("one"));
    layout.list(layout.image("amd64", &["shared", "two"]), Some("two"));
    let images = dir.path().join("images");
    let store = Store::open(&images).unwrap();
    let one: Source = format!("{}:one", oci(&layout.dir)).parse().unwrap();
    let two: Source = format!("{}:two", oci(&layout.dir)).parse().unwrap();
    let image = resolve(&store, &one.to_string()).await.unwrap();
    resolve(&store, &two.to_string()).await.unwrap();
    assert_eq!(blobs(&images), 7);
    assert_eq!(store.list().unwrap().len(), 2);
    let inspected = store.inspect(&two, &Default::default()).await.unwrap();
    assert_eq!(inspected.layers[0], image.layers[0]);
    drop(inspected);
    // Held: only the record goes.
    let report = store.remove(&one).await.unwrap();
    assert_eq!((report.images, report.removed), (1, 0));
    assert!(image.layers.iter().all(|layer| layer.path.exists()));
    assert_eq!(store.remove(&one).await.unwrap_err().kind(), ErrorKind::NotFound);
    let unfinished = images.join("oci/blobs/sha256/.unfinished-x");
    std::fs::write(&unfinished, "12345").unwrap();
    let own = image.layers[1].size;
    drop(image);
    let report = store.prune(PruneScope::Unreferenced).await.unwrap();
    assert_eq!((report.images, report.removed), (0, 4));
    assert!(report.bytes > own + 5);
    assert!(!unfinished.exists());
    assert!(resolve(&store, &two.to_string()).await.unwrap().from_cache);
    let report = store.prune(PruneScope::All).await.unwrap();
    assert_eq!((report.images, report.removed), (1, 4));
    assert_eq!((blobs(&images), store.list().unwrap().len()), (0, 0));
}

#[tokio::test]
async fn several_at_once_get_the_same_image() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("layout"));
    one(&mut layout);
    let images = dir.path().join("images");
    let source = oci(&layout.dir);
    let tasks = (0..8).map(|_| {
        let (store, source) = (Store::open(&images).unwrap(), source.clone());
        tokio::spawn(async move { resolve(&store, &source).await.unwrap().digest })
    });
    let mut digests = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        digests.push(task.await.unwrap());
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
    assert_eq!(blobs(&images), 3);
}
