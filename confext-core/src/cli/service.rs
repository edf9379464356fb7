//! `service`: the extensions of single services

mod asked;
mod attach;
mod drop_in;
mod explain;
mod items;
mod plan;
mod refresh;
mod show;
mod status;
mod trace;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::generator;
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
    Plan(Box<plan::Arguments>),
    Explain(Box<explain::Arguments>),
    Trace(Box<trace::Arguments>),
    Refresh(Box<refresh::Arguments>),
    Status(status::Arguments),
    Show(show::Arguments),
    DropIn(Box<drop_in::Arguments>),
    Attach(Box<attach::Arguments>),
    Detach(attach::DetachArguments),
    Attached(attach::ListArguments),
    InstallGenerator(generator::InstallArguments),
    UninstallGenerator(generator::UninstallArguments),
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    match &arguments.verb {
        Verb::Explain(arguments) => return explain::run(arguments, output),
        Verb::Plan(arguments) => plan::run(arguments, output),
        Verb::Trace(arguments) => trace::run(arguments, output),
        Verb::Refresh(arguments) => refresh::run(arguments, output),
        Verb::Status(arguments) => status::run(arguments, output),
        Verb::Show(arguments) => show::run(arguments, output),
        Verb::DropIn(arguments) => drop_in::run(arguments, output),
        Verb::Attach(arguments) => attach::run(arguments, output),
        Verb::Detach(arguments) => attach::detach(arguments, output),
        Verb::Attached(arguments) => attach::list(arguments, output),
        Verb::InstallGenerator(arguments) => generator::install(arguments, output),
        Verb::UninstallGenerator(arguments) => generator::uninstall(arguments, output),
    }
    .map(|()| 0)
}
