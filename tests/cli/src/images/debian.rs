//! A Debian, made with mmdebstrap, and two layers on top of it that hold what is rare.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::debian_layers::{changes, rarities};
use super::reference;
use crate::command::run;
use crate::oci::{Blob, Compression, Config, Layout};
use crate::requirement::{root, tools};
use crate::{cache, listing};

/// The image, and what umoci makes of it.
#[derive(Debug)]
pub struct Debian {
    path: PathBuf,
}

const TAG: &str = "debian";

/// What is in it beyond the smallest Debian that has apt.
const PACKAGES: &str = "--include=libcap2-bin,attr,util-linux";

/// What nobody reads in a test.
const LEFT_OUT: [&str; 4] =
    ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"];

impl Debian {
    /// A reference to it. It says `USER app` and `WORKDIR /home/app`, and has no command.
    pub fn reference(&self) -> String {
        format!("oci:{}:{TAG}", self.layout().display())
    }

    /// The directory of its layout.
    pub fn layout(&self) -> PathBuf {
        self.path.join("layout")
    }

    /// What [`listing::GNU`] prints in the tree that umoci unpacks.
    ///
    /// # Panics
    /// Where the cache has been tampered with.
    pub fn expected(&self) -> String {
        fs::read_to_string(self.path.join("reference")).expect("the maker writes it")
    }
}

/// The image, made if need be, which takes a minute. `None`, with a visible reason, without
/// the tools or root.
pub fn debian() -> Option<&'static Debian> {
    static MADE: OnceLock<Debian> = OnceLock::new();
    if let Some(path) = cache::given(TAG) {
        return Some(MADE.get_or_init(|| Debian { path }));
    }
    let needed =
        ["mmdebstrap", "skopeo", "umoci", "getfattr", "setfattr", "setcap", "tar", "apt-get"];
    if !tools(&needed) || !root() {
        return None;
    }
    Some(MADE.get_or_init(|| {
        let base = cache::made(
            "bootstrapped",
            &[PACKAGES, &LEFT_OUT.join(" "), &release(), &mirror().unwrap_or_default()],
            |path| bootstrap(&path.join("base.tar")),
        );
        let base_name = base.display().to_string();
        let sources = [include_str!("debian.rs"), include_str!("debian_layers.rs")];
        let inputs = [sources[0], sources[1], listing::GNU, &base_name];
        Debian { path: cache::made(TAG, &inputs, |path| make(path, &base.join("base.tar"))) }
    }))
}

fn make(path: &Path, base: &Path) {
    let base = fs::read(base).expect("read the base");
    let layers = [
        Blob::pack(&base, Compression::Gzip),
        Blob::pack(&rarities(&base), Compression::Gzip),
        Blob::pack(&crate::images::debian_layers::made_by_tar(), Compression::None),
        changes().pack(Compression::Gzip),
    ];
    let config = Config {
        user: "app".to_owned(),
        workdir: "/home/app".to_owned(),
        env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(), "LANG=C.UTF-8".to_owned()],
        ..Config::default()
    };
    let layout = path.join("layout");
    Layout::create(&layout).add(TAG, &config, &layers.each_ref());
    reference::write(&layout, TAG, listing::GNU, &path.join("reference"));
}

fn bootstrap(out: &Path) {
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--mode=root", "--variant=minbase", PACKAGES]);
    command.args(LEFT_OUT.map(|glob| format!("--dpkgopt=path-exclude={glob}")));
    command.arg(release()).arg(out).args(mirror());
    run(&mut command);
}

/// The release of this machine: its sources and its keys are here.
fn release() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("VERSION_CODENAME="));
    lines.next().unwrap_or("stable").trim_matches('"').to_owned()
}

/// Where this machine gets that release from; mmdebstrap knows one by itself.
fn mirror() -> Option<String> {
    let format = ["indextargets", "--format", "$(REPO_URI)"];
    let filter = [format!("Codename: {}", release()), "Component: main".to_owned()];
    let targets = run(Command::new("apt-get").args(format).args(filter));
    String::from_utf8_lossy(&targets).lines().next().map(str::to_owned)
}
