//! `run`: a command that sees a stack nobody else sees.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use confext_ddi::release::Class;
use rustix::event::{PollFd, PollFlags};

use super::exit::{RUN_FAILED, RUN_NOT_FOUND, RUN_NOT_STARTED};
use super::failure::Failure;
use super::host;
use super::output::Output;
use super::progress::Progress;
use crate::error::{Error, Result};
use crate::exec::{Root, Running};
use crate::host::Host;
use crate::service::{self, Unit};
use crate::stack::{Manner, Stack};
use crate::sys::{Signal, Signals};

/// Runs a command that sees the extensions of a host merged, in a mount namespace of its own. Without root in a user
/// namespace of its own, too.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    class: host::ClassArgument,
    /// Instead of the extensions of the host those that this unit lists, over the root directory that it has: what the service
    /// would see if it were started now.
    #[arg(long, value_name = "UNIT", conflicts_with = "class")]
    service: Option<String>,
    /// With --service: asks the running service manager instead of reading files.
    #[arg(long, requires = "service", conflicts_with = "root")]
    live: bool,
    #[command(flatten)]
    merge: host::MergeArguments,
    /// The command and its arguments, after --.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Arguments {
    /// The root directory of the command, and what goes over it. A signal ends it with `cancelled`.
    fn assemble(
        &self,
        output: &Output,
        signals: &Arc<Signals>,
    ) -> std::result::Result<(Host, Vec<Stack>), Failure> {
        let signals = Arc::clone(signals);
        let watch = Arc::new(Progress::new("copying", output)).watch_until(move || signals.has_next());
        let Some(name) = &self.service else {
            let class = self.class.class;
            let (host, mut options) = self.merge.open(class)?;
            options.watch = watch;
            let stack = Stack::assemble(&host, class, &options)?;
            return Ok((host, vec![stack]));
        };
        let (host, mut options) = self.merge.open(Class::Confext)?;
        options.watch = watch;
        let unit = if self.live { Unit::live(name, WAIT)? } else { Unit::read(&host, name)? };
        let root = service::directory_of(&host, &unit.service.root)?;
        let stacks = service::assemble(&host, &root, &unit.service.extensions, &options)?;
        Ok((root, stacks))
    }
}

/// How long the service manager may take to answer.
const WAIT: Duration = Duration::from_secs(10);
const BY_SIGNAL: i32 = 128;

/// What ends a program, or tells it something: the command is told, and decides.
const PASSED_ON: [Signal; 6] =
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::USR1, Signal::USR2];

/// Runs the command and returns its exit status.
pub(super) fn run(arguments: &Arguments, output: &Output) -> std::result::Result<u8, Failure> {
    // Before there is any other thread.
    let signals =
        Arc::new(Signals::take(&PASSED_ON).map_err(|error| Error::os("take over", "signals", error))?);
    let (root, stacks) = match arguments.assemble(output, &signals) {
        Err(Failure::Library(error)) if error.code() == "cancelled" => {
            return Ok(ended_by(&signals)?.unwrap_or(RUN_FAILED));
        }
        assembled => assembled?,
    };
    for stack in &stacks {
        if let Manner::Tree { because } = stack.manner() {
            note(&format!("the host's files are mounted one by one, as they are now: {because}"));
        }
    }
    let placements = stacks.into_iter().flat_map(Stack::into_placements).collect();
    let (program, rest) = arguments.command.split_first().unwrap_or((const { &OsString::new() }, &[]));
    let mut command = Command::new(program);
    command.args(rest);
    if let Some(status) = ended_by(&signals)? {
        return Ok(status);
    }
    signals.spare(&mut command);
    let mut running = Running::start(&Root::of(root.path()), placements, command)?;
    Ok(status(attend(&mut running, &signals)?))
}

/// The exit status, where a signal came before there was a command: it was for this program.
fn ended_by(signals: &Signals) -> Result<Option<u8>> {
    let arrived = signals.next().map_err(|error| Error::os("read", "signals", error))?;
    Ok(arrived.map(|arrived| by_signal(arrived.signal.as_raw()).unwrap_or(RUN_FAILED)))
}

/// Waits for the command, and passes signals on. What the terminal sends, the command gets by itself.
fn attend(running: &mut Running, signals: &Signals) -> Result<ExitStatus> {
    loop {
        if let Some(status) = running.try_wait()? {
            return Ok(status);
        }
        let mut wanted = [PollFd::new(&*running, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        match rustix::event::poll(&mut wanted, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::os("wait for", "the command", errno)),
        }
        while let Some(arrived) = signals.next().map_err(|error| Error::os("read", "signals", error))? {
            if !arrived.by_kernel {
                running.signal(arrived.signal)?;
            }
        }
    }
}

/// On standard error: standard output is the command's.
fn note(text: &str) {
    use std::io::Write as _;
    // If nobody reads it, nobody wanted to know.
    let _ = writeln!(std::io::stderr(), "confext: {text}");
}

fn status(status: ExitStatus) -> u8 {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.or_else(|| status.signal().and_then(by_signal)).unwrap_or(RUN_FAILED)
}

fn by_signal(number: i32) -> Option<u8> {
    number.checked_add(BY_SIGNAL).and_then(|number| u8::try_from(number).ok())
}

/// The exit status when there is none of the command.
pub(super) fn failed(failure: &Failure) -> u8 {
    match failure {
        Failure::Library(Error::Os { operation: "start", source, .. }) => match source.kind() {
            ErrorKind::NotFound => RUN_NOT_FOUND,
            _ => RUN_NOT_STARTED,
        },
        _ => RUN_FAILED,
    }
}
