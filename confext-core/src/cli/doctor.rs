//! `doctor`: what this machine can do and what it cannot, and why

use std::io::{self, Write};
use std::time::SystemTime;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::exit::{DONE, HOST};
use super::failure::Failure;
use super::host;
use super::output::{Output, View};
use super::style::{BAD, DOUBT, END, GOOD};
use super::table::{Cell, Column, Paper, Table};
use super::text::Clean;
use crate::doctor::{self, Item, Report, State};

/// Says what this machine and this process can do for extensions and what they cannot, why, and what to do about it.
///
/// Changes nothing, and loads no module of the kernel.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
    /// Ends with 3 when one of these items is neither there nor loaded on demand.
    #[arg(long, value_name = "ITEM", value_delimiter = ',', value_parser = items(), hide_possible_values = true)]
    require: Vec<String>,
}

fn items() -> PossibleValuesParser {
    PossibleValuesParser::new(doctor::ids())
}

/// Returns the exit status.
pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    let host = arguments.host.open()?;
    let report = doctor::report(&host, SystemTime::now());
    let met = |id: &str| report.items.iter().any(|item| item.id == id && item.state.is_usable());
    let unmet: Vec<String> = arguments.require.iter().filter(|id| !met(id)).cloned().collect();
    let status = if unmet.is_empty() { DONE } else { HOST };
    output.answer(&Answer { root: host.path().display().to_string(), report, unmet })?;
    Ok(status)
}

#[derive(Serialize)]
struct Answer {
    root: String,
    #[serde(flatten)]
    report: Report,
    unmet: Vec<String>,
}

const COLUMNS: [Column; 3] =
    [Column::new("STATE").piped(13, "  "), Column::new("ITEM").piped(26, " "), Column::new("WHY").wrap()];

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
        writeln!(out, "kernel {}", Clean(self.report.kernel.as_deref().unwrap_or("unknown")))?;
        let mut table = Table::new(paper, COLUMNS);
        for Item { id, state, why, advice, needed_for } in &self.report.items {
            let state = Cell::coloured(colour(*state), state.as_str());
            table.row([state, Cell::new(id), Cell::new(Clean(why))], out)?;
            if let Some(advice) = advice {
                let advice = format!("{} (for {})", Clean(advice), needed_for.join(", "));
                table.note("                   ", advice, out)?;
            }
        }
        table.end(out)?;
        if !self.unmet.is_empty() {
            writeln!(out, "{BAD}required, and cannot be used{END}: {}", self.unmet.join(", "))?;
        }
        Ok(())
    }
}

const fn colour(state: State) -> &'static str {
    match state {
        State::Yes | State::OnDemand => GOOD,
        State::No => BAD,
        State::NotPermitted | State::Unknown => DOUBT,
    }
}
