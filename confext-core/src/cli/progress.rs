//! How far long work is, on a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::output::{Output, columns};
use crate::admission::Watch;

/// A line on standard error that is written again and again, by whichever thread has news.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    enabled: bool,
    /// Whether text for the same terminal is printed meanwhile.
    shares_its_terminal: bool,
    done_bytes: AtomicU64,
    /// One more than the percentage that is shown; 0 for none.
    shown: AtomicU64,
    visible: AtomicBool,
}

impl Progress {
    pub(super) fn new(what: &'static str, output: &Output) -> Self {
        let (done_bytes, shown) = (AtomicU64::new(0), AtomicU64::new(0));
        let enabled = output.wants_progress();
        Self { what, enabled, shares_its_terminal: false, done_bytes, shown, visible: AtomicBool::new(false) }
    }

    /// For work that prints its answer meanwhile. Nothing is shown where that goes to a pipe: who reads it may write to the same
    /// terminal.
    pub(super) fn while_printing(what: &'static str, output: &Output) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let is_file = rustix::fs::fstat(io::stdout().as_fd())
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file());
        let mut this = Self::new(what, output);
        this.enabled &= is_terminal || is_file;
        this.shares_its_terminal = is_terminal;
        this
    }

    /// Has it show how far the images of a stack are; with the next stack it begins anew.
    pub(super) fn watch(self: &Arc<Self>) -> Watch {
        self.watch_until(|| false)
    }

    /// The same for who may end it.
    pub(super) fn watch_until(
        self: &Arc<Self>,
        has_enough: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Watch {
        let this = Arc::clone(self);
        Watch::new(move |at| {
            if has_enough() {
                return ControlFlow::Break(());
            }
            this.show(at.done_bytes, at.total_bytes);
            if at.done_bytes == at.total_bytes {
                this.clear();
            }
            ControlFlow::Continue(())
        })
    }

    /// Whether its line has to go before something is printed.
    pub(super) const fn shares_its_terminal(&self) -> bool {
        self.shares_its_terminal
    }

    /// Says how far it is; writes only when it is further by a percentage.
    pub(super) fn show(&self, done_bytes: u64, total_bytes: u64) {
        if !self.enabled {
            return;
        }
        let percent = percent(done_bytes, total_bytes);
        if self.shown.fetch_max(percent.saturating_add(1), Ordering::Relaxed) <= percent {
            // Each time anew: terminals change.
            let Some(line) = line(self.what, percent, columns(io::stderr())) else { return self.hide() };
            // Nobody is told when this cannot be written: it is not the result. A longer line of before goes.
            let _ = io::stderr().write_all(format!("\r{line}\x1b[K").as_bytes());
            self.visible.store(true, Ordering::Relaxed);
        }
    }

    /// Whether [`show`](Self::show) would write.
    pub(super) fn is_news(&self, done_bytes: u64, total_bytes: u64) -> bool {
        self.enabled && self.shown.load(Ordering::Relaxed) <= percent(done_bytes, total_bytes)
    }

    /// Says that so much more is done.
    pub(super) fn add(&self, bytes: u64, total_bytes: u64) {
        let before = self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.show(before.saturating_add(bytes), total_bytes);
    }

    /// Removes the line, until it is further.
    pub(super) fn hide(&self) {
        if self.visible.swap(false, Ordering::Relaxed) {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }

    /// Removes the line, until there are news.
    pub(super) fn clear(&self) {
        self.hide();
        self.shown.store(0, Ordering::Relaxed);
    }
}

/// However the work ends, its line goes.
impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How much of all that is.
fn percent(done: u64, total: u64) -> u64 {
    done.saturating_mul(100).checked_div(total).unwrap_or(100).min(100)
}

const BAR: &str = "########################";
/// A bar of less says nothing.
const SHORTEST: usize = 4;

/// One line, and shorter than the terminal is wide: in its last column some terminals begin the next one. `None` where not even
/// the percentage has room.
fn line(what: &str, percent: u64, columns: usize) -> Option<String> {
    let room = columns.saturating_sub(1);
    let around = format!("{what:<10} [] {percent:>3} %").len();
    let width = room.saturating_sub(around).min(BAR.len());
    let filled = usize::try_from(percent).unwrap_or(100).saturating_mul(width) / 100;
    let forms = [
        format!("{what:<10} [{BAR:<width$.filled$}] {percent:>3} %"),
        format!("{what} {percent:>3} %"),
        format!("{percent:>3} %"),
    ];
    let forms = forms.into_iter().skip(usize::from(width < SHORTEST));
    forms.into_iter().find(|form| form.len() <= room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_wide_at_the_end_as_at_the_beginning() {
        let line = |what, percent| line(what, percent, 80).unwrap();
        assert_eq!(line("checking", 0), "checking   [                        ]   0 %");
        assert_eq!(line("checking", 50), "checking   [############            ]  50 %");
        assert_eq!(line("publishing", 100), "publishing [########################] 100 %");
    }

    #[test]
    fn a_narrow_terminal_gets_a_shorter_line_or_none() {
        for (columns, expected) in [
            (44, Some("checking   [############            ]  50 %")),
            (43, Some("checking   [###########            ]  50 %")),
            (25, Some("checking   [##   ]  50 %")),
            (24, Some("checking   [##  ]  50 %")),
            (23, Some("checking  50 %")),
            (15, Some("checking  50 %")),
            (14, Some(" 50 %")),
            (6, Some(" 50 %")),
            (5, None),
            (0, None),
        ] {
            assert_eq!(line("checking", 50, columns).as_deref(), expected, "{columns}");
        }
        for columns in 0..100 {
            let lines =
                [0, 7, 50, 100].map(|percent| line("publishing", percent, columns).map(|it| it.len()));
            assert!(lines.iter().all(|width| *width == lines[0] && width.unwrap_or(0) <= 43), "{columns}");
            assert!(lines[0].is_none_or(|width| width < columns), "{columns}");
        }
    }
}
