//! Pulling from a real registry: Debian's `docker-registry` on loopback, filled by `skopeo`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "fixture/layout.rs"]
mod layout;
#[path = "fixture/tools.rs"]
mod tools;

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use layout::{Layout, on};
use microagent_image::{
    Compression, ErrorKind, Image, ImageError, NoProgress, Progress, PullPolicy, ResolveOptions,
    Source, Store,
};
use serde_json::Value;
use tools::has;

const READY: Duration = Duration::from_secs(20);

/// `user` and the password `secret`, as the registry wants to have them.
const PASSWORDS: &str = "user:$2b$05$MQ7QepJQ3wEXYLksRiTgo.NUlrSXdR6zn2IjqA.vDupDjyKYX26e.\n";
/// `user:secret` and `user:wrong`, as files of credentials have them.
const GOOD: &str = "dXNlcjpzZWNyZXQ=";
const WRONG: &str = "dXNlcjp3cm9uZw==";

/// A registry that ends with the test.
struct Registry {
    child: Child,
    dir: tempfile::TempDir,
    address: String,
}

impl Registry {
    /// `None`, with the reason on stderr, if this machine lacks the tools.
    fn start() -> Option<Self> {
        let has_all = ["docker-registry", "skopeo"].into_iter().all(has);
        has_all.then(|| Self::serve(tempfile::tempdir().unwrap(), "", ""))
    }

