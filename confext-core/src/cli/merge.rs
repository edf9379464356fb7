//! `merge`, `refresh`, `unmerge`: a stack is put in place, exchanged, taken away.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use confext_ddi::release::Class;
use rustix::process::{Resource, Rlimit};
use serde::Serialize;

use super::exit::{DONE, NOT_ALL};
use super::failure::Failure;
use super::host::{self, Classes};
use super::list::{checked, version, write_refused};
use super::output::{Output, View};
use super::progress::Progress;
use super::style::{BAD, DOUBT, END, NAME};
use super::table::{Cell, Column, Paper, Table};
use super::text::Clean;
use crate::admission::Options;
use crate::attach::{BlockChecks, CheckedBy, Way};
use crate::consumers::{Action, After, InvalidOf, Work};
use crate::discover::Severity;
use crate::host::Host;
use crate::manager::{Reload, Told};
use crate::stack::{self, Change, Outcome, Report, Verb};
use crate::state::{Checked, Layer};

/// Merges the extensions of a host over its directories.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct MergeArguments {
    #[command(flatten)]
    classes: host::ClassesArgument,
    #[command(flatten)]
    merge: host::MergeArguments,
    #[command(flatten)]
    after: ChangeArguments,
}

/// Makes what is merged what should be merged; a stack is replaced without a moment in which files are missing.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct RefreshArguments {
    #[command(flatten)]
    classes: host::ClassesArgument,
    #[command(flatten)]
    merge: host::MergeArguments,
    #[command(flatten)]
    after: ChangeArguments,
}

/// Takes away what is merged.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct UnmergeArguments {
    #[command(flatten)]
    classes: host::ClassesArgument,
    #[command(flatten)]
    host: host::Arguments,
    #[command(flatten)]
    after: ChangeArguments,
}

/// What the change of a stack waits for, and whether the service manager is told.
#[derive(Debug, Args)]
#[group(skip)]
struct ChangeArguments {
    #[command(flatten)]
    wait: host::WaitArguments,
    /// Tells the service manager what the extensions ask of it: to reload, and to restart, reload or stop units. Ends with
    /// 4 when it does not do all of it; what was merged stays. Not with another root directory.
    #[arg(long)]
    reload: bool,
}

impl ChangeArguments {
    fn apply(&self, (host, mut options): (Host, Options)) -> Result<(Host, Options), Failure> {
        self.wait.apply(&mut options);
        if self.reload {
            options.reload = Reload::AsAsked { wait: WAIT };
        }
        Ok((host, options))
    }
}

/// As long as systemctl waits for an answer.
const WAIT: Duration = Duration::from_secs(90);
pub(super) fn merge(arguments: &MergeArguments, output: &Output) -> Result<u8, Failure> {
    let open = |class| arguments.after.apply(arguments.merge.open(class)?);
    run(Verb::Merge, arguments.classes.class, open, output)
}

pub(super) fn refresh(arguments: &RefreshArguments, output: &Output) -> Result<u8, Failure> {
    let open = |class| arguments.after.apply(arguments.merge.open(class)?);
    run(Verb::Refresh, arguments.classes.class, open, output)
}

pub(super) fn unmerge(arguments: &UnmergeArguments, output: &Output) -> Result<u8, Failure> {
    let open = |_| arguments.after.apply((arguments.host.open()?, Options::default()));
    run(Verb::Unmerge, arguments.classes.class, open, output)
}

