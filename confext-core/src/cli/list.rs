//! `list`: the extensions of a host, used or left out and why.

use std::io::{self, Write};

use clap::Args;
use confext_ddi::release::Class;
use serde::Serialize;

use super::failure::Failure;
use super::host;
use super::output::{Output, View};
use super::style::{BAD, DOUBT, END, GOOD, NAME};
use super::table::{Cell, Column, Paper, Table};
use super::text::Clean;
use crate::discover::{Rejection, Severity};
use crate::stack::{self, Listed, Listing, Merged};
use crate::state::Checked;

/// Lists the extensions of a host that a merge would use, and what it would leave out, with the reason.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    class: host::ClassArgument,
    #[command(flatten)]
    stack: host::StackArguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let class = arguments.class.class;
    let (host, options) = arguments.stack.open(class)?;
    let listing = stack::list(&host, class, &options)?;
    output.answer(&Answer { root: host.path().display().to_string(), class, listing })
}

#[derive(Serialize)]
struct Answer {
    root: String,
    class: Class,
    #[serde(flatten)]
    listing: Listing,
}

impl View for Answer {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.listing.extensions.is_empty() {
            writeln!(out, "no {} for this host", self.class)?;
        }
        for Listed { layer, merged, .. } in &self.listing.extensions {
            writeln!(out, "{NAME}{}{END}{}", Clean(&layer.name), version(layer.version.as_deref()))?;
            writeln!(out, "  from     {}", Clean(&layer.path))?;
            match &layer.checked {
                Checked::None => writeln!(out, "  checked  {DOUBT}nothing{END}")?,
                Checked::Verity { root_hash } => {
                    writeln!(out, "  checked  root hash {root_hash}, {DOUBT}no signature{END}")?
                }
                Checked::Signed { root_hash, by } => {
                    writeln!(out, "  checked  root hash {root_hash}")?;
                    writeln!(out, "           {GOOD}signed{END} by {}", Clean(&by.subject))?;
                }
            }
            writeln!(out, "  merged   {}", merged_word(*merged))?;
        }
        write_refused(&self.listing.refused, out)
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        let paper = Paper::Screen { columns };
        if self.listing.extensions.is_empty() {
            writeln!(out, "no {} for this host", self.class)?;
        }
        let mut table = Table::new(paper, COLUMNS);
        for Listed { layer, merged, .. } in &self.listing.extensions {
            let (checked, signer) = checked(&layer.checked);
            let root_hash = layer.checked.root_hash().map(ToString::to_string).unwrap_or_default();
            let cells = [
                Cell::coloured(NAME, Clean(&layer.name)),
                Cell::new(Clean(layer.version.as_deref().unwrap_or_default())),
                checked,
                signer,
                merged_word(*merged).into(),
                Cell::new(Clean(&layer.path)),
                root_hash.into(),
            ];
            table.row(cells, out)?;
        }
        table.end(out)?;
        show_refused(&self.listing.refused, paper, out)
    }
}

/// Those of extensions.
const COLUMNS: [Column; 7] = [
    Column::new("NAME").wrap(),
    Column::new("VERSION").wrap(),
    Column::new("CHECKED"),
    Column::new("SIGNED BY").wrap(),
    Column::new("MERGED").wrap(),
    Column::new("FROM").wrap(),
    Column::new("ROOT HASH").cut(),
];

/// What was checked of an extension, and whose signature.
pub(super) fn checked(checked: &Checked) -> (Cell, Cell) {
    match checked {
        Checked::None => (Cell::coloured(DOUBT, "nothing"), "".into()),
        Checked::Verity { .. } => (Cell::coloured(DOUBT, "no signature"), "".into()),
        Checked::Signed { by, .. } => (Cell::coloured(GOOD, "signed"), Cell::new(Clean(&by.subject))),
    }
}

/// Whether it is merged, as a word.
pub(super) const fn merged_word(merged: Merged) -> &'static str {
    match merged {
        Merged::No => "no",
        Merged::Other => "another one of this name",
        Merged::Yes => "yes",
        Merged::Unknown => "one of this name, by another program",
    }
}

/// What is left out, and why: in a pipe below one another, on a terminal in rows.
pub(super) fn show_refused<'a>(
    refused: impl IntoIterator<Item = &'a Rejection>,
    paper: Paper,
    out: &mut dyn Write,
) -> io::Result<()> {
    if paper == Paper::Pipe {
        return write_refused(refused, out);
    }
    let columns = [Column::new("NOT USED"), Column::new("ENTRY").wrap(), Column::new("WHY").wrap()];
    let mut table = Table::new(paper, columns);
    for rejection in refused {
        let (colour, word) = severity(rejection.severity);
        let why = format!("[{}] {}", rejection.code, Clean(&rejection.message));
        let entry = Cell::new(Clean(&rejection.path.to_string_lossy()));
        table.row([Cell::coloured(colour, word), entry, why.into()], out)?;
        table.note("", rejection.hint, out)?;
    }
    table.end(out)
}

const fn severity(severity: Severity) -> (&'static str, &'static str) {
    match severity {
        Severity::Ignored => (DOUBT, "ignored"),
        Severity::Refused => (BAD, "refused"),
    }
}

/// A version as it follows a name.
pub(super) fn version(version: Option<&str>) -> String {
    version.map(|version| format!(" version {}", Clean(version))).unwrap_or_default()
}

/// What is left out, and why.
pub(super) fn write_refused<'a>(
    refused: impl IntoIterator<Item = &'a Rejection>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for rejection in refused {
        let (colour, word) = severity(rejection.severity);
        writeln!(out, "{colour}{word}{END} {}", Clean(&rejection.path.to_string_lossy()))?;
        writeln!(out, "  reason   [{}] {}", rejection.code, Clean(&rejection.message))?;
        writeln!(out, "  hint     {}", rejection.hint)?;
    }
    Ok(())
}
