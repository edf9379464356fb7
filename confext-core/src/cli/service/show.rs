//! `service show`: what a unit says of its extensions, and where

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::host;
use crate::cli::output::{Output, View};
use crate::cli::table::{Cell, Column, Paper, Table};
use crate::cli::text::Clean;
use crate::service::Unit;
use confext_ddi::unit::{EntryKind, IfMissing, RefreshOnReload, Root};

/// Says which extensions a unit has by its settings, where each setting is from, and how the unit reloads.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The unit; without a type it is a service.
    unit: String,
    #[command(flatten)]
    host: host::Arguments,
    /// Asks the running service manager instead of reading files.
    #[arg(long, conflicts_with = "root")]
    live: bool,
    /// How long to wait for the manager, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "live")]
    wait: u64,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let unit = if arguments.live {
        Unit::live(&arguments.unit, Duration::from_secs(arguments.wait))?
    } else {
        Unit::read(&arguments.host.open()?, &arguments.unit)?
    };
    output.answer(&unit)
}

impl View for Unit {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        write_unit(self, Paper::Pipe, out)
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        write_unit(self, Paper::Screen { columns }, out)
    }
}

/// Those of what it has.
const HAS: [Column; 2] = [Column::new("WHAT").before("  ").piped(10, " "), Column::new("VALUE").wrap()];

/// Those of settings.
const SETTINGS: [Column; 2] =
    [Column::new("PLACE").before("  ").wrap(), Column::new("SETTING").before(": ").wrap()];

fn write_unit(unit: &Unit, paper: Paper, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", unit.name)?;
    let mut table = Table::new(paper, HAS);
    let mut has =
        |what: &str, value: String, out: &mut dyn Write| table.row([what.into(), value.into()], out);
    for alias in &unit.aliases {
        has("also", alias.to_string(), out)?;
    }
    for file in &unit.files {
        has("file", Clean(file).to_string(), out)?;
    }
    match &unit.service.root {
        Root::Host => {}
        Root::Directory(path) => has("root", Clean(path).to_string(), out)?,
        Root::Image(path) => has("root", format!("image {}", Clean(path)), out)?,
    }
    let extensions = &unit.service.extensions;
    for entry in extensions.bottom_first() {
        let kind = match entry.kind {
            EntryKind::Image => "image",
            EntryKind::Directory => "directory",
        };
        let may_miss = match entry.if_missing {
            IfMissing::Refuse => "",
            IfMissing::Skip => ", left out where it is missing",
        };
        has(kind, format!("{}{may_miss}", Clean(&entry.path)), out)?;
    }
    if let Some(policy) = &extensions.policy {
        has("policy", policy.to_string(), out)?;
    }
    if extensions.refresh_on_reload != RefreshOnReload::Default {
        has("refreshes", extensions.refresh_on_reload.to_string(), out)?;
    }
    for covered in &unit.service.covered {
        let (key, place) = (Clean(&covered.key), covered.place.to_string());
        has("covered", format!("{} by {key}= ({})", Clean(&covered.path), Clean(&place)), out)?;
    }
    table.end(out)?;
    let mut table = Table::new(paper, SETTINGS);
    for setting in &unit.settings {
        let place = setting.place.to_string();
        let setting_text = format!("{}={}", Clean(&setting.key), Clean(&setting.value));
        table.row([Cell::new(Clean(&place)), setting_text.into()], out)?;
    }
    table.end(out)?;
    let Some(running) = &unit.running else { return Ok(()) };
    let mut table = Table::new(paper, HAS);
    let outdated = if running.is_outdated { ", its files changed meanwhile" } else { "" };
    let state = format!("{} ({}){outdated}", Clean(&running.active), Clean(&running.sub));
    table.row(["state".into(), state.into()], out)?;
    if let Some(pid) = running.main_pid {
        table.row(["process".into(), Cell::new(pid)], out)?;
    }
    table.end(out)
}
