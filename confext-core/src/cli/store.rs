//! `store`: the versions of one image in a `.v/` directory: published, counted, called good or bad, pruned

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use confext_ddi::dps::Architecture;
use confext_ddi::policy::Evidence;
use serde::Serialize;

use super::failure::Failure;
use super::output::{Output, View};
use super::progress::Progress;
use super::style::{BAD, DOUBT, GOOD};
use super::table::{Cell, Column, Paper, Table};
use super::text::Clean;
use super::{host, image, trust};
use crate::image_file;
use crate::publish::{self, Options, Pruned, Published, Store, Version};

/// Keeps the versions of one image in its directory, like /var/lib/confexts/NAME.raw.v.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists the versions, best first: the first one is used.
    List(ListArguments),
    /// Puts a version there: copied, checked to its last byte, on disk, and then by one step under its name.
    Publish(Box<PublishArguments>),
    /// Counts an attempt to use a version, before it is made.
    Begin(MarkArguments),
    /// Calls a version good: it is not counted any more.
    Good(MarkArguments),
    /// Calls a version bad: it is used only when nothing else is there. Says what is used now.
    Bad(MarkArguments),
    /// Removes all but the best versions; not those that a stack of the host is made of.
    Prune(PruneArguments),
}

#[derive(Debug, Args)]
#[group(skip)]
struct ListArguments {
    #[command(flatten)]
    place: Place,
}

/// Where versions are.
#[derive(Debug, Args)]
#[group(skip)]
struct Place {
    /// The directory: NAME.raw.v, or NAME.CLASS.raw.v.
    directory: PathBuf,
    #[command(flatten)]
    class: host::ClassArgument,
}

impl Place {
    fn open(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.directory, self.class.class)?)
    }
}

#[derive(Debug, Args)]
#[group(skip)]
struct PublishArguments {
    /// The image.
    image: PathBuf,
    #[command(flatten)]
    place: Place,
    /// The version it gets.
    #[arg(long, value_name = "V")]
    version: String,
    /// The architecture that is written into its name; none without it.
    #[arg(long, value_name = "ARCHITECTURE", value_parser = image::architecture)]
    architecture: Option<Architecture>,
    /// How often it may be tried before other versions are preferred; without it attempts are not counted.
    #[arg(long, value_name = "N")]
    tries: Option<u32>,
    /// Only when it is for the host.
    #[arg(long)]
    match_host: bool,
    #[command(flatten)]
    host: host::Arguments,
    #[command(flatten)]
    trust: trust::Arguments,
}

#[derive(Debug, Args)]
#[group(skip)]
struct MarkArguments {
    #[command(flatten)]
    place: Place,
    /// The version; without it, the one that is used.
    #[arg(long, value_name = "V")]
    version: Option<String>,
}

#[derive(Debug, Args)]
#[group(skip)]
struct PruneArguments {
    #[command(flatten)]
    place: Place,
    /// How many versions stay.
    #[arg(long, value_name = "N", default_value = "3")]
    keep: NonZeroUsize,
    #[command(flatten)]
    host: host::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    match &arguments.verb {
        Verb::List(arguments) => output.answer(&Versions { versions: arguments.place.open()?.versions()? }),
        Verb::Publish(arguments) => publish(arguments, output),
        Verb::Begin(arguments) => mark(arguments, output, Store::begin),
        Verb::Good(arguments) => mark(arguments, output, Store::good),
        Verb::Bad(arguments) => mark(arguments, output, Store::bad),
        Verb::Prune(arguments) => {
            let used = publish::in_use(&arguments.host.open()?)?;
            output.answer(&Gone(arguments.place.open()?.prune(arguments.keep, &used)?))
        }
    }
}

fn publish(arguments: &PublishArguments, output: &Output) -> Result<(), Failure> {
    let host = arguments.host.open()?;
    let mut options = Options::new(arguments.version.as_str());
    options.policy = arguments.trust.policy()?;
    options.verifier = arguments.trust.verifier(&host, &options.policy)?;
    options.key_rules = arguments.trust.key_rules(&options.limits)?.map(Arc::new);
    options.architecture = arguments.architecture;
    options.tries = arguments.tries;
    if arguments.match_host {
        options.host = Some(host.release(&options.limits)?);
    }
    let source = image_file::open(&arguments.image)?;
    let progress = Progress::new("publishing", output);
    let published = arguments.place.open()?.publish(&source, &options, &mut |at| {
        progress.show(at.done_bytes, at.total_bytes);
        ControlFlow::Continue(())
    });
    drop(progress);
    output.answer(&New(published?))
}

fn mark(
    arguments: &MarkArguments,
    output: &Output,
    call: impl FnOnce(&Store, &str) -> crate::Result<Version>,
) -> Result<(), Failure> {
    let store = arguments.place.open()?;
    let version = match &arguments.version {
        Some(version) => version.clone(),
        None => store.used()?.version,
    };
    output.answer(&Versions { versions: vec![call(&store, &version)?] })
}

#[derive(Serialize)]
struct Versions {
    versions: Vec<Version>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct New(Published);

#[derive(Serialize)]
#[serde(transparent)]
struct Gone(Pruned);

fn line(version: &Version, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{}", Clean(&version.version))?;
    if let Some(architecture) = version.architecture {
        write!(out, " for {architecture}")?;
    }
    match version.tries {
        Some(tries) if tries.left == 0 => write!(out, ", no attempt left after {}", tries.done)?,
        Some(tries) => write!(out, ", attempts: {} left, {} made", tries.left, tries.done)?,
        None => {}
    }
    writeln!(out, "  {}", Clean(&version.path.display().to_string()))
}

impl View for Versions {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.versions.is_empty() {
            return writeln!(out, "no version");
        }
        self.versions.iter().try_for_each(|version| line(version, out))
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        if self.versions.is_empty() {
            return self.text(out);
        }
        let columns_of = [
            Column::new("VERSION").wrap(),
            Column::new("FOR"),
            Column::new("LEFT").right(),
            Column::new("MADE").right(),
            Column::new("FILE").wrap(),
        ];
        let mut table = Table::new(Paper::Screen { columns }, columns_of);
        for Version { path, version, architecture, tries, .. } in &self.versions {
            let left = tries.map(|tries| tries.left.to_string()).unwrap_or_default();
            let made = tries.map(|tries| tries.done.to_string()).unwrap_or_default();
            let colour = match tries {
                None => GOOD,
                Some(tries) if tries.left == 0 => BAD,
                Some(_) => DOUBT,
            };
            let cells = [
                Cell::coloured(colour, Clean(version)),
                architecture.unwrap_or_default().into(),
                left.into(),
                made.into(),
                Cell::new(Clean(&path.display().to_string())),
            ];
            table.row(cells, out)?;
        }
        table.end(out)
    }
}

impl View for New {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Published { version, evidence, was_there, .. } = &self.0;
        write!(out, "{}: ", if *was_there { "there already" } else { "published" })?;
        line(version, out)?;
        match evidence {
            Evidence::Signed { by, .. } => writeln!(out, "  signed by {}", Clean(&by.subject)),
            Evidence::Verity { .. } => writeln!(out, "  no signature was checked"),
            Evidence::None => writeln!(out, "  nothing protects its content"),
        }
    }
}

impl View for Gone {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (what, versions) in [("removed", &self.0.removed), ("in use", &self.0.in_use)] {
            for version in versions {
                write!(out, "{what}: ")?;
                line(version, out)?;
            }
        }
        if self.0.removed.is_empty() && self.0.in_use.is_empty() {
            writeln!(out, "nothing to remove")?;
        }
        Ok(())
    }
}
