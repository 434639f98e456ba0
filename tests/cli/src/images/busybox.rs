//! A small image of Debian's `busybox-static`, in several configurations.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::cache;
use crate::command::run;
use crate::oci::{Blob, Compression, Config, Entry, Layer, Layout};
use crate::requirement::{find, tools};

/// The image.
#[derive(Debug)]
pub struct Busybox {
    path: PathBuf,
}

impl Busybox {
    /// A reference to one of its configurations, a tag of the layout: `plain` (`PATH` and
    /// `sh`), `bare` (says nothing at all), `entry` (an entrypoint with default arguments),
    /// `dressed` (user `app`, working directory, environment), `zstd`, `tar`.
    pub fn reference(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.path.display())
    }

    /// The directory of the layout.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The image, made if need be. `None`, with a visible reason, without busybox.
pub fn busybox() -> Option<&'static Busybox> {
    static MADE: OnceLock<Busybox> = OnceLock::new();
    if let Some(path) = cache::given("busybox") {
        return Some(MADE.get_or_init(|| Busybox { path }));
    }
    if !tools(&["busybox", "dpkg-query"]) {
        return None;
    }
    Some(MADE.get_or_init(|| {
        let version = run(Command::new("dpkg-query").args(["-W", "busybox-static"]));
        let version = String::from_utf8_lossy(&version).into_owned();
        let path = cache::made("busybox", &[include_str!("busybox.rs"), &version], make);
        Busybox { path }
    }))
}

/// The layer that everything of this image is in.
///
/// # Panics
/// Where busybox is not installed.
pub fn base_layer() -> Layer {
    let program = find("busybox").expect("the caller has looked for it");
    let list = run(Command::new(&program).arg("--list"));
    let list = String::from_utf8_lossy(&list).into_owned();
    let dirs = ["bin", "etc", "home", "root", "usr", "usr/bin", "var"].map(Entry::dir);
    let mut layer = Layer::of(dirs);
    layer.add(&Entry::dir("tmp").mode(0o1777));
    layer.add(&Entry::dir("home/app").owner(1000, 1000).mode(0o750));
    let program = fs::read(program).expect("read busybox");
    layer.add(&Entry::file("bin/busybox", program).mode(0o755));
    for applet in list.lines().filter(|applet| *applet != "busybox") {
        layer.add(&Entry::symlink(format!("bin/{applet}"), "busybox"));
    }
    layer.add(&Entry::symlink("usr/bin/env", "../../bin/busybox"));
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
    layer.add(&Entry::file("etc/passwd", passwd));
    let group = "root:x:0:\nwheel:x:10:app\napp:x:1000:\nother:x:2000:\n";
    layer.add(&Entry::file("etc/group", group));
    layer.add(&Entry::file("bin/not-executable", "#!/bin/sh\n"));
    layer
}

fn make(path: &Path) {
    let layer = base_layer();
    let gzip = layer.pack(Compression::Gzip);
    let mut layout = Layout::create(path);
    for (tag, config) in configurations() {
        layout.add(tag, &config, &[&gzip]);
    }
    let mut packed = |tag: &str, blob: &Blob| layout.add(tag, &plain(), &[blob]);
    packed("zstd", &layer.pack(Compression::Zstd));
    packed("tar", &layer.pack(Compression::None));
}

fn configurations() -> [(&'static str, Config); 4] {
    let entry =
        Config { entrypoint: words("/bin/echo entry"), cmd: words("default arguments"), ..plain() };
    let dressed = Config {
        cmd: words("sh -c env"),
        env: words("PATH=/bin:/usr/bin FROM=image BOTH=image"),
        user: "app".to_owned(),
        workdir: "/made/for/this".to_owned(),
        ..Config::default()
    };
    [("plain", plain()), ("bare", Config::default()), ("entry", entry), ("dressed", dressed)]
}

fn plain() -> Config {
    Config { cmd: words("sh"), env: words("PATH=/bin:/usr/bin"), ..Config::default() }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}
