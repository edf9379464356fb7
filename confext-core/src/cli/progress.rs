//! How far long work is, on a terminal.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::output::Output;

/// A line on standard error that is written again and again, by whichever thread has news.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    enabled: bool,
    done_bytes: AtomicU64,
    /// One more than the percentage that is shown; 0 for none.
    shown: AtomicU64,
}

impl Progress {
    pub(super) fn new(what: &'static str, output: &Output) -> Self {
        let (done_bytes, shown) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { what, enabled: output.wants_progress(), done_bytes, shown }
    }

    /// Says how far it is; writes only when it is further by a percentage.
    pub(super) fn show(&self, done_bytes: u64, total_bytes: u64) {
        if !self.enabled {
            return;
        }
        let percent = done_bytes.saturating_mul(100).checked_div(total_bytes).unwrap_or(100).min(100);
        if self.shown.fetch_max(percent.saturating_add(1), Ordering::Relaxed) <= percent {
            // Nobody is told when this cannot be written: it is not the result.
            let _ = std::io::stderr().write_all(line(self.what, percent).as_bytes());
        }
    }

    /// Says that so much more is done.
    pub(super) fn add(&self, bytes: u64, total_bytes: u64) {
        let before = self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.show(before.saturating_add(bytes), total_bytes);
    }

    /// Removes the line, until there are news.
    pub(super) fn clear(&self) {
        if self.shown.swap(0, Ordering::Relaxed) != 0 {
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

/// However the work ends, its line goes.
impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

const BAR: &str = "########################";

/// At most 48 columns: on every terminal it is one line.
fn line(what: &str, percent: u64) -> String {
    let width = BAR.len();
    let filled = usize::try_from(percent).unwrap_or(100).saturating_mul(width) / 100;
    format!("\r{what:<10} [{BAR:<width$.filled$}] {percent:>3} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_wide_at_the_end_as_at_the_beginning() {
        assert_eq!(line("checking", 0), "\rchecking   [                        ]   0 %");
        assert_eq!(line("checking", 50), "\rchecking   [############            ]  50 %");
        assert_eq!(line("publishing", 100), "\rpublishing [########################] 100 %");
    }
}
