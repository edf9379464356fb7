//! `explain`: why an extension of a name is used, or why it is not

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use super::exit::{DONE, IMAGE};
use super::failure::Failure;
use super::host;
use super::list::{merged_word, version};
use super::output::{Output, View};
use super::plan::write_veto;
use super::style::{BAD, END, GOOD};
use super::table::{Cell, Column, Paper, Table};
use super::text::Clean;
use crate::discover::SearchState;
use crate::explain::{Explained, Explanation, Fault, Place, Reason, Verdict, explain};
use crate::state::Checked;

/// Says whether an extension would be used and where in the stack, or why not: every entry of its name in all search
/// directories. Ends with 0 when it would be used, with 1 when not.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    preview: host::PreviewArguments,
    /// The extension's name, without version and endings.
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    let (host, class, options) = arguments.preview.open()?;
    let explanation = explain(&host, class, &arguments.name, &options)?;
    let used = explanation.verdict == Verdict::Used;
    output.answer(&Answer { root: host.path().display().to_string(), explanation })?;
    Ok(if used { DONE } else { IMAGE })
}

#[derive(Serialize)]
struct Answer {
    root: String,
    #[serde(flatten)]
    explanation: Explanation,
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
        let Explanation { class, name, verdict, refusal, searched, entries, near, .. } = &self.explanation;
        let name = Clean(name);
        match (verdict, refusal) {
            (Verdict::Used, _) => writeln!(out, "{class} {name} {GOOD}is used{END}")?,
            (Verdict::NotUsed, _) => writeln!(out, "{class} {name} {BAD}is not used{END}")?,
            (Verdict::Unknown, _) => writeln!(out, "{BAD}no {class}{END} is called {name}")?,
            (Verdict::Refused, _) => {
                writeln!(out, "{class} {name} would be used, but {BAD}nothing is merged{END}")?
            }
        }
        if let Some(refusal) = refusal {
            writeln!(out, "{BAD}a merge ends with an error{END}")?;
            writeln!(out, "  reason   [{}] {}", refusal.code, Clean(&refusal.message))?;
            writeln!(out, "  hint     {}", refusal.hint)?;
        }
        for entry in entries {
            write_entry(entry, out)?;
        }
        let mut table =
            Table::new(paper, [Column::new("STATE").piped(8, " "), Column::new("DIRECTORY").wrap()]);
        for directory in searched {
            let state = match directory.state {
                SearchState::Listed => "searched",
                SearchState::Missing => "missing",
            };
            table.row([state.into(), Cell::new(directory.path)], out)?;
        }
        table.end(out)?;
        for near in near {
            writeln!(out, "near     {} ({})", Clean(&near.name), near.class)?;
        }
        Ok(())
    }
}

fn write_entry(entry: &Explained, out: &mut dyn Write) -> io::Result<()> {
    let version = version(entry.version.as_deref());
    writeln!(out, "{}{version}", Clean(&entry.entry.to_string_lossy()))?;
    if let Some(path) = entry.path.as_ref().filter(|path| **path != entry.entry) {
        writeln!(out, "  leads to {}", Clean(&path.to_string_lossy()))?;
    }
    write_reason(&entry.reason, out)?;
    if let Reason::Used(place) = &entry.reason {
        write_merged(place, out)?;
    }
    for passed_over in &entry.passed_over {
        writeln!(out, "  passed over {}", Clean(&passed_over.path.to_string_lossy()))?;
        write_fault(passed_over, out)?;
    }
    Ok(())
}

/// What becomes of an entry, and why.
pub(super) fn write_reason(reason: &Reason, out: &mut dyn Write) -> io::Result<()> {
    match reason {
        Reason::Used(place) => write_place(place, out)?,
        Reason::Vetoed { vetoes } => {
            writeln!(out, "  not used: something speaks against it")?;
            for veto in vetoes {
                write_veto(veto, out)?;
            }
        }
        Reason::Shadowed { by } => {
            writeln!(out, "  not used: {} comes first", Clean(&by.to_string_lossy()))?;
        }
        Reason::Masked => writeln!(out, "  not used: an empty directory masks the name")?,
        Reason::OtherHost { field, fault } => {
            writeln!(out, "  not used: it is for another host, says {field}")?;
            write_fault(fault, out)?;
        }
        Reason::NotAnExtension { fault } => {
            writeln!(out, "  not used: it is no extension")?;
            write_fault(fault, out)?;
        }
        Reason::Refused { fault } => {
            writeln!(out, "  not used: something is wrong with it")?;
            write_fault(fault, out)?;
        }
        Reason::Undecided { fault } => {
            writeln!(out, "  decided when it is mounted: only the kernel can read it")?;
            write_fault(fault, out)?;
        }
    }
    Ok(())
}

fn write_place(place: &Place, out: &mut dyn Write) -> io::Result<()> {
    let names = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    writeln!(out, "  used     {} of {} from the bottom", place.position, place.of)?;
    writeln!(out, "  merges   {}", names(&place.hierarchies))?;
    writeln!(out, "  above    {}", Clean(&names(&place.above)))?;
    writeln!(out, "  below    {}", Clean(&names(&place.below)))?;
    match &place.checked {
        Checked::None => writeln!(out, "  checked  nothing")?,
        Checked::Verity { root_hash } => writeln!(out, "  checked  root hash {root_hash}, no signature")?,
        Checked::Signed { root_hash, by } => {
            writeln!(out, "  checked  root hash {root_hash}, signed by {}", Clean(&by.subject))?;
        }
    }
    Ok(())
}

fn write_merged(place: &Place, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  merged   {}", merged_word(place.merged))
}

pub(super) fn write_fault(fault: &Fault, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "    reason [{}] {}", fault.code, Clean(&fault.message))?;
    writeln!(out, "    hint   {}", fault.hint)
}
