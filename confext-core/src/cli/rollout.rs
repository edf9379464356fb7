//! `rollout`: a version of an image is used by a service, or what was used before is used again

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use confext_ddi::dps::Architecture;
use serde::Serialize;

use super::exit::{BACK, NOT_ALL, UNKNOWN};
use super::failure::Failure;
use super::output::{self, Output};
use super::progress::Progress;
use super::style::{BAD, END, GOOD};
use super::table::{Cell, Column, Table};
use super::text::Clean;
use super::{host, image, trust};
use crate::error::Error;
use crate::image_file;
use crate::publish::{self, Options, Progress as Reading, Store};
use crate::rollout::{
    self, Check, Direct, Event, Inside, MainProcess, Outcome, Refresh, Reload, Rollout, Runs, Signal, State,
    Step, Unit,
};
use crate::service;
use crate::sys;

/// Rolls a version of an image out to a service: published, refreshed, reloaded, checked; or everything as before.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The unit, like nginx.service.
    unit: String,
    /// The image.
    image: PathBuf,
    /// The directory of its versions, NAME.raw.v or NAME.CLASS.raw.v, that the unit has in ExtensionImages=. Default: the one
    /// there that the image is called after.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    class: host::ClassArgument,
    /// The version it gets. Default: what its file name says, as in NAME_VERSION.raw.
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// The architecture that is written into its name; none without it.
    #[arg(long, value_name = "ARCHITECTURE", value_parser = image::architecture)]
    architecture: Option<Architecture>,
    /// How often it may be tried, by one rollout after the other, each of which ended in the middle; at least 2.
    #[arg(long, value_name = "N", default_value_t = 3)]
    tries: u32,
    /// How many versions stay once the new one is good. Default: all.
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroUsize>,
    #[command(flatten)]
    host: host::Arguments,
    #[command(flatten)]
    trust: trust::Arguments,
    #[command(flatten)]
    steps: Steps,
}

/// How a unit is told, and how it is checked.
#[derive(Debug, Args)]
#[group(skip)]
struct Steps {
    /// Who has the unit see new versions: the service manager as part of its reload, or this command in the mount namespace of its
    /// main process, where what is mounted below /etc stays. Default: the manager with --reload job, and else this command.
    #[arg(long, value_name = "WHO")]
    refresh: Option<Who>,
    /// How the unit is told: by a job of the service manager, by a signal to its main process, or not at all.
    #[arg(long, value_name = "HOW", default_value = "job")]
    reload: How,
    /// With --reload signal: which.
    #[arg(long, value_name = "SIGNAL", default_value = "HUP")]
    signal: Named,
    /// The unit may have another main process afterwards.
    #[arg(long)]
    any_main_process: bool,
    /// A command for sh that ends with status 0 when the unit works. It has CONFEXT_UNIT, CONFEXT_MAIN_PID and
    /// CONFEXT_VERSION. Can be given again. Without one the unit has to be active, with the same main process.
    #[arg(long, value_name = "COMMAND")]
    check: Vec<String>,
    /// Checks run in the mount namespace of the unit, and see the files that it sees.
    #[arg(long)]
    check_inside: bool,
    /// How long the unit has to stay active before it is checked.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    settle: Duration,
    /// How long all checks together may take.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    check_timeout: Duration,
    /// How long a refresh may take, and a reload.
    #[arg(long, value_name = "SECONDS", default_value = "90", value_parser = seconds)]
    timeout: Duration,
    /// How long to wait for another rollout of the unit.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    wait: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    Manager,
    Direct,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    Job,
    Signal,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Named {
    #[value(alias = "SIGHUP")]
    Hup,
    #[value(alias = "SIGUSR1")]
    Usr1,
    #[value(alias = "SIGUSR2")]
    Usr2,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "expected seconds from 0".to_owned())
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    let host = arguments.host.open()?;
    let live = || service::Unit::live(&arguments.unit, arguments.steps.wait);
    let directory = match &arguments.store {
        Some(directory) => directory.clone(),
        None => rollout::store_of(&arguments.unit, &live()?.service.extensions, &arguments.image)?,
    };
    let store = Store::open(&directory, arguments.class.class)?;
    let version = arguments.version(&store)?;
    let mut options = Options::new(version.as_str());
    options.policy = arguments.trust.policy()?;
    options.verifier = arguments.trust.verifier(&host, &options.policy)?;
    options.key_rules = arguments.trust.key_rules(&options.limits)?.map(Arc::new);
    options.architecture = arguments.architecture;
    options.tries = Some(arguments.tries);
    let source: File = image_file::open(&arguments.image)?;
    let interrupted = sys::interrupted().map_err(|error| Error::os("watch", "signals", error))?;
    let progress = Progress::new("publishing", output);
    let copying = Arc::new(Progress::new("copying", output));
    let show = |at: Reading| progress.show(at.done_bytes, at.total_bytes);
    let mut rollout = Rollout::new(&store, &source, options);
    let steps = &arguments.steps;
    rollout.times = rollout::Times {
        lock: steps.wait,
        refresh: steps.timeout,
        reload: steps.timeout,
        check: steps.check_timeout.max(steps.settle),
    };
    rollout.keep = arguments.keep;
    if arguments.keep.is_some() {
        rollout.in_use = publish::in_use(&host)?;
    }
    rollout.cancelled = &interrupted;
    let mut unit = steps.unit(&arguments.unit);
    if steps.refreshed_by() == Who::Direct {
        let extensions = live()?.service.extensions;
        let mut admission = arguments.trust.options(&host, None)?;
        admission.watch = copying.watch();
        let options = service::Options::new(admission);
        unit.refresh = Refresh::Direct(Box::new(Direct { host: &host, extensions, options }));
    }
    rollout.progress = &show;
    let mut printed = Ok(());
    let mut table = Table::streamed(output::paper(), COLUMNS, [10, 8, 16, 10, 10]);
    let outcome = rollout::rollout(&rollout, &mut unit, &mut |event| {
        progress.clear();
        copying.clear();
        // Who does not listen any more does not stop it.
        if printed.is_ok() {
            printed = told(&event, &mut table, output);
        }
    })?;
    printed?;
    end(&version, &outcome, output)?;
    Ok(match outcome.runs {
        Runs::New if outcome.is_complete() => 0,
        Runs::New => NOT_ALL,
        Runs::Previous => BACK,
        Runs::Unknown => UNKNOWN,
    })
}

