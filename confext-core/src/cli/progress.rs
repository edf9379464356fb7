//! How far long work is, on a terminal.

use std::io::Write as _;

use super::output::Output;

/// A line on standard error that is written again and again.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    enabled: bool,
    shown: Option<u64>,
}

impl Progress {
    pub(super) fn new(what: &'static str, output: &Output) -> Self {
        Self { what, enabled: output.wants_progress(), shown: None }
    }

    /// Says how far it is; writes only when the percentage is another one.
    pub(super) fn show(&mut self, done_bytes: u64, total_bytes: u64) {
        let percent = done_bytes.saturating_mul(100).checked_div(total_bytes).unwrap_or(100);
        if self.enabled && self.shown != Some(percent) {
            self.shown = Some(percent);
            // Nobody is told when this cannot be written: it is not the result.
            let _ = write!(std::io::stderr(), "\r{}: {percent} %", self.what);
        }
    }

    /// Removes the line.
    pub(super) fn finish(self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
