//! When each step of the way to a command was done, for those who measure.
//!
//! `MICROAGENT_TIMELINE=1` on the kernel's command line, which hands unknown settings to
//! init as environment, prints it on the console when the machine ends.

use std::fmt::Write;

use rustix::time::{ClockId, clock_gettime};

use crate::console::say;

const VARIABLE: &str = "MICROAGENT_TIMELINE";
/// Later marks are dropped: the way to the first commands is what is looked at.
const MAX_MARKS: usize = 64;

/// Marks in order of time; empty unless asked for.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    marks: Option<Vec<Mark>>,
}

#[derive(Debug)]
struct Mark {
    what: &'static str,
    /// Since the kernel's clock started.
    microseconds: i64,
}

impl Timeline {
    /// Begins with the mark `agent`, if the environment asks for a timeline.
    pub(crate) fn begin() -> Self {
        let marks = std::env::var_os(VARIABLE).map(|_| Vec::with_capacity(MAX_MARKS));
        let mut timeline = Self { marks };
        timeline.mark("agent");
        timeline
    }

    pub(crate) fn mark(&mut self, what: &'static str) {
        if let Some(marks) = self.marks.as_mut().filter(|marks| marks.len() < MAX_MARKS) {
            let now = clock_gettime(ClockId::Monotonic);
            let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
            marks.push(Mark { what, microseconds });
        }
    }

    /// One line: every mark with its time, and the time since the one before, in
    /// microseconds.
    pub(crate) fn print(&self) {
        let Some(marks) = &self.marks else { return };
        let mut line = "timeline".to_owned();
        let mut last = marks.first().map_or(0, |mark| mark.microseconds);
        for mark in marks {
            let since = mark.microseconds - last;
            let _ = write!(line, " {}={}(+{since})", mark.what, mark.microseconds);
            last = mark.microseconds;
        }
        say(line);
    }
}
