//! `list`: the extensions of a host, used or left out and why.

use std::io::{self, Write};

use clap::Args;
use confext_ddi::policy::Evidence;
use confext_ddi::release::Class;
use serde::Serialize;

use super::failure::Failure;
use super::host;
use super::output::{Output, View};
use super::text::Clean;
use crate::admission::OnBad;
use crate::discover::{Candidate, Rejection, Severity};
use crate::stack;

/// Lists the extensions of a host that a merge would use, and what it would leave out, with the reason.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    stack: host::StackArguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let (host, mut options) = arguments.stack.open()?;
    options.on_bad = OnBad::Skip;
    let selection = stack::select(&host, arguments.stack.class, &options)?;
    let used = selection.extensions.iter();
    output.answer(&Listing {
        root: host.path().display().to_string(),
        class: arguments.stack.class,
        extensions: used
            .map(|extension| Used { candidate: extension.candidate(), evidence: extension.evidence() })
            .collect(),
        refused: &selection.refused,
    })
}

#[derive(Serialize)]
struct Listing<'a> {
    root: String,
    class: Class,
    extensions: Vec<Used<'a>>,
    refused: &'a [Rejection],
}

#[derive(Serialize)]
struct Used<'a> {
    #[serde(flatten)]
    candidate: &'a Candidate,
    evidence: &'a Evidence,
}

impl View for Listing<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.extensions.is_empty() {
            writeln!(out, "no {} for this host", self.class)?;
        }
        for Used { candidate, evidence } in &self.extensions {
            let path = candidate.path.to_string_lossy();
            writeln!(out, "{}{}", Clean(&candidate.name), version(candidate.version.as_deref()))?;
            writeln!(out, "  from     {}", Clean(&path))?;
            match evidence {
                Evidence::None => writeln!(out, "  checked  nothing")?,
                Evidence::Verity { root_hash } => {
                    writeln!(out, "  checked  root hash {root_hash}, no signature")?
                }
                Evidence::Signed { root_hash, by } => {
                    writeln!(out, "  checked  root hash {root_hash}")?;
                    writeln!(out, "           signed by {}", Clean(&by.subject))?;
                }
            }
        }
        write_refused(self.refused, out)
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
        let word = match rejection.severity {
            Severity::Ignored => "ignored",
            Severity::Refused => "refused",
        };
        writeln!(out, "{word} {}", Clean(&rejection.path.to_string_lossy()))?;
        writeln!(out, "  reason   [{}] {}", rejection.code, Clean(&rejection.message))?;
        writeln!(out, "  hint     {}", rejection.hint)?;
    }
    Ok(())
}
