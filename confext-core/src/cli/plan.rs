//! `plan`: what a merge would change, and what speaks against it.

use std::io::{self, Write};

use clap::Args;
use confext_ddi::fs::FileType;
use serde::Serialize;

use super::failure::Failure;
use super::host;
use super::list::show_refused;
use super::merge::write_after;
use super::output::{Output, View};
use super::status::write_mutable;
use super::style::{BAD, DOUBT, END, GOOD};
use super::table::{Cell, Column, Paper, Table};
use super::text::{Clean, Path};
use crate::discover::Severity;
use crate::plan::{Attributes, Change, Effect, Fate, LayerChange, Plan, Veto};
use crate::stack;

/// Shows what a merge would change, path by path, and what speaks against it. Changes nothing.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    preview: host::PreviewArguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let (host, class, options) = arguments.preview.open()?;
    let plan = stack::plan(&host, class, &options)?;
    output.answer(&Preview { root: host.path().display().to_string(), plan })
}

#[derive(Serialize)]
struct Preview {
    root: String,
    #[serde(flatten)]
    plan: Plan,
}

impl View for Preview {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write(Paper::Pipe, out)
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        self.write(Paper::Screen { columns }, out)
    }
}

impl Preview {
    fn write(&self, paper: Paper, out: &mut dyn Write) -> io::Result<()> {
        if self.plan.hierarchies.is_empty() {
            writeln!(out, "{}: nothing would be merged", self.plan.class)?;
        }
        for change in &self.plan.layer_changes {
            write_layer_change(change, out)?;
        }
        write_changes(&self.plan, paper, out)?;
        write_after(&self.plan.after, out)?;
        if let Some(refusal) = &self.plan.refusal {
            writeln!(out, "{BAD}a merge ends with an error and changes nothing{END}: [{}]", refusal.code)?;
        }
        let bad = self.plan.refused.iter().filter(|rejection| rejection.severity == Severity::Refused);
        show_refused(bad, paper, out)
    }
}

/// What would be different, path by path, and what speaks against it.
pub(super) fn write_changes(plan: &Plan, paper: Paper, out: &mut dyn Write) -> io::Result<()> {
    for hierarchy in &plan.hierarchies {
        let (path, class, layers) = (hierarchy.path, plan.class, hierarchy.layers.join(", "));
        match hierarchy.layers.is_empty() {
            true => writeln!(out, "{path}: merged without a {class}")?,
            false => writeln!(out, "{path}: {class} of {}, bottom first", Clean(&layers))?,
        }
        write_mutable(&hierarchy.mutable, out)?;
        let mut table = Table::new(paper, COLUMNS);
        for change in &hierarchy.changes {
            table.row(row(hierarchy.path, change), out)?;
        }
        table.end(out)?;
    }
    for veto in &plan.vetoes {
        write_veto(veto, out)?;
    }
    Ok(())
}

/// Something that speaks against an extension.
pub(super) fn write_veto(veto: &Veto, out: &mut dyn Write) -> io::Result<()> {
    let allowed = if veto.allowed { ", allowed" } else { "" };
    writeln!(out, "{BAD}objection{END} [{}] to {}{allowed}", veto.kind.code(), Clean(&veto.layer))?;
    writeln!(out, "  path     {}/{}", veto.hierarchy, Path(&veto.path))?;
    writeln!(out, "  reason   found {}, expected {}", Clean(&veto.found), Clean(&veto.expected))
}

/// What becomes of an extension.
fn write_layer_change(change: &LayerChange, out: &mut dyn Write) -> io::Result<()> {
    let name = Clean(&change.name);
    match change.fate {
        Fate::Added => writeln!(out, "{name}: new"),
        Fate::Removed => writeln!(out, "{name}: would go"),
        Fate::Replaced { test } => writeln!(out, "{name}: another one is merged: its {test} differs"),
        Fate::Rechecked => writeln!(out, "{name}: merged, but checked differently, or from elsewhere"),
        Fate::Kept { test } => writeln!(out, "{name}: merged: same {test}"),
        Fate::Unknown => writeln!(out, "{name}: one of this name is merged, by another program"),
    }
}

/// Those of paths that would be different.
const COLUMNS: [Column; 4] = [
    Column::new("CHANGE").before("  ").piped(20, " "),
    Column::new("PATH").wrap(),
    Column::new("BY").before(" by ").cut(),
    Column::new("WHAT").before(": ").wrap(),
];

fn row(hierarchy: &str, change: &Change) -> [Cell; 4] {
    let slash = if change.file_type == FileType::Directory { "/" } else { "" };
    let path = format!("{hierarchy}/{}{slash}", Path(&change.path));
    let (colour, effect) = match &change.effect {
        Effect::Added => (GOOD, "added"),
        Effect::Shadowed => (DOUBT, "replaced"),
        Effect::TypeChanged { .. } => (DOUBT, "changes type"),
        Effect::AttributesChanged { .. } => (DOUBT, "other owner or mode"),
        Effect::Hidden => (BAD, "taken away"),
        Effect::Opaque => (BAD, "hides what is below"),
    };
    let what = match &change.effect {
        Effect::TypeChanged { found } => {
            format!("{} becomes {}", found.as_str(), change.file_type.as_str())
        }
        Effect::AttributesChanged { found, becomes } => {
            format!("{} becomes {}", attributes(*found), attributes(*becomes))
        }
        _ => String::new(),
    };
    [Cell::coloured(colour, effect), path.into(), Cell::new(Clean(&change.layer)), what.into()]
}

fn attributes(attributes: Attributes) -> String {
    format!("{:04o} {}:{}", attributes.mode, attributes.uid, attributes.gid)
}
