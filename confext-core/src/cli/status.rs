//! `status`: what is merged.

use std::io::{self, Write};

use clap::Args;
use confext_ddi::release::Class;
use confext_ddi::signature::Time;
use serde::Serialize;

use super::failure::Failure;
use super::host;
use super::merge::show_layers;
use super::output::{Output, View};
use super::style::{DOUBT, END};
use super::table::Paper;
use super::text::Clean;
use crate::state::{self, Execution, HierarchyState, Mutable, Status, Writes};

/// Shows what is merged over the directories of a host, and whether the mounts are what was written down.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Which extensions: confext (/etc) or sysext (/usr and /opt). Without it, both.
    #[arg(long, value_parser = super::class())]
    class: Option<Class>,
    #[command(flatten)]
    host: host::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let host = arguments.host.open()?;
    let both = [Class::Confext, Class::Sysext];
    let classes = both.into_iter().filter(|class| arguments.class.is_none_or(|wanted| wanted == *class));
    let mut hierarchies = Vec::new();
    for class in classes {
        hierarchies.extend(state::status(&host, class)?);
    }
    output.answer(&Answer { root: host.path().display().to_string(), hierarchies })
}

#[derive(Serialize)]
struct Answer {
    root: String,
    hierarchies: Vec<Status>,
}

impl View for Answer {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write(Paper::Pipe, out)
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        self.write(Paper::Screen { columns }, out)
    }
}

impl Answer {
    fn write(&self, paper: Paper, out: &mut dyn Write) -> io::Result<()> {
        for Status { class, hierarchy, state, .. } in &self.hierarchies {
            match state {
                HierarchyState::Missing => writeln!(out, "{hierarchy}: no such directory")?,
                HierarchyState::Bare => writeln!(out, "{hierarchy}: no {class} merged")?,
                HierarchyState::Merged { extensions, since, record, doubts } => {
                    writeln!(out, "{hierarchy}: {class} merged since {}", Time::from_unix(*since))?;
                    match record {
                        Some(record) => {
                            show_layers(&record.layers, paper, out)?;
                            write_mutable(&record.mutable, out)?;
                            if record.execution != Execution::ByClass {
                                writeln!(out, "  running programs: {}", record.execution.as_str())?;
                            }
                        }
                        None => writeln!(out, "  by another program: {}", Clean(&extensions.join(", ")))?,
                    }
                    for doubt in doubts {
                        let (found, expected) = (Clean(&doubt.found), Clean(&doubt.expected));
                        writeln!(
                            out,
                            "  {DOUBT}doubt{END}: {}: found {found}, expected {expected}",
                            doubt.what
                        )?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where writes go, if they go anywhere.
pub(super) fn write_mutable(mutable: &Mutable, out: &mut dyn Write) -> io::Result<()> {
    match &mutable.writes {
        Writes::Nowhere => {}
        Writes::Directory { path, .. } => writeln!(out, "  writes go to /{}", Clean(path))?,
        Writes::Host { .. } => writeln!(out, "  writes go to the host's own directory, which is on top")?,
        Writes::Memory => writeln!(out, "  writes go to memory")?,
    }
    match &mutable.imported {
        Some(path) => writeln!(out, "  what was written to /{} is seen", Clean(path)),
        None => Ok(()),
    }
}
