//! Busybox with the program `vsock` of the guest's half of tests.

use std::fs;
use std::path::Path;

use crate::images::base_layer;
use crate::oci::{Compression, Config, Entry, Layout};
use crate::requirement::{missing, tools};

/// Makes the image in a new directory and gives its reference. `None`, with a visible reason,
/// where busybox or the program is missing.
///
/// # Panics
/// Where the directory cannot be written.
pub fn caller(path: &Path) -> Option<String> {
    if !tools(&["busybox"]) {
        return None;
    }
    let program = match microagent_tests_guest::program() {
        Ok(program) => fs::read(program).expect("read what was built"),
        Err(why) => {
            missing("guest", &why);
            return None;
        }
    };
    let mut layer = base_layer();
    layer.add(&Entry::file("bin/vsock", program).mode(0o755));
    let env = vec!["PATH=/bin:/usr/bin".to_owned()];
    let config = Config { cmd: vec!["sh".to_owned()], env, ..Config::default() };
    let mut layout = Layout::create(path);
    layout.add("caller", &config, &[&layer.pack(Compression::None)]);
    Some(layout.reference("caller"))
}
