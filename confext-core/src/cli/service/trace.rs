//! `service trace`: where a path in the view of a service comes from, and who signed it

use std::path::PathBuf;

use clap::Args;

use super::super::failure::Failure;
use super::super::output::Output;
use super::asked;
use super::refresh::WAIT;
use crate::service::{Process, trace};

/// Says where a path comes from in the view of a service, and who signed it.
///
/// Without --pid it is about what the service would see if it were started now. With it, about what the process sees: of a stack
/// that systemd made, which extension a layer is is the word of the unit's settings, and is said to be so.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    service: asked::Arguments,
    /// A process of the service.
    #[arg(long, value_name = "PID", conflicts_with = "service_root")]
    pid: Option<u32>,
    /// The path, as the service sees it.
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    match arguments.pid {
        None => {
            let asked = arguments.service.open_directory()?;
            let tracer = trace::plan(&asked.host, &asked.root, &asked.extensions, &asked.options)?;
            output.answer(&tracer.with_mounts(&asked.covered).trace(&arguments.path)?)
        }
        Some(pid) => {
            let (host, unit, options) = arguments.service.read()?;
            let (asked, paths) = ((&unit.service.extensions, &options), [arguments.path.clone()]);
            let origins = trace::answers(&host, &Process::open(pid)?, asked, &paths, WAIT)?;
            origins.iter().try_for_each(|origin| output.answer(origin))
        }
    }
}
