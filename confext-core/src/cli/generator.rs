//! `generator`, `service install-generator` and `service uninstall-generator`: extensions beside units, for systemd

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::exit::{DONE, HOST};
use super::failure::Failure;
use super::host;
use super::output::{Output, View};
use super::text::Clean;
use crate::host::Host;
use crate::service::generator;

/// What systemd runs to learn of directories NAME.confext.d beside units. Writes drop-ins into the first directory.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Where drop-ins go.
    normal: PathBuf,
    /// Not used.
    early: Option<PathBuf>,
    /// Not used.
    late: Option<PathBuf>,
    #[command(flatten)]
    host: host::Arguments,
}

/// Installs the generator by which systemd learns of directories NAME.confext.d beside units. It counts from the next
/// `systemctl daemon-reload` on.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct InstallArguments {
    #[command(flatten)]
    host: host::Arguments,
    /// The path of this command inside the root. Default: where it is now.
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// Takes the generator away.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct UninstallArguments {
    #[command(flatten)]
    host: host::Arguments,
}

/// Returns the exit status.
pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    let host = arguments.host.open()?;
    let done = generator::run(
        &host,
        &Host::open("/")?,
        &std::path::absolute(&arguments.normal).unwrap_or_default(),
    )?;
    let path = |path: &Path| path.display().to_string();
    let answer = Answer {
        written: done
            .written
            .iter()
            .map(|(unit, at)| Written { unit: unit.to_string(), path: path(at) })
            .collect(),
        left_out: done
            .left_out
            .iter()
            .map(|left| LeftOut { path: path(&left.path), because: left.because.as_str() })
            .collect(),
        failed: done
            .failed
            .iter()
            .map(|(unit, error)| Failed { unit: unit.to_string(), message: error.explain() })
            .collect(),
    };
    if !output.is_json() {
        // Standard error goes to the kernel's log: that is where a generator is heard. It does its work unheard, too.
        let mut heard = io::stderr();
        for left in &answer.left_out {
            let _ = writeln!(heard, "confext: {} left out: {}", Clean(&left.path), left.because);
        }
        for failed in &answer.failed {
            let _ = writeln!(heard, "confext: {}: {}", failed.unit, Clean(&failed.message));
        }
    }
    output.summary(&answer)?;
    Ok(if done.failed.is_empty() { DONE } else { HOST })
}

pub(super) fn install(arguments: &InstallArguments, output: &Output) -> Result<(), Failure> {
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| crate::Error::os("find", "this program", error))?,
    };
    let done = generator::install(&arguments.host.open()?, &program)?.as_str();
    output.summary(&Installed { path: generator::PATH, done })
}

pub(super) fn uninstall(arguments: &UninstallArguments, output: &Output) -> Result<(), Failure> {
    let done = if generator::uninstall(&arguments.host.open()?)? { "removed" } else { "absent" };
    output.summary(&Installed { path: generator::PATH, done })
}

#[derive(Serialize)]
struct Answer {
    written: Vec<Written>,
    left_out: Vec<LeftOut>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct LeftOut {
    path: String,
    because: &'static str,
}

#[derive(Serialize)]
struct Failed {
    unit: String,
    message: String,
}

#[derive(Serialize)]
struct Written {
    unit: String,
    path: String,
}

impl View for Answer {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.written.iter().try_for_each(|one| writeln!(out, "{}: {}", one.unit, Clean(&one.path)))
    }
}

#[derive(Serialize)]
struct Installed {
    path: &'static str,
    done: &'static str,
}

impl View for Installed {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: {}", Clean(self.path), self.done)
    }
}