    /// One that speaks TLS only and wants to know its user.
    fn start_private() -> Option<Self> {
        if !["docker-registry", "skopeo", "openssl"].into_iter().all(has) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "2", "-subj", "/CN=registry"]);
        command.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
        // Without this it is a certificate authority, which no server may be.
        command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]).arg(&key);
        let output = command.arg("-out").arg(&cert).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let passwords = dir.path().join("passwords");
        std::fs::write(&passwords, PASSWORDS).unwrap();
        let tls = format!(", tls: {{certificate: {}, key: {}}}", cert.display(), key.display());
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", passwords.display());
        Some(Self::serve(dir, &tls, &auth))
    }

    fn serve(dir: tempfile::TempDir, tls: &str, auth: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = dir.path().join("config.yml");
        let root = dir.path().join("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'{tls}}}\n{auth}",
            root.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        let command = command.arg("serve").arg(&config).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut registry = Self { child, dir, address };
        registry.await_ready();
        registry
    }

    fn await_ready(&mut self) {
        let deadline = Instant::now() + READY;
        while TcpStream::connect(&self.address).is_err() {
            assert!(Instant::now() < deadline, "the registry does not listen");
            assert!(self.child.try_wait().unwrap().is_none(), "the registry has ended");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn push(&self, layout: &Layout, tag: &str, all: bool) {
        let mut command = Command::new("skopeo");
        command.args(["copy", "--quiet", "--dest-tls-verify=false"]);
        command.args(["--dest-creds", "user:secret"]);
        if all {
            command.arg("--all");
        }
        let from = format!("oci:{}:{tag}", layout.dir.display());
        let to = format!("docker://{}/team/x:{tag}", self.address);
        let output = command.args([from, to]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn reference(&self, version: &str) -> String {
        format!("{}/team/x{version}", self.address)
    }

    /// Where the registry keeps a blob.
    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let storage = self.dir.path().join("registry/docker/registry/v2/blobs/sha256");
        storage.join(&hex[..2]).join(hex).join("data")
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn resolve(store: &Store, source: &str, pull: PullPolicy) -> Result<Image, ImageError> {
    let source: Source = source.parse().unwrap();
    let options = ResolveOptions { pull, ..ResolveOptions::default() };
    store.resolve(&source, &options, &NoProgress).await
}

fn open(dir: &Path, name: &str) -> Store {
    Store::open(&dir.join(name)).unwrap()
}

fn image(registry: &Registry) -> (Layout, Value) {
    let mut layout = Layout::new(&registry.dir.path().join("layout"));
    let descriptor = layout.image("amd64", &["one", "two", "three", "four", "five", "six"]);
    layout.list(descriptor.clone(), Some("v1"));
    registry.push(&layout, "v1", false);
    (layout, descriptor)
}

#[tokio::test]
async fn an_image_is_pulled_once_and_then_needs_no_registry() {
    let Some(mut registry) = Registry::start() else { return };
    let (layout, descriptor) = image(&registry);
    let dir = registry.dir.path().to_owned();
    let store = open(&dir, "images");
    let (missing, never) = (PullPolicy::Missing, PullPolicy::Never);
    let tagged = registry.reference(":v1");
    let error = resolve(&store, &tagged, never).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(&tagged), "{error}");

    let pulled = resolve(&store, &tagged, missing).await.unwrap();
    assert!(!pulled.from_cache);
    assert_eq!(pulled.digest.as_str(), descriptor["digest"]);
    assert_eq!(pulled.reference, tagged);
    let layers = layout.read(&descriptor)["layers"].clone();
    for (layer, expect) in pulled.layers.iter().zip(layers.as_array().unwrap()) {
        assert_eq!(layer.digest.as_str(), expect["digest"]);
        assert_eq!(layer.compression, Compression::Gzip);
        assert_eq!(
            std::fs::read(&layer.path).unwrap(),
            std::fs::read(layout.content(expect)).unwrap()
        );
    }

    let pinned = registry.reference(&format!("@{}", pulled.digest));
    let by_digest = resolve(&open(&dir, "other"), &pinned, missing).await.unwrap();
    assert!(!by_digest.from_cache);
    assert_eq!(by_digest.digest, pulled.digest);
    let always = resolve(&store, &tagged, PullPolicy::Always).await.unwrap();
    assert!(!always.from_cache);

    let error = resolve(&store, &registry.reference(":v2"), missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains(&registry.reference(":v2")), "{error}");

    registry.kill();
    let started = Instant::now();
    for source in [&tagged, &pinned] {
        for pull in [missing, never] {
            let cached = resolve(&store, source, pull).await.unwrap();
            assert!(cached.from_cache);
            assert_eq!((&cached.digest, &cached.layers), (&pulled.digest, &pulled.layers));
        }
    }
    eprintln!("warm: {:?} each", started.elapsed() / 4);
    let error = resolve(&store, &tagged, PullPolicy::Always).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert!(error.to_string().contains(&registry.address), "{error}");
}

#[tokio::test]
async fn the_platform_is_chosen_from_an_index() {
    let Some(registry) = Registry::start() else { return };
    let mut layout = Layout::new(&registry.dir.path().join("layout"));
    let amd64 = on(layout.image("amd64", &["amd64"]), "linux/amd64");
    let arm64 = on(layout.image("arm64", &["arm64"]), "linux/arm64");
    let both = layout.index(&[arm64.clone(), amd64.clone()]);
    let foreign = layout.index(&[arm64]);
    layout.list(both.clone(), Some("both"));
    layout.list(foreign, Some("foreign"));
    registry.push(&layout, "both", true);
    registry.push(&layout, "foreign", true);
    let store = open(registry.dir.path(), "images");
    let missing = PullPolicy::Missing;
    let image = resolve(&store, &registry.reference(":both"), missing).await.unwrap();
    assert_eq!(image.digest.as_str(), amd64["digest"]);
    // The index's digest leads to the same image, without asking again.
    let pinned = registry.reference(&format!("@{}", both["digest"].as_str().unwrap()));
    assert!(resolve(&store, &pinned, PullPolicy::Never).await.unwrap().from_cache);
    let error = resolve(&store, &registry.reference(":foreign"), missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("no linux/amd64 variant; it has linux/arm64"), "{error}");
}

#[tokio::test]
async fn what_was_tampered_with_in_the_registry_is_refused() {
    let Some(registry) = Registry::start() else { return };
    let (layout, descriptor) = image(&registry);
    let manifest = layout.read(&descriptor);
    let victims = [&manifest["layers"][2], &manifest["config"], &descriptor];
    for (at, victim) in victims.into_iter().enumerate() {
        let path = registry.blob(victim["digest"].as_str().unwrap());
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[10] ^= 1;
        for (how, content) in [("flipped", &flipped[..]), ("shorter", &whole[..whole.len() - 1])] {
            std::fs::write(&path, content).unwrap();
            let store = open(registry.dir.path(), &format!("images-{at}-{how}"));
            let source = match at {
                // By its tag there is nothing to compare a manifest with but itself.
                2 => registry.reference(&format!("@{}", victim["digest"].as_str().unwrap())),
                _ => registry.reference(":v1"),
            };
            let error = resolve(&store, &source, PullPolicy::Missing).await.unwrap_err();
            eprintln!("{at} {how}: {error}");
            // A registry may itself refuse what does not match any more.
            let refused = [ErrorKind::Corrupt, ErrorKind::NotFound, ErrorKind::Network];
            assert!(refused.contains(&error.kind()), "{error}");
            assert!(at == 2 || error.kind() == ErrorKind::Corrupt, "{error}");
            assert_eq!(store.list().unwrap(), []);
        }
        std::fs::write(&path, &whole).unwrap();
    }
}

/// Remembers what it heard.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn resolving(&self, reference: &str) {
        self.0.lock().unwrap().push(format!("resolving {reference}"));
    }

    fn layer(&self, digest: &str, done: u64, total: Option<u64>) {
        if Some(done) == total {
            self.0.lock().unwrap().push(format!("all of {digest}"));
        }
    }

    fn layer_done(&self, digest: &str) {
        self.0.lock().unwrap().push(format!("done {digest}"));
    }
}

#[tokio::test]
async fn progress_is_told_layer_by_layer() {
    let Some(registry) = Registry::start() else { return };
    let (layout, descriptor) = image(&registry);
    let store = open(registry.dir.path(), "images");
    let source: Source = registry.reference(":v1").parse().unwrap();
    let heard = Heard::default();
    store.resolve(&source, &ResolveOptions::default(), &heard).await.unwrap();
    let heard = heard.0.into_inner().unwrap();
    assert_eq!(heard[0], format!("resolving {source}"));
    for layer in layout.read(&descriptor)["layers"].as_array().unwrap() {
        let digest = layer["digest"].as_str().unwrap();
        for line in [format!("all of {digest}"), format!("done {digest}")] {
            assert!(heard.contains(&line), "{line} in {heard:?}");
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_a_network_error() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), "images");
    let source = format!("127.0.0.1:{port}/x");
    let error = resolve(&store, &source, PullPolicy::Missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert!(error.hint().is_some());
}

/// Where the second half of the next test finds its registry.
const ADDRESS: &str = "MICROAGENT_TEST_REGISTRY";

#[test]
fn a_private_registry_is_reached_by_tls_with_the_right_password() {
    let Some(registry) = Registry::start_private() else { return };
    image(&registry);
    let auth = registry.dir.path().join("auth.json");
    let cert = registry.dir.path().join("cert.pem");
    let run = |credentials: &str, expect: &str| {
        let json = format!(r#"{{"auths":{{"{}":{{"auth":"{credentials}"}}}}}}"#, registry.address);
        std::fs::write(&auth, if credentials.is_empty() { "{}" } else { &json }).unwrap();
        // Another process, because the environment of this one is not to be changed.
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "pull_from_the_private_registry", "--ignored", "--nocapture"]);
        command.env("REGISTRY_AUTH_FILE", &auth).env("SSL_CERT_FILE", &cert);
        // A proxy is not for loopback.
        command.env("HTTP_PROXY", "http://127.0.0.1:1").env("HTTPS_PROXY", "http://127.0.0.1:1");
        let output = command.env(ADDRESS, &registry.address).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(expect), "'{expect}' in {text}");
    };
    run(GOOD, "pulled 6 layers");
    run(WRONG, "Denied");
    run("", "Denied");
    std::fs::remove_file(&cert).unwrap();
    run(GOOD, "Network");
}

#[tokio::test]
#[ignore = "the half of another test that runs in an environment of its own"]
async fn pull_from_the_private_registry() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), "images");
    match resolve(&store, &format!("{address}/team/x:v1"), PullPolicy::Missing).await {
        Ok(image) => eprintln!("pulled {} layers", image.layers.len()),
        Err(error) => eprintln!("{:?}: {error}: {error:?}", error.kind()),
    }
}
