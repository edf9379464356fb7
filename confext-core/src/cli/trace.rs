//! `trace`: where a path comes from, and who signed it.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use confext_ddi::Limits;

use super::failure::Failure;
use super::host;
use super::list::version;
use super::output::{Output, View};
use super::text::Clean;
use crate::state::Checked;
use crate::trace::{Answer, Origin, Presence, Shadow, Source, Unknown, trace};

/// Says which extension a path comes from, from which image, who signed it, and what it shadows.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The path, inside the root directory.
    path: PathBuf,
    #[command(flatten)]
    host: host::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let host = arguments.host.open()?;
    output.answer(&trace(&host, &arguments.path, &Limits::default())?)
}

impl View for Origin {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let path = self.path.to_string_lossy();
        let path = Clean(&path);
        match &self.answer {
            Answer::Absent => writeln!(out, "{path}: there is nothing"),
            Answer::NotMerged => writeln!(out, "{path}: from the host; nothing is merged here"),
            Answer::Base { .. } => writeln!(out, "{path}: from the host; no extension has it"),
            Answer::Layer { source, shadows, .. } => {
                writeln!(out, "{path}: from an extension")?;
                write_source(source, out)?;
                shadows.iter().try_for_each(|shadow| write_shadow(shadow, out))
            }
            Answer::Directory { sources, base, unknown, .. } => {
                let host = match base {
                    Presence::Present => "the host and",
                    Presence::Absent => "not the host, but",
                    Presence::Unknown => "perhaps the host, and",
                };
                writeln!(out, "{path}: a directory of {host} these extensions, topmost first")?;
                sources.iter().try_for_each(|source| write_source(source, out))?;
                unknown.iter().try_for_each(|unknown| write_unknown(unknown, out))
            }
            Answer::Submount { hierarchy } => {
                writeln!(out, "{path}: from something mounted on top of {hierarchy}")
            }
            Answer::Metadata { hierarchy } => {
                writeln!(out, "{path}: the record of what is merged over {hierarchy}")
            }
            Answer::CannotTell { unknown, because, .. } => {
                writeln!(
                    out,
                    "{path}: cannot tell{}",
                    because.map(|why| format!(": {why}")).unwrap_or_default()
                )?;
                unknown.iter().try_for_each(|unknown| write_unknown(unknown, out))
            }
        }
    }
}

fn write_source(source: &Source, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  extension  {}{}", Clean(&source.layer), version(source.version.as_deref()))?;
    writeln!(out, "  image      {}", Clean(&source.image))?;
    if let Some(partition) = &source.partition {
        let number = partition.number.map(|number| format!("{number}, ")).unwrap_or_default();
        writeln!(out, "  partition  {number}{}", Clean(&partition.designator))?;
    }
    match &source.checked {
        Checked::None => writeln!(out, "  checked    nothing")?,
        Checked::Verity { root_hash } => writeln!(out, "  root hash  {root_hash}, no signature checked")?,
        Checked::Signed { root_hash, by } => {
            writeln!(out, "  root hash  {root_hash}")?;
            writeln!(out, "  signed by  {}", Clean(&by.subject))?;
            writeln!(out, "             certificate {}", Clean(&by.fingerprint))?;
        }
    }
    writeln!(out, "  confirmed  by its {}", source.confirmed_by)
}

fn write_shadow(shadow: &Shadow, out: &mut dyn Write) -> io::Result<()> {
    match shadow {
        Shadow::Layer { source } => writeln!(out, "  shadows    that of extension {}", Clean(&source.layer)),
        Shadow::Unknown { unknown } => write_unknown(unknown, out),
        Shadow::Base => writeln!(out, "  shadows    that of the host"),
        Shadow::BaseUnknown => {
            writeln!(out, "  shadows    perhaps that of the host: only root can look there")
        }
    }
}

fn write_unknown(unknown: &Unknown, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  unknown    {} [{}] {}", Clean(&unknown.layer), unknown.code, Clean(&unknown.reason))
}