impl Arguments {
    fn version(&self, store: &Store) -> Result<String, Failure> {
        if let Some(version) = &self.version {
            return Ok(version.clone());
        }
        rollout::version_of(store.name(), &self.image)
            .map_err(|error| Failure::Argument { name: "--version", error })
    }
}

impl Steps {
    fn refreshed_by(&self) -> Who {
        let fitting = if self.reload == How::Job { Who::Manager } else { Who::Direct };
        self.refresh.unwrap_or(fitting)
    }

    fn unit<'a>(&self, name: &str) -> Unit<'a> {
        let mut unit = Unit::new(name);
        unit.reload = match self.reload {
            How::Job => Reload::Job,
            How::None => Reload::Nothing,
            How::Signal => Reload::Signal(match self.signal {
                Named::Hup => Signal::Hup,
                Named::Usr1 => Signal::Usr1,
                Named::Usr2 => Signal::Usr2,
            }),
        };
        let inside = if self.check_inside { Inside::Service } else { Inside::Host };
        unit.checks = self
            .check
            .iter()
            .map(|script| {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", script]);
                Check::Command(command, inside)
            })
            .collect();
        unit.main = if self.any_main_process { MainProcess::AnyOther } else { MainProcess::Same };
        unit.settle = self.settle;
        unit
    }
}

/// The last line of the documents.
#[derive(Serialize)]
struct Last<'a> {
    outcome: &'a Outcome,
}

/// One step that begins or ends, as one line.
fn told(event: &Event, table: &mut Table, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.print(|out| output::json_line(event, out));
    }
    if output.is_quiet() || event.state == State::Started || event.step == Step::Lock {
        return Ok(());
    }
    let failed = event.failure.as_ref().map(|failure| format!("failed[{}]", failure.code));
    let message = event.failure.as_ref().map(|failure| Clean(&failure.message).to_string());
    let cells = [
        Cell::new(format_args!("{:.3} s", event.at.as_secs_f64())),
        event.step.as_str().into(),
        Cell::new(Clean(event.version.as_deref().unwrap_or("none"))),
        Cell::coloured(BAD, failed.unwrap_or_default()),
        message.unwrap_or_default().into(),
    ];
    output.tell(|out| table.row(cells, out))
}

const COLUMNS: [Column; 5] = [
    Column::new("AFTER").right().piped(10, "  "),
    Column::new("STEP").piped(8, "  "),
    Column::new("VERSION"),
    Column::new("").before("  "),
    Column::new("").before(": ").wrap(),
];

fn end(version: &str, outcome: &Outcome, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.print(|out| output::json_line(&Last { outcome }, out));
    }
    output.tell(|out| text(version, outcome, out))
}

fn text(version: &str, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let previous = outcome.version.as_ref().map(|it| it.version.as_str());
    match (outcome.runs, previous) {
        (Runs::New, _) => writeln!(out, "{GOOD}version {} runs{END}", Clean(version))?,
        (Runs::Previous, Some(previous)) => {
            writeln!(out, "{BAD}version {} runs as before{END}", Clean(previous))?
        }
        (Runs::Previous, None) => writeln!(out, "{BAD}no version is used, as before{END}")?,
        (Runs::Unknown, _) => writeln!(out, "{BAD}it is not known which version runs{END}")?,
    }
    for version in &outcome.settled {
        writeln!(out, "  not finished by an earlier rollout, and bad now: {}", Clean(version))?;
    }
    if let Some(pruned) = &outcome.pruned {
        let removed: Vec<&str> = pruned.removed.iter().map(|it| it.version.as_str()).collect();
        if !removed.is_empty() {
            writeln!(out, "  removed: {}", Clean(&removed.join(", ")))?;
        }
    }
    let failures = outcome.failure.iter().map(|it| ("failed", it));
    for (what, failure) in failures.chain(outcome.not_done.iter().map(|it| ("not done", it))) {
        let step = failure.step.as_str();
        writeln!(out, "  {what}: {step}[{}]: {}", failure.code, Clean(&failure.message))?;
        writeln!(out, "  hint: {}", failure.hint)?;
    }
    Ok(())
}
