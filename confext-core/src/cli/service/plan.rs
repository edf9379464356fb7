//! `service plan`: what the extensions of a service change in its view, path by path

use std::io::{self, Write};

use clap::Args;
use confext_ddi::unit::Covered;
use serde::Serialize;

use super::super::failure::Failure;
use super::super::list::show_refused;
use super::super::output::{Output, View};
use super::super::plan::write_changes;
use super::super::table::Paper;
use super::super::text::Clean;
use super::asked;
use crate::service::stack::{self, Preview};

/// Shows what the extensions of a service change in its view, path by path, and what speaks against it. Changes nothing.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    service: asked::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let asked = arguments.service.open()?;
    let preview = stack::plan(&asked.host, asked.root.as_ref(), &asked.extensions, &asked.options)?;
    let preview = preview.with_mounts(&asked.covered);
    output.answer(&Answer { unit: arguments.service.unit.clone(), preview })
}

/// What the unit mounts over paths of extensions.
pub(super) fn write_covered(covered: &[Covered], out: &mut dyn Write) -> io::Result<()> {
    for mount in covered {
        let (path, key, place) = (Clean(&mount.path), Clean(&mount.key), mount.place.to_string());
        let what = if mount.is_whole() { "mounted, or the extensions are" } else { "covered" };
        writeln!(out, "{path}: {what}, by {key}= ({})", Clean(&place))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Answer {
    unit: String,
    #[serde(flatten)]
    preview: Preview,
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
        if self.preview.plans.is_empty() {
            writeln!(out, "{}: no extension has files for it", Clean(&self.unit))?;
        }
        for plan in &self.preview.plans {
            write_changes(plan, paper, out)?;
        }
        write_covered(&self.preview.covered, out)?;
        if let Some(refusal) = &self.preview.refusal {
            writeln!(out, "the service would not have these extensions: [{}]", refusal.code)?;
        }
        let refused = self.preview.refused.iter().filter(|bad| bad.code != "version-outranked");
        show_refused(refused, paper, out)
    }
}
