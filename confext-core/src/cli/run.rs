//! `run`: a command that sees a stack nobody else sees.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};

use clap::Args;

use super::failure::Failure;
use super::host;
use crate::error::Error;
use crate::exec::{self, Root};
use crate::stack::Stack;

/// Runs a command that sees the extensions of a host merged, in a mount namespace of its own.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    class: host::ClassArgument,
    #[command(flatten)]
    merge: host::MergeArguments,
    /// The command and its arguments, after --.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

// As env and shells have them.
const FAILED: u8 = 125;
const NOT_STARTED: u8 = 126;
const NOT_FOUND: u8 = 127;
const BY_SIGNAL: i32 = 128;

/// Runs the command and returns its exit status.
pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let class = arguments.class.class;
    let (host, options) = arguments.merge.open(class)?;
    let stack = Stack::assemble(&host, class, &options)?;
    let root = match host.path() {
        path if path == Path::new("/") => Root::Host,
        path => Root::Directory(path.to_path_buf()),
    };
    let (program, rest) = arguments.command.split_first().unwrap_or((const { &OsString::new() }, &[]));
    let mut command = Command::new(program);
    command.args(rest);
    Ok(status(exec::run(&root, stack.into_placements(), command)?.status))
}

fn status(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().and_then(|signal| signal.checked_add(BY_SIGNAL)));
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(FAILED)
}

/// The exit status when there is none of the command.
pub(super) fn failed(failure: &Failure) -> u8 {
    match failure {
        Failure::Library(Error::Os { operation: "start", source, .. }) => match source.kind() {
            ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_STARTED,
        },
        _ => FAILED,
    }
}
