//! What an independent unpacker makes of an image.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command::run;

/// Copies `tag` of the layout in `path` with skopeo, unpacks it with umoci, runs `script` in
/// the tree and writes what it prints to `out`. Needs root, for owners and devices.
pub(crate) fn write(path: &Path, tag: &str, script: &str, out: &Path) {
    let scratch = tempfile::tempdir().expect("make a temporary directory");
    let copy = scratch.path().join("copy");
    let from = format!("oci:{}:{tag}", path.display());
    let to = format!("oci:{}:{tag}", copy.display());
    run(Command::new("skopeo").args(["--insecure-policy", "copy", "-q", &from, &to]));
    let bundle = scratch.path().join("bundle");
    let image = format!("{}:{tag}", copy.display());
    run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle));
    let tree = bundle.join("rootfs");
    let listing = run(Command::new("/bin/sh").args(["-c", script]).current_dir(tree));
    fs::write(out, listing).expect("write the reference");
}
