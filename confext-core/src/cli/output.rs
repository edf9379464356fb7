//! Where results go: text or one JSON document on standard output.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;

use serde::Serialize;

use super::failure::Failure;
use super::table::Paper;

/// A result that can be shown both ways.
pub(super) trait View: Serialize {
    /// Writes it for people, as they read it in a pipe or a file.
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it for a terminal that is so wide: what has rows has them in columns under a header.
    fn screen(&self, out: &mut dyn Write, _columns: usize) -> io::Result<()> {
        self.text(out)
    }
}

/// How this call wants its results.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(super) const fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    pub(super) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether somebody watches who wants to see how far long work is, on what can write a line again.
    pub(super) fn wants_progress(&self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal() && !is_dumb(std::env::var_os("TERM"))
    }

    /// Prints what was asked for.
    pub(super) fn answer(&self, view: &impl View) -> Result<(), Failure> {
        if self.json {
            return self.print(|out| json(view, out));
        }
        self.tell(|out| match paper() {
            Paper::Pipe => view.text(out),
            Paper::Screen { columns } => view.screen(out, columns),
        })
    }

    /// Has `write` print text for people, with its colours where they are wanted: on a terminal that has them, unless the
    /// environment says otherwise.
    pub(super) fn tell(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        let mut out = io::BufWriter::new(anstream::stdout().lock());
        write(&mut out).and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// Has `write` print what was asked for; it knows both ways itself.
    pub(super) fn print(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        write(&mut out).and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// Prints what was done; quiet calls do not want to know, unless as JSON.
    pub(super) fn summary(&self, view: &impl View) -> Result<(), Failure> {
        if self.quiet && !self.json { Ok(()) } else { self.answer(view) }
    }
}

/// What standard output is.
pub(super) fn paper() -> Paper {
    let out = io::stdout();
    if out.is_terminal() { Paper::Screen { columns: columns(out) } } else { Paper::Pipe }
}

/// What terminals have that do not say.
const COLUMNS: usize = 80;

/// How wide a terminal is.
pub(super) fn columns(terminal: impl AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(terminal);
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

/// Whether a terminal of this name does nothing but print.
fn is_dumb(term: Option<OsString>) -> bool {
    term.is_none_or(|term| term.is_empty() || term == "dumb")
}

/// One document and a line break.
pub(super) fn json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")
}

/// One document in one line.
pub(super) fn json_line(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
