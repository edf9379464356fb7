//! `list`: the extensions of a host, used or left out and why.

use std::io::{self, Write};

use clap::Args;
use confext_ddi::release::Class;
use serde::Serialize;

use super::failure::Failure;
use super::host;
use super::output::{Output, View};
use super::style::{BAD, DOUBT, END, GOOD, NAME};
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
            let merged = match merged {
                Merged::No => "no",
                Merged::Other => "another one of this name",
                Merged::Yes => "yes",
                Merged::Unknown => "one of this name, by another program",
            };
            writeln!(out, "  merged   {merged}")?;
        }
        write_refused(&self.listing.refused, out)
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
        let (colour, word) = match rejection.severity {
            Severity::Ignored => (DOUBT, "ignored"),
            Severity::Refused => (BAD, "refused"),
        };
        writeln!(out, "{colour}{word}{END} {}", Clean(&rejection.path.to_string_lossy()))?;
        writeln!(out, "  reason   [{}] {}", rejection.code, Clean(&rejection.message))?;
        writeln!(out, "  hint     {}", rejection.hint)?;
    }
    Ok(())
}
