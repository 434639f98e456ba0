//! Fetching images, keeping them, and refusing those that are damaged.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use microagent_tests_cli::images::{Busybox, base_layer, busybox};
use microagent_tests_cli::oci::{Blob, Compression, Config, Entry, Layer, Layout, digest_of};
use microagent_tests_cli::{Registry, Sandbox};

fn parts() -> Option<(Sandbox, &'static Busybox, Registry)> {
    Some((Sandbox::new()?, busybox()?, Registry::start()?))
}

/// Digest of the image that a reference means, as pulling it tells.
fn pull(sandbox: &Sandbox, reference: &str) -> String {
    let outcome = sandbox.call(&["--json", "image", "pull", reference]).output();
    outcome.code(0).is_silent();
    outcome.json()["image"]["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn a_pulled_image_needs_no_registry_any_more() {
    let Some((sandbox, image, registry)) = parts() else { return };
    registry.push(&image.reference("plain"), "box:v1");
    let tag = registry.reference("box:v1");
    let run =
        |policy: &str| sandbox.run(&["--pull", policy, "--image", &tag, "echo", "ran"]).output();
    run("never").refuses(125, &[&tag, "not in the cache"]);
    let digest = pull(&sandbox, &tag);
    drop(registry);
    run("never").code(0).prints("ran\n").is_silent();
    run("missing").code(0).prints("ran\n").is_silent();
    run("always").refuses(125, &["127.0.0.1"]);
    let outcome = sandbox.call(&["image", "list"]).output();
    outcome.code(0).shows(&[&tag, &digest[..19]]);
}

#[test]
fn a_moved_tag_is_seen_only_with_pull_always() {
    let Some((sandbox, image, registry)) = parts() else { return };
    registry.push(&image.reference("plain"), "box:moving");
    let tag = registry.reference("box:moving");
    let first = pull(&sandbox, &tag);
    registry.push(&image.reference("entry"), "box:moving");
    let digest = |policy: &str| {
        let outcome = sandbox.run(&["--json", "--pull", policy, "--image", &tag, "echo"]).output();
        outcome.code(0).json()["image"]["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest("missing"), first);
    assert_ne!(digest("always"), first);
    // The first one is still to be had by its digest.
    let by_digest = registry.reference(&format!("box@{first}"));
    assert_eq!(pull(&sandbox, &by_digest), first);
}

#[test]
fn what_the_registry_does_not_have_is_said_so() {
    let Some((sandbox, image, registry)) = parts() else { return };
    registry.push(&image.reference("plain"), "box:v1");
    let absent = format!("box@sha256:{}", "0".repeat(64));
    for name in ["box:other", "no/such/image:v1", &absent] {
        let reference = registry.reference(name);
        let outcome = sandbox.call(&["image", "pull", &reference]).output();
        outcome.refuses(125, &[&reference]);
    }
}

#[test]
fn a_tampered_blob_of_a_registry_is_refused() {
    let Some((sandbox, image, registry)) = parts() else { return };
    registry.push(&image.reference("plain"), "box:v1");
    let layer = base_layer().pack(Compression::Gzip);
    let file = registry.blob(&layer.digest);
    let good = fs::read(&file).expect("the layer is in the registry");
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&file, &bad).unwrap();
    let tag = registry.reference("box:v1");
    let outcome = sandbox.call(&["image", "pull", &tag]).output();
    outcome.refuses(125, &[&layer.digest, "digest"]);
    fs::write(&file, &good[..middle]).unwrap();
    let outcome = sandbox.run(&["--image", &tag, "true"]).output();
    outcome.refuses(125, &[&layer.digest]);
    // Nothing of it was kept: with the good one back, it works.
    fs::write(&file, &good).unwrap();
    sandbox.run(&["--image", &tag, "true"]).output().code(0);
}

/// A sound layer made to lie in some way, and what the refusal names.
fn damaged() -> Vec<(&'static str, Blob, &'static [&'static str])> {
    let tar = base_layer().tar();
    let good = || Blob::pack(&tar, Compression::Gzip);
    let stored = |bytes: Vec<u8>| Blob { digest: digest_of(&bytes), bytes, ..good() };
    let truncated = good().bytes[..good().bytes.len() / 2].to_vec();
    let zstd = "application/vnd.oci.image.layer.v1.tar+zstd".to_owned();
    let no_tar = Blob::pack(&[b'x'; 5000], Compression::Gzip);
    let mut cut = Layer::of([Entry::file("big", vec![1; 100_000])]).tar();
    cut.truncate(50_000);
    vec![
        ("truncated", stored(truncated), &["layer"]),
        ("not its digest", Blob { digest: digest_of(b"other"), ..good() }, &["digest"]),
        ("not its content", Blob { diff_id: digest_of(b"other"), ..good() }, &["layer"]),
        ("not its type", Blob { media_type: zstd, ..good() }, &["zstd", "gzip"]),
        ("no tar", no_tar, &["layer"]),
        ("a tar that is cut off", Blob::pack(&cut, Compression::None), &["layer"]),
        ("nothing", stored(Vec::new()), &["layer"]),
    ]
}

#[test]
fn damaged_layers_are_refused_by_name_and_leave_nothing() {
    let Some(sandbox) = Sandbox::new() else { return };
    let mut wrong = Vec::new();
    for (what, blob, named) in damaged() {
        let mut layout = Layout::create(&sandbox.file(what));
        layout.add("x", &Config::default(), &[&blob]);
        let reference = layout.reference("x");
        let outcome = sandbox.run(&["--image", &reference, "--exec", "true"]).output();
        wrong.extend(outcome.refusal(125, named).map_err(|wrong| format!("{what}: {wrong}")).err());
        assert!(sandbox.leftovers().is_ok(), "left behind: {}", outcome.text());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_blob_of_the_cache_that_rots_is_noticed_or_harmless() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(image) = busybox() else { return };
    let reference = image.reference("plain");
    pull(&sandbox, &reference);
    let layer = base_layer().pack(Compression::Gzip);
    let sum = layer.digest.trim_start_matches("sha256:");
    let find = std::process::Command::new("find")
        .arg(sandbox.state())
        .args(["-name", &format!("*{sum}*"), "-size", "+100k"])
        .output()
        .unwrap();
    let path = String::from_utf8_lossy(&find.stdout).trim().to_owned();
    if path.is_empty() {
        // A local layout is read where it is: nothing was copied that could rot.
        return;
    }
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let outcome = sandbox.run(&["--image", &reference, "true"]).output();
    // Fetched again, or refused; never run.
    if outcome.status.code() != Some(0) {
        outcome.refuses(125, &["layer"]);
    }
}

#[test]
fn images_for_other_platforms_are_refused_with_what_there_is() {
    let Some(sandbox) = Sandbox::new() else { return };
    let layer = base_layer().pack(Compression::Gzip);
    let mut layout = Layout::create(&sandbox.file("layout"));
    let config = serde_json::json!({
        "architecture": "arm64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer.diff_id] },
    });
    layout.add("amd", &Config::default(), &[&layer]);
    let digest = digest_of(config.to_string().as_bytes());
    fs::write(layout.blob_file(&digest), config.to_string()).unwrap();
    layout.manifest("arm", &serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest, "size": config.to_string().len(),
        },
        "layers": [{ "mediaType": layer.media_type, "digest": layer.digest, "size": layer.bytes.len() }],
    }));
    let outcome = sandbox.run(&["--image", &layout.reference("arm"), "--exec", "true"]).output();
    outcome.refuses(125, &["linux/amd64", "linux/arm64"]);
    let without = layout.reference("");
    let outcome =
        sandbox.run(&["--image", without.trim_end_matches(':'), "--exec", "true"]).output();
    assert!(
        outcome.stderr().contains("amd") && outcome.stderr().contains("arm"),
        "{}",
        outcome.text()
    );
    let outcome = sandbox.run(&["--image", &layout.reference("none"), "--exec", "true"]).output();
    outcome.refuses(125, &["none"]);
}

#[test]
fn pruning_removes_what_nothing_needs() {
    let Some((sandbox, image, registry)) = parts() else { return };
    registry.push(&image.reference("plain"), "box:v1");
    let tag = registry.reference("box:v1");
    sandbox.run(&["--image", &tag, "true"]).output().code(0);
    let large = |sandbox: &Sandbox| {
        let find = std::process::Command::new("find")
            .arg(sandbox.state())
            .args(["-type", "f", "-size", "+100k"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&find.stdout).lines().count()
    };
    assert!(large(&sandbox) >= 2, "a layer and a root disk");
    sandbox.call(&["image", "prune"]).output().code(0);
    sandbox.run(&["--pull", "never", "--image", &tag, "true"]).output().code(0);
    sandbox.call(&["image", "prune", "--all"]).output().code(0);
    assert_eq!(large(&sandbox), 0);
    let outcome = sandbox.call(&["image", "list"]).output();
    assert!(!outcome.code(0).stdout().contains("box"), "{}", outcome.text());
    sandbox.run(&["--image", &tag, "true"]).output().code(0);
}
