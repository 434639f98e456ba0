//! Images in tars: what `docker save` and `skopeo` write.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "fixture/layout.rs"]
mod layout;
#[path = "fixture/tools.rs"]
mod tools;

use std::path::{Path, PathBuf};

use layout::{Layout, config, gzip, tar};
use microagent_image::{
    Compression, Digest, ErrorKind, Image, ImageError, NoProgress, ResolveOptions, Source, Store,
};
use serde_json::{Value, json};
use tools::has;

/// A tar that is being written.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn add(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.as_ref().len() as u64);
        header.set_mode(0o644);
        self.0.append_data(&mut header, name, content.as_ref()).unwrap();
        self
    }

    fn link(mut self, name: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        self.0.append_link(&mut header, name, target).unwrap();
        self
    }

    fn save(self, dir: &Path) -> PathBuf {
        let path = dir.join("archive.tar");
        std::fs::write(&path, self.0.into_inner().unwrap()).unwrap();
        path
    }
}

fn manifest(layers: &[&str], tags: Value) -> String {
    json!([{"Config": "config.json", "RepoTags": tags, "Layers": layers}]).to_string()
}

fn config_of(layers: &[&str]) -> String {
    let diff_ids: Vec<_> = layers.iter().map(|name| Digest::of(&tar(name)).to_string()).collect();
    config("amd64", &diff_ids).to_string()
}

async fn resolve(dir: &Path, source: &str) -> Result<Image, ImageError> {
    let store = Store::open(&dir.join("images")).unwrap();
    let source: Source = source.parse().unwrap();
    store.resolve(&source, &ResolveOptions::default(), &NoProgress).await
}

fn check_layers(image: &Image, expect: &[(&str, Compression)]) {
    assert_eq!(image.layers.len(), expect.len());
    for (layer, (name, compression)) in image.layers.iter().zip(expect) {
        let packed = match compression {
            Compression::Gzip => gzip(&tar(name)),
            _ => tar(name),
        };
        assert_eq!(std::fs::read(&layer.path).unwrap(), packed);
        assert_eq!(layer.compression, *compression);
        assert_eq!(layer.diff_id, Digest::of(&tar(name)));
    }
}

#[tokio::test]
async fn docker_archives_of_all_ages_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let blob = format!("blobs/sha256/{}", Digest::of(&gzip(&tar("c"))).hex());
    let path = Tar::new()
        .add("1/layer.tar", tar("a"))
        .link("2/layer.tar", "../1/layer.tar")
        .add("3/layer.tar", gzip(&tar("b")))
        .add(&blob, gzip(&tar("c")))
        .add("config.json", config_of(&["a", "a", "b", "c"]))
        .add(
            "manifest.json",
            manifest(&["1/layer.tar", "2/layer.tar", "3/layer.tar", &blob], json!(["x:1"])),
        )
        .save(dir.path());
    let source = format!("docker-archive:{}", path.display());
    let image = resolve(dir.path(), &source).await.unwrap();
    let (none, gz) = (Compression::None, Compression::Gzip);
    check_layers(&image, &[("a", none), ("a", none), ("b", gz), ("c", gz)]);
    let again = resolve(dir.path(), &format!("{source}:docker.io/library/x:1")).await.unwrap();
    assert_eq!(again.digest, image.digest);
    assert!(again.from_cache);
    let error = resolve(dir.path(), &format!("{source}:y")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("x:1"), "{error}");
}

#[tokio::test]
async fn damaged_docker_archives_are_refused() {
    let check = async |tar: Tar, kind: ErrorKind, text: &str| {
        let dir = tempfile::tempdir().unwrap();
        let source = format!("docker-archive:{}", tar.save(dir.path()).display());
        let error = resolve(dir.path(), &source).await.expect_err(text);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "'{text}' in '{error}'");
    };
    use ErrorKind::{Corrupt, NotFound, Usage};
    let one = || Tar::new().add("config.json", config_of(&["a"]));
    let listed = manifest(&["a.tar"], Value::Null);
    check(one(), NotFound, "manifest.json").await;
    check(one().add("manifest.json", "{}"), Corrupt, "manifest.json").await;
    check(one().add("manifest.json", "[]"), Corrupt, "no image").await;
    check(one().add("manifest.json", &listed), Corrupt, "'a.tar' is missing").await;
    let out = manifest(&["../../etc/passwd"], Value::Null);
    check(one().add("manifest.json", out), Corrupt, "is missing").await;
    let link = one().add("manifest.json", &listed).link("a.tar", "../../../etc/passwd");
    check(link, Corrupt, "is missing").await;
    let other = one().add("manifest.json", &listed).add("a.tar", tar("b"));
    check(other, Corrupt, "does not match its digest").await;
    let two = manifest(&["a.tar", "a.tar"], Value::Null);
    let two = one().add("manifest.json", two).add("a.tar", tar("a"));
    check(two, Corrupt, "2 layers and its configuration 1").await;
    let entry = |tag: &str| json!({"Config": "config.json", "RepoTags": [tag], "Layers": []});
    let several = json!([entry("x:1"), entry("y:1")]).to_string();
    check(one().add("manifest.json", several), Usage, "x:1, y:1").await;
}

#[tokio::test]
async fn an_oci_archive_is_a_layout_in_a_tar() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("layout"));
    let descriptor = layout.image("amd64", &["one", "two"]);
    layout.list(descriptor.clone(), Some("v1"));
    let path = dir.path().join("layout.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&path).unwrap());
    builder.append_dir_all(".", &layout.dir).unwrap();
    builder.into_inner().unwrap();
    let source = format!("oci-archive:{}", path.display());
    let image = resolve(dir.path(), &source).await.unwrap();
    assert_eq!(image.digest.as_str(), descriptor["digest"]);
    check_layers(&image, &[("one", Compression::Gzip), ("two", Compression::Gzip)]);
    assert!(resolve(dir.path(), &format!("{source}:v1")).await.unwrap().from_cache);
    // The same blobs by another way: nothing is copied.
    let from_dir = format!("oci:{}", layout.dir.display());
    assert!(resolve(dir.path(), &from_dir).await.unwrap().from_cache);
}

#[tokio::test]
async fn what_skopeo_writes_is_read() {
    if !has("skopeo") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&dir.path().join("layout"));
    let descriptor = layout.image("amd64", &["one", "two"]);
    layout.list(descriptor.clone(), Some("v1"));
    let from = format!("oci:{}:v1", layout.dir.display());
    let convert = |to: &str| {
        let output = std::process::Command::new("skopeo")
            .args(["copy", "--quiet", &from, to])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let docker = format!("docker-archive:{}/docker.tar", dir.path().display());
    convert(&format!("{docker}:team/x:1"));
    let image = resolve(dir.path(), &docker).await.unwrap();
    check_layers(&image, &[("one", Compression::None), ("two", Compression::None)]);
    assert_eq!(image.config.env, ["A=b"]);
    assert_eq!(
        resolve(dir.path(), &format!("{docker}:team/x:1")).await.unwrap().digest,
        image.digest
    );
    let archive = format!("oci-archive:{}/oci.tar", dir.path().display());
    convert(&format!("{archive}:v1"));
    let image = resolve(dir.path(), &archive).await.unwrap();
    assert_eq!(image.digest.as_str(), descriptor["digest"]);
    check_layers(&image, &[("one", Compression::Gzip), ("two", Compression::Gzip)]);
}
