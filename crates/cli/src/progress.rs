//! Progress on standard error, on a terminal only.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
pub(crate) use microagent_workspace::ForImages;
use microagent_workspace::Progress;

use crate::args::Global;
use crate::output::say;
use crate::terminal;

/// What is shown while a run goes on.
pub(crate) struct Shown {
    bars: Option<MultiProgress>,
    lines: Mutex<HashMap<String, ProgressBar>>,
    notes: bool,
    /// Whether the terminal is the command's while it runs.
    interactive: bool,
}

impl Shown {
    /// Shows bars where somebody looks: standard error is a terminal and neither `--quiet`
    /// nor `--json` was given.
    pub(crate) fn new(global: &Global) -> Self {
        let shown = std::io::stderr().is_terminal() && !global.quiet && !global.json;
        Self {
            bars: shown.then(MultiProgress::new),
            lines: Mutex::new(HashMap::new()),
            notes: !global.json && !global.quiet,
            interactive: false,
        }
    }

    /// Hands the terminal to the command while it runs.
    pub(crate) fn interactive(mut self, interactive: bool) -> Self {
        self.interactive = interactive;
        self
    }

    fn with_line(&self, key: &str, change: impl FnOnce(&ProgressBar)) {
        let Some(bars) = &self.bars else { return };
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = lines.entry(key.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            bars.add(ProgressBar::new_spinner().with_style(style))
        });
        change(bar);
    }

    fn say(&self, key: &str, text: String) {
        self.with_line(key, |bar| {
            bar.set_message(text);
            bar.tick();
        });
    }

    fn clear(&self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, bar) in lines.drain() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Progress for Shown {
    fn resolving(&self, reference: &str) {
        self.say("step", format!("resolving {reference}"));
    }

    fn layer(&self, digest: &str, done: u64, total: Option<u64>) {
        let short = digest.get(..19).unwrap_or(digest);
        let text = match total {
            Some(total) => format!("{short} {} / {} KiB", done >> 10, total >> 10),
            None => format!("{short} {} KiB", done >> 10),
        };
        self.say(digest, text);
    }

    fn layer_done(&self, digest: &str) {
        let short = digest.get(..19).unwrap_or(digest);
        self.say(digest, format!("{short} done"));
    }

    fn building_rootfs(&self, reference: &str) {
        self.say("step", format!("building the root disk of {reference}"));
    }

    fn bundling(&self, disk: &str) {
        self.say("step", format!("packing disk {disk}"));
    }

    fn booting(&self, backend: &str) {
        self.say("step", format!("booting on {backend}"));
    }

    fn setting_up(&self, number: usize, line: &str) {
        self.say("step", format!("setup {number}: {line}"));
    }

    fn running(&self) {
        self.clear();
        if self.interactive
            && let Err(error) = terminal::take()
        {
            say(&format!("the terminal cannot be made raw: {error}"));
        }
    }

    fn ended(&self) {
        terminal::give_back();
    }

    fn note(&self, text: &str) {
        if self.notes {
            say(text);
        }
    }

    fn console(&self, text: &[u8]) {
        let mut stderr = std::io::stderr().lock();
        for line in String::from_utf8_lossy(text).lines() {
            let line: String = line.chars().filter(|c| !c.is_control()).collect();
            let _ = writeln!(stderr, "console: {line}");
        }
    }
}
