//! `merge`, `refresh`, `unmerge`: a stack is put in place, exchanged, taken away.

use std::io::{self, Write};

use clap::Args;
use confext_ddi::release::Class;

use super::failure::Failure;
use super::host;
use super::list::{version, write_refused};
use super::output::{Output, View};
use super::text::Clean;
use crate::admission::Options;
use crate::discover::Severity;
use crate::refresh::refresh as exchange;
use crate::stack;
use crate::stack::{Change, Outcome, Report};
use crate::state::{Checked, Layer};

/// Merges the extensions of a host over its directories.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct MergeArguments {
    #[command(flatten)]
    merge: host::MergeArguments,
}

/// Makes what is merged what should be merged; a stack is replaced without a moment in which files are missing.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct RefreshArguments {
    #[command(flatten)]
    merge: host::MergeArguments,
}

/// Takes away what is merged.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct UnmergeArguments {
    /// Which extensions: confext (/etc) or sysext (/usr and /opt).
    #[arg(long, default_value = "confext", value_parser = super::class)]
    class: Class,
    #[command(flatten)]
    host: host::Arguments,
}

pub(super) fn merge(arguments: &MergeArguments, output: &Output) -> Result<(), Failure> {
    let (host, options) = arguments.merge.open()?;
    output.summary(&stack::merge(&host, arguments.merge.stack.class, &options)?)
}

pub(super) fn refresh(arguments: &RefreshArguments, output: &Output) -> Result<(), Failure> {
    let (host, options) = arguments.merge.open()?;
    output.summary(&exchange(&host, arguments.merge.stack.class, &options)?)
}

pub(super) fn unmerge(arguments: &UnmergeArguments, output: &Output) -> Result<(), Failure> {
    let host = arguments.host.open()?;
    output.summary(&stack::unmerge(&host, arguments.class, &Options::default())?)
}

impl View for Report {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let class = self.class;
        match &self.outcome {
            Outcome::Merged => writeln!(out, "{class} merged over {}", self.hierarchies.join(", "))?,
            Outcome::Refreshed { because } => {
                writeln!(out, "{class} over {} replaced, because", self.hierarchies.join(", "))?;
                for change in because {
                    writeln!(out, "  - {}", Clean(&reason(change)))?;
                }
            }
            Outcome::Unchanged { decided_by } => {
                writeln!(out, "{class} over {}: nothing has changed", self.hierarchies.join(", "))?;
                for test in decided_by {
                    writeln!(out, "  - {}: same {}", Clean(&test.name), test.test)?;
                }
            }
            Outcome::Unmerged => writeln!(out, "{class} unmerged")?,
            Outcome::Nothing => writeln!(out, "{class}: nothing to do")?,
        }
        for layer in &self.layers {
            write_layer(layer, out)?;
        }
        // What is left out as intended is for list to show.
        let bad = self.refused.iter().filter(|rejection| rejection.severity == Severity::Refused);
        write_refused(bad, out)
    }
}

fn reason(change: &Change) -> String {
    match change {
        Change::Added { name } => format!("{name} is new"),
        Change::Removed { name } => format!("{name} is gone"),
        Change::Replaced { name, test } => format!("{name} is another one: its {test} differs"),
        Change::Rechecked { name } => format!("{name} was checked differently, or is elsewhere"),
        Change::Policy { found, expected } => format!("the policy was {found} and is {expected}"),
        Change::Hierarchy { hierarchy } => format!("{hierarchy} is not merged as it should be"),
        Change::Unknown => "another program merged it".to_owned(),
        Change::Asked => "it was asked for".to_owned(),
    }
}

/// One extension of a stack.
pub(super) fn write_layer(layer: &Layer, out: &mut dyn Write) -> io::Result<()> {
    let signer = match &layer.checked {
        Checked::None => "not checked".to_owned(),
        Checked::Verity { .. } => "checked, no signature".to_owned(),
        Checked::Signed { by, .. } => format!("signed by {}", by.subject),
    };
    let (name, version) = (Clean(&layer.name), version(layer.version.as_deref()));
    writeln!(out, "  {name}{version} from {}, {}", Clean(&layer.path), Clean(&signer))
}
