//! The command `confext`: reads arguments, calls the library, prints. Nothing is decided here.

mod build;
mod diff;
mod doctor;
mod examples;
mod exit;
mod explain;
mod extract;
mod failure;
mod fec;
mod files;
mod generate;
mod generator;
mod host;
mod image;
mod inspect;
mod lint;
mod list;
mod manifest;
mod merge;
mod open;
mod output;
mod pick;
mod plan;
mod policy;
mod progress;
mod repair;
mod report;
mod rollout;
mod run;
mod schema;
mod service;
mod sign;
mod source;
mod status;
mod store;
mod style;
mod table;
mod text;
mod trace;
mod trust;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches as _, Parser, Subcommand};
use confext_ddi::release::Class;

use failure::Failure;
use output::Output;

/// The name of the program.
const NAME: &str = "confext";

/// What is no error of the caller but a wish for help.
const HELP: [ErrorKind; 2] = [ErrorKind::DisplayHelp, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];

/// Build, verify, attach, stack and trace Discoverable Disk Images used as extension images.
#[derive(Debug, Parser)]
#[command(name = "confext", version, disable_help_subcommand = true)]
struct Command {
    /// Prints one JSON document instead of text, also for an error.
    #[arg(long, global = true)]
    json: bool,
    /// Prints no progress, and no summary of what was done.
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// The arguments of a verb are made when it is called: to make all of them takes longer than to read a small image.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Verb {
    Build(Box<build::Arguments>),
    Lint(lint::Arguments),
    Sign(sign::Arguments),
    Inspect(inspect::Arguments),
    Verify(verify::Arguments),
    Ls(files::ListArguments),
    Cat(files::CatArguments),
    Manifest(manifest::Arguments),
    Fec(fec::Arguments),
    Repair(repair::Arguments),
    Diff(diff::Arguments),
    Extract(extract::Arguments),
    List(list::Arguments),
    Pick(pick::Arguments),
    Store(store::Arguments),
    Rollout(Box<rollout::Arguments>),
    Explain(explain::Arguments),
    Plan(plan::Arguments),
    Policy(policy::Arguments),
    Merge(merge::MergeArguments),
    Refresh(merge::RefreshArguments),
    Unmerge(merge::UnmergeArguments),
    Status(status::Arguments),
    Trace(trace::Arguments),
    Trust(trust::ReportArguments),
    Doctor(doctor::Arguments),
    Report(report::Arguments),
    Run(run::Arguments),
    Service(service::Arguments),
    Generator(generator::Arguments),
    Schema(schema::Arguments),
    Completions(generate::CompletionArguments),
    Man(generate::ManArguments),
}

/// Runs the command and returns its exit status.
///
/// `arguments` start with the program's name, as those of [`std::env::args_os`] do.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(exit_status(arguments))
}

/// As [`main`], for callers that end the process themselves.
pub fn exit_status(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = match parse(&arguments) {
        Ok(command) => command,
        Err(error) => return failure::syntax(&error, &arguments),
    };
    let output = Output::new(command.json, command.quiet);
    match command.verb.run(&output) {
        Ok(status) => status,
        Err(failure) => {
            let status = failure.report(&output);
            if let Verb::Run(_) = command.verb { run::failed(&failure) } else { status }
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Command, clap::Error> {
    let matches = match <Command as CommandFactory>::command().try_get_matches_from(arguments) {
        // Help is about all verbs, and has examples.
        Err(error) if HELP.contains(&error.kind()) => command().try_get_matches_from(arguments),
        parsed => parsed,
    };
    matches.and_then(|matches| Command::from_arg_matches(&matches))
}

impl Verb {
    fn run(&self, output: &Output) -> Result<u8, Failure> {
        match self {
            Self::Build(arguments) => build::run(arguments, output),
            Self::Lint(arguments) => return lint::run(arguments, output),
            Self::Sign(arguments) => sign::run(arguments, output),
            Self::Inspect(arguments) => inspect::run(arguments, output),
            Self::Verify(arguments) => verify::run(arguments, output),
            Self::Ls(arguments) => files::list(arguments, output),
            Self::Cat(arguments) => files::cat(arguments, output),
            Self::Fec(arguments) => fec::run(arguments, output),
            Self::Repair(arguments) => return repair::run(arguments, output),
            Self::Manifest(arguments) => return manifest::run(arguments, output),
            Self::Diff(arguments) => return diff::run(arguments, output),
            Self::Extract(arguments) => extract::run(arguments, output),
            Self::List(arguments) => list::run(arguments, output),
            Self::Pick(arguments) => pick::run(arguments, output),
            Self::Store(arguments) => store::run(arguments, output),
            Self::Rollout(arguments) => return rollout::run(arguments, output),
            Self::Explain(arguments) => return explain::run(arguments, output),
            Self::Plan(arguments) => plan::run(arguments, output),
            Self::Policy(arguments) => return policy::run(arguments, output),
            Self::Merge(arguments) => return merge::merge(arguments, output),
            Self::Refresh(arguments) => return merge::refresh(arguments, output),
            Self::Unmerge(arguments) => return merge::unmerge(arguments, output),
            Self::Status(arguments) => status::run(arguments, output),
            Self::Trace(arguments) => trace::run(arguments, output),
            Self::Trust(arguments) => trust::run(arguments, output),
            Self::Doctor(arguments) => return doctor::run(arguments, output),
            Self::Report(arguments) => report::run(arguments, output),
            Self::Run(arguments) => return run::run(arguments, output),
            Self::Service(arguments) => return service::run(arguments, output),
            Self::Generator(arguments) => return generator::run(arguments, output),
            Self::Schema(arguments) => schema::run(arguments, output),
            Self::Completions(arguments) => generate::completions(arguments, output),
            Self::Man(arguments) => generate::man(arguments, output),
        }
        .map(|()| 0)
    }
}

/// The arguments of the command, all of them, with its examples and exit statuses.
fn command() -> clap::Command {
    let after = format!(
        "Exit status:\n{}\nWith --json every verb prints one JSON document, also for an error; rollout one a line. See confext schema.",
        exit::text()
    );
    examples::add(<Command as CommandFactory>::command().after_help(after))
}

/// The argument `--class`.
fn class() -> impl TypedValueParser<Value = Class> {
    let names = PossibleValuesParser::new([Class::Confext, Class::Sysext].map(Class::as_str));
    names.map(|name| if name == Class::Sysext.as_str() { Class::Sysext } else { Class::Confext })
}

#[cfg(test)]
mod tests;