fn run(
    verb: Verb,
    classes: Classes,
    open: impl Fn(Class) -> Result<(Host, Options), Failure>,
    output: &Output,
) -> Result<u8, Failure> {
    let progress = Arc::new(Progress::new("copying", output));
    let open = |class| {
        let (host, mut options) = open(class)?;
        options.watch = progress.watch();
        Ok((class, (host, options)))
    };
    let each = classes.list().iter().map(|class| open(*class)).collect::<Result<Vec<_>, Failure>>()?;
    let Some((_, (host, _))) = each.first() else { return Ok(0) };
    raise_descriptor_limit();
    let wanted: Vec<(Class, &Options)> = each.iter().map(|(class, (_, options))| (*class, options)).collect();
    let reports = stack::apply(host, verb, &wanted)?;
    progress.clear();
    let failed = reports.iter().filter_map(|report| report.told.as_ref()).any(|told| told.failure.is_some());
    let status = if failed { NOT_ALL } else { DONE };
    if classes == Classes::Both {
        output.summary(&Reports { reports })?;
    } else {
        reports.iter().try_for_each(|report| output.summary(report))?;
    }
    Ok(status)
}

/// Every extension takes some descriptors: hundreds of them go past the limit that processes are started with.
fn raise_descriptor_limit() {
    let found = rustix::process::getrlimit(Resource::Nofile);
    // Where it cannot be raised, opening too many says so.
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: found.maximum, ..found });
}

/// What was done with both classes.
#[derive(Serialize)]
struct Reports {
    reports: Vec<Report>,
}

impl View for Reports {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.reports.iter().try_for_each(|report| report.text(out))
    }
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
        for hierarchy in &self.gaps {
            writeln!(out, "  files of {hierarchy} were missing for a moment")?;
        }
        if self.propagated.len() < self.hierarchies.len() {
            writeln!(out, "  seen in this mount namespace only: mounts there do not propagate")?;
        }
        for layer in &self.layers {
            write_layer(layer, out)?;
        }
        write_after(&self.after, out)?;
        for left in &self.left_behind {
            writeln!(out, "{DOUBT}left behind{END}: {}", Clean(left))?;
        }
        if let Some(told) = &self.told {
            write_told(told, out)?;
        }
        // What is left out as intended is for list to show.
        let bad = self.refused.iter().filter(|rejection| rejection.severity == Severity::Refused);
        write_refused(bad, out)
    }
}

pub(super) fn reason(change: &Change) -> String {
    match change {
        Change::Added { name } => format!("{name} is new"),
        Change::Removed { name } => format!("{name} is gone"),
        Change::Replaced { name, test } => format!("{name} is another one: its {test} differs"),
        Change::Rechecked { name } => format!("{name} was checked differently, or is elsewhere"),
        Change::Attached { name, found, expected } => {
            format!("{name} was attached as {} and is to be as {}", found.as_str(), expected.as_str())
        }
        Change::Checks { name, found, expected } => {
            format!("{name} was checked by dm-verity as {found} and is to be as {expected}")
        }
        Change::Policy { found, expected } => format!("the policy was {found} and is {expected}"),
        Change::Execution { found, expected } => {
            format!("running programs was {} and is to be {}", found.as_str(), expected.as_str())
        }
        Change::Mutability { found, expected } => format!("the mode was {found} and is {expected}"),
        Change::Hierarchy { hierarchy } => format!("{hierarchy} is not merged as it should be"),
        Change::Below => "what it is over is not what it was".to_owned(),
        Change::Interrupted => "a change before it did not come to its end".to_owned(),
        Change::Unknown => "another program merged it".to_owned(),
        Change::Asked => "it was asked for".to_owned(),
    }
}

/// Who has to hear of a change. What extensions ask of the manager is told also when no file is different.
pub(super) fn write_after(after: &After, out: &mut dyn Write) -> io::Result<()> {
    if !after.complete {
        writeln!(out, "what has changed is not known in full: another program merged what was there")?;
    }
    for affected in &after.consumers {
        let files = affected.paths.len();
        match &affected.action {
            Action::Command { command } => {
                writeln!(out, "for {} ({files} files): {}", affected.consumer.as_str(), command.join(" "))?;
            }
            Action::Watches => writeln!(out, "for {} ({files} files): nothing", affected.consumer.as_str())?,
        }
    }
    let Work { reload, restart, reload_or_restart, stop, invalid, .. } = &after.manager;
    if *reload {
        writeln!(out, "extensions ask for: daemon-reload")?;
    }
    for (what, units) in [("stop", stop), ("restart", restart), ("reload-or-restart", reload_or_restart)] {
        if !units.is_empty() {
            writeln!(out, "extensions ask for: {what} {}", units.join(" "))?;
        }
    }
    for InvalidOf { layer, invalid, .. } in invalid {
        let (layer, found) = (Clean(layer), Clean(&invalid.found));
        writeln!(out, "{layer} asks for what means nothing: {}={found}", invalid.key)?;
    }
    Ok(())
}

