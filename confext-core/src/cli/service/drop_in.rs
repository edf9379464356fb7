//! `service drop-in`: a drop-in with the extensions of a unit, written or removed

use std::io::{self, Write};

use clap::Args;
use confext_ddi::Limits;
use confext_ddi::policy::Policy;
use confext_ddi::unit::{Extensions, Name};
use serde::Serialize;

use super::items::{self, Items};
use crate::cli::failure::Failure;
use crate::cli::host;
use crate::cli::output::{Output, View};
use crate::cli::text::Clean;
use crate::service::{DropIn, Lifetime};

/// Writes a drop-in with extensions of a unit, or removes it. It counts from the next `systemctl daemon-reload` on.
///
/// What is written says all of it: without an image, directory or other setting it says nothing.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The unit; without a type it is a service.
    unit: String,
    #[command(flatten)]
    host: host::Arguments,
    /// The name of the drop-in's file.
    #[arg(long, value_name = "FILE", default_value = "50-confext.conf")]
    name: String,
    #[command(flatten)]
    items: Items,
    /// What the images must have: `ExtensionImagePolicy=`.
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    policy: Option<Policy>,
    /// What a reload refreshes: `RefreshOnReload=`.
    #[arg(long, value_name = "WORDS")]
    refresh_on_reload: Option<String>,
    /// Until the machine stops, not until it is removed.
    #[arg(long)]
    runtime: bool,
    /// Removes it.
    #[arg(long, conflicts_with_all = ["image", "directory", "policy", "refresh_on_reload"])]
    remove: bool,
}

fn policy(text: &str) -> Result<Policy, String> {
    Policy::parse(text).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let host = arguments.host.open()?;
    let unit = Name::parse(&arguments.unit)?;
    let lifetime = if arguments.runtime { Lifetime::Runtime } else { Lifetime::Persistent };
    let drop_in = DropIn::new(&unit, &arguments.name, lifetime)?;
    let path = drop_in.path().display().to_string();
    if arguments.remove {
        let done = if drop_in.remove(&host)? { "removed" } else { "absent" };
        return output.summary(&Answer { unit: unit.to_string(), path, done });
    }
    let extensions = extensions(arguments, &unit)?;
    let done = drop_in.write(&host, &extensions)?.as_str();
    output.summary(&Answer { unit: unit.to_string(), path, done })
}

fn extensions(arguments: &Arguments, unit: &Name) -> Result<Extensions, Failure> {
    let limits = Limits::default();
    let mut extensions = arguments.items.extensions(unit, &limits)?;
    if let Some(words) = &arguments.refresh_on_reload {
        items::assign(&mut extensions, ("RefreshOnReload", words), unit, &limits)?;
    }
    extensions.policy.clone_from(&arguments.policy);
    Ok(extensions)
}

#[derive(Serialize)]
struct Answer {
    unit: String,
    path: String,
    done: &'static str,
}

impl View for Answer {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: {}", Clean(&self.path), self.done)
    }
}
