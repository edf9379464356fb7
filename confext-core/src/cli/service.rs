//! `service`: the extensions of single services

mod refresh;
mod status;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output::Output;

/// The extensions of single services, which only they see.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Refresh(Box<refresh::Arguments>),
    Status(status::Arguments),
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    match &arguments.verb {
        Verb::Refresh(arguments) => refresh::run(arguments, output),
        Verb::Status(arguments) => status::run(arguments, output),
    }
}