fn write_told(told: &Told, out: &mut dyn Write) -> io::Result<()> {
    for done in &told.actions {
        let unit = done.unit.as_deref().unwrap_or("the manager");
        write!(out, "{} {unit}: {}", done.action.as_str(), done.result)?;
        match &done.message {
            Some(message) => writeln!(out, " ({})", Clean(message))?,
            None => writeln!(out)?,
        }
    }
    if let Some(failure) = &told.failure {
        writeln!(
            out,
            "{BAD}merged, but not all was told{END}: [{}] {}",
            failure.code,
            Clean(&failure.message)
        )?;
        writeln!(out, "  hint     {}", failure.hint)?;
    }
    Ok(())
}

/// One extension of a stack.
pub(super) fn write_layer(layer: &Layer, out: &mut dyn Write) -> io::Result<()> {
    let signer = match &layer.checked {
        Checked::None => "not checked".to_owned(),
        Checked::Verity { .. } => "checked, no signature".to_owned(),
        Checked::Signed { by, .. } => format!("signed by {}", by.subject),
    };
    let (name, version) = (Clean(&layer.name), version(layer.version.as_deref()));
    writeln!(out, "  {name}{version} from {}, {}", Clean(&layer.path), Clean(&signer))?;
    layer.attached.as_ref().map_or(Ok(()), |way| write_way(way, out))
}

/// The extensions of a stack: in a pipe below one another, on a terminal in rows.
pub(super) fn show_layers(layers: &[Layer], paper: Paper, out: &mut dyn Write) -> io::Result<()> {
    if paper == Paper::Pipe {
        return layers.iter().try_for_each(|layer| write_layer(layer, out));
    }
    let columns = [
        Column::new("NAME").wrap(),
        Column::new("VERSION").wrap(),
        Column::new("CHECKED"),
        Column::new("SIGNED BY").wrap(),
        Column::new("FROM").wrap(),
        Column::new("READ FROM").wrap(),
    ];
    let mut table = Table::new(paper, columns);
    for layer in layers {
        let (checked, signer) = checked(&layer.checked);
        let cells = [
            Cell::coloured(NAME, Clean(&layer.name)),
            Cell::new(Clean(layer.version.as_deref().unwrap_or_default())),
            checked,
            signer,
            Cell::new(Clean(&layer.path)),
            layer.attached.as_ref().map(read_from).unwrap_or_default().into(),
        ];
        table.row(cells, out)?;
    }
    table.end(out)
}

/// How an image reached the kernel, in one line.
fn write_way(way: &Way, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "    read from {}", read_from(way))
}

fn read_from(way: &Way) -> String {
    let mut text = way.reads.phrase().to_owned();
    if let Some(mapped) = &way.verity {
        let by = match mapped.signature {
            CheckedBy::Kernel => "the kernel checked the signature",
            CheckedBy::Library => "the signature was checked without the kernel",
            CheckedBy::Nobody => "no signature was asked for",
        };
        text = format!("{text} {}; {by}", Clean(&mapped.name));
        if mapped.checks != BlockChecks::default() {
            text = format!("{text}; {}", mapped.checks);
        }
    }
    match &way.detail {
        Some(detail) => format!("{text}; {}", Clean(detail)),
        None => text,
    }
}
