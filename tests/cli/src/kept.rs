//! A workspace of a test's own.

use crate::images::Busybox;
use crate::{Invocation, Sandbox};

/// A sandbox with one workspace in it, which is removed at the end.
#[derive(Debug)]
pub struct Kept {
    /// Where it is.
    pub sandbox: Sandbox,
    /// Its name.
    pub name: String,
}

impl Kept {
    /// Creates one of an image, with these flags.
    pub fn new(image: &Busybox, more: &[&str]) -> Option<Self> {
        let sandbox = Sandbox::new()?;
        let name = sandbox.new_name();
        let kept = Self { sandbox, name };
        let image = image.reference("plain");
        let outcome = kept.of("create", &["--image", &image, "--name"]).args(more).output();
        outcome.code(0).prints(&format!("{}\n", kept.name));
        Some(kept)
    }

    /// A call about it; its name comes last.
    pub fn of(&self, command: &str, before: &[&str]) -> Invocation {
        self.sandbox.call(&[command]).args(before).args(&[&self.name])
    }

    /// A command in it.
    pub fn exec(&self, words: &[&str]) -> Invocation {
        self.of("exec", &[]).args(words)
    }

    /// Where it is in its life.
    pub fn state(&self) -> String {
        let object = self.of("status", &["--json"]).output().code(0).json();
        object["state"].as_str().unwrap().to_owned()
    }

    /// What a command about it says to programs.
    pub fn json(&self, command: &str) -> serde_json::Value {
        self.of(command, &["--json"]).output().code(0).json()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.of("delete", &["--force"]).output().code(0);
        }
    }
}
