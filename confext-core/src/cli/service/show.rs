//! `service show`: what a unit says of its extensions, and where

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::host;
use crate::cli::output::{Output, View};
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
        writeln!(out, "{}", self.name)?;
        for alias in &self.aliases {
            writeln!(out, "  also       {alias}")?;
        }
        for file in &self.files {
            writeln!(out, "  file       {}", Clean(file))?;
        }
        match &self.service.root {
            Root::Host => {}
            Root::Directory(path) => writeln!(out, "  root       {}", Clean(path))?,
            Root::Image(path) => writeln!(out, "  root       image {}", Clean(path))?,
        }
        let extensions = &self.service.extensions;
        for entry in extensions.bottom_first() {
            let kind = match entry.kind {
                EntryKind::Image => "image",
                EntryKind::Directory => "directory",
            };
            let may_miss = match entry.if_missing {
                IfMissing::Refuse => "",
                IfMissing::Skip => ", left out where it is missing",
            };
            writeln!(out, "  {kind:<10} {}{may_miss}", Clean(&entry.path))?;
        }
        if let Some(policy) = &extensions.policy {
            writeln!(out, "  policy     {policy}")?;
        }
        if extensions.refresh_on_reload != RefreshOnReload::Default {
            writeln!(out, "  refreshes  {}", extensions.refresh_on_reload)?;
        }
        for covered in &self.service.covered {
            let (key, place) = (Clean(&covered.key), covered.place.to_string());
            writeln!(out, "  covered    {} by {key}= ({})", Clean(&covered.path), Clean(&place))?;
        }
        for setting in &self.settings {
            let place = setting.place.to_string();
            writeln!(out, "  {}: {}={}", Clean(&place), Clean(&setting.key), Clean(&setting.value))?;
        }
        match &self.running {
            Some(running) => {
                let outdated = if running.is_outdated { ", its files changed meanwhile" } else { "" };
                writeln!(out, "  state      {} ({}){outdated}", Clean(&running.active), Clean(&running.sub))?;
                running.main_pid.map_or(Ok(()), |pid| writeln!(out, "  process    {pid}"))
            }
            None => Ok(()),
        }
    }
}
