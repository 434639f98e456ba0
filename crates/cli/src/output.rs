//! Standard output and the log.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Table, presets};
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::args::Global;
use crate::terminal;

/// Prints one JSON object and a newline. That nobody reads it is no failure.
pub(crate) fn print_json(value: &impl Serialize) {
    let mut stdout = io::stdout().lock();
    let _ = serde_json::to_writer_pretty(&mut stdout, value);
    let _ = writeln!(stdout);
}

/// Prints text. That nobody reads it is no failure.
pub(crate) fn print(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Prints text on standard error, below what is there, be the terminal raw or not. That nobody
/// reads it is no failure.
pub(crate) fn say(text: &str) {
    let mut stderr = anstream::stderr();
    let _ = match terminal::is_taken() {
        true => write!(stderr, "{}\r\n", text.replace('\n', "\r\n")),
        false => writeln!(stderr, "{text}"),
    };
}

/// A table without lines, for people and for `awk` alike.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table.add_rows(rows);
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Whether standard error shows colours, and its reader wants them.
fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Log on standard error: nothing but errors, all that explains with `--verbose`, and
/// whatever `MICROAGENT_LOG` asks for, whose language takes time to set up.
pub(crate) fn start_logging(global: &Global) {
    let level = if global.verbose { LevelFilter::INFO } else { LevelFilter::ERROR };
    let log = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(colours())
        .with_target(false)
        .without_time();
    match EnvFilter::try_from_env("MICROAGENT_LOG") {
        Ok(filter) => log.with_env_filter(filter).init(),
        Err(_) => log.with_max_level(level).init(),
    }
}

/// What a stranger chose, an image's names or a guest's words, without what a terminal obeys.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
