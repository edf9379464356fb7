//! `service refresh`: a running service sees the extensions that its settings name now

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use confext_ddi::release::Class;
use confext_ddi::unit::Name;

use super::super::failure::Failure;
use super::super::host;
use super::super::list::write_refused;
use super::super::merge::{reason, write_layer};
use super::super::output::{Output, View};
use super::super::progress::Progress;
use super::super::text::Clean;
use super::items::Items;
use crate::discover::Severity;
use crate::service::{self, Changed, Found, Hierarchies, Owners, Process, Report, Unit, When};
use crate::stack::Outcome;

/// Has a running service see the extensions that its unit lists, or any process with a mount namespace of its own those that are
/// named, without a restart. What is mounted below /etc there stays as it is. On failure it sees what it saw.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    items: Items,
    /// Refreshes /usr and /opt as well.
    #[arg(long)]
    sysexts: bool,
    /// Exchanges what is there even if it is right.
    #[arg(long)]
    always: bool,
    #[command(flatten)]
    merge: host::MergeArguments,
}

/// Which process.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The service.
    #[arg(value_name = "UNIT")]
    unit: Option<String>,
    /// A process by its number.
    #[arg(long)]
    pid: Option<u32>,
}

/// How long to wait for file systems of the service, and for the service manager.
pub(super) const WAIT: Duration = Duration::from_secs(10);

impl Which {
    /// The process, or the main process of the unit.
    pub(super) fn open(&self) -> Result<Process, Failure> {
        match (self.pid, &self.unit) {
            (Some(pid), _) => Ok(Process::open(pid)?),
            // One of the two is always there.
            (None, unit) => Ok(service::main_process(unit.as_deref().unwrap_or_default(), WAIT)?),
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let (host, mut admission) = arguments.merge.open(Class::Confext)?;
    let extensions = match &arguments.which.unit {
        Some(unit) if arguments.items.is_empty() => Unit::live(unit, WAIT)?.service.extensions,
        unit => {
            let name = Name::parse(unit.as_deref().unwrap_or("none"))?;
            arguments.items.extensions(&name, &admission.limits)?
        }
    };
    let process = arguments.which.open()?;
    let progress = Arc::new(Progress::new("copying", output));
    admission.watch = progress.watch();
    let mut options = service::Options::new(admission);
    if arguments.sysexts {
        options.hierarchies = Hierarchies::All;
    }
    if arguments.always {
        options.when = When::Always;
    }
    let report = service::refresh(&host, &process, &extensions, &options)?;
    progress.clear();
    output.summary(&report)?;
    Ok(())
}

impl View for Report {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for changed in &self.hierarchies {
            write_changed(self.pid, changed, out)?;
        }
        let bad = self.refused.iter().filter(|rejection| rejection.severity == Severity::Refused);
        write_refused(bad, out)
    }
}

fn write_changed(pid: u32, changed: &Changed, out: &mut dyn Write) -> io::Result<()> {
    let what = format!("/{} of process {pid}", changed.hierarchy);
    match &changed.outcome {
        Outcome::Merged => writeln!(out, "{what}: extensions merged")?,
        Outcome::Refreshed { because } => {
            writeln!(out, "{what}: replaced, because")?;
            for change in because {
                writeln!(out, "  - {}", Clean(&reason(change)))?;
            }
        }
        Outcome::Unchanged { decided_by } => {
            writeln!(out, "{what}: nothing has changed")?;
            for test in decided_by {
                writeln!(out, "  - {}: same {}", Clean(&test.name), test.test)?;
            }
        }
        Outcome::Unmerged => writeln!(out, "{what}: extensions taken off")?,
        Outcome::Nothing => writeln!(out, "{what}: nothing to do")?,
    }
    if changed.found == Found::Interrupted {
        writeln!(out, "  an exchange before it had not come to its end")?;
    }
    for layer in &changed.layers {
        write_layer(layer, out)?;
    }
    if changed.owners == Some(Owners::Namespace) {
        writeln!(out, "  owners: those of its user namespace")?;
    }
    write_mounts(&changed.carried, &changed.attributes, out)
}

/// The mounts on a hierarchy, and what its own forbids.
pub(super) fn write_mounts(
    mounts: &[std::path::PathBuf],
    attributes: &[&str],
    out: &mut dyn Write,
) -> io::Result<()> {
    if !mounts.is_empty() {
        let mounts: Vec<_> = mounts.iter().map(|path| path.display().to_string()).collect();
        writeln!(out, "  mounts below: {}", Clean(&mounts.join(", ")))?;
    }
    if !attributes.is_empty() {
        writeln!(out, "  mounted {}", attributes.join(", "))?;
    }
    Ok(())
}
