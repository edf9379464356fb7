//! `service status`: what a service sees over its directories, who made it, and of what

use std::io::{self, Write};

use clap::Args;
use confext_ddi::signature::Time;
use serde::Serialize;

use super::super::failure::Failure;
use super::super::merge::show_layers;
use super::super::output::{Output, View};
use super::super::table::Paper;
use super::super::text::Clean;
use super::refresh::{WAIT, Which, write_mounts};
use crate::service::{self, Found, Status};

/// Shows what a running service, or any process with a mount namespace of its own, sees over its directories.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let process = arguments.which.open()?;
    output.answer(&Answer { pid: process.pid(), hierarchies: service::status(&process, WAIT)? })
}

#[derive(Serialize)]
struct Answer {
    pid: u32,
    hierarchies: Vec<Status>,
}

impl View for Answer {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write(Paper::Pipe, out)
    }

    fn screen(&self, out: &mut dyn Write, columns: usize) -> io::Result<()> {
        self.write(Paper::Screen { columns }, out)
    }
}

impl Answer {
    fn write(&self, paper: Paper, out: &mut dyn Write) -> io::Result<()> {
        for status in &self.hierarchies {
            let what = format!("/{} of process {}", status.hierarchy, self.pid);
            match status.found {
                Found::Nothing => writeln!(out, "{what}: no extensions of its own")?,
                Found::Systemd => writeln!(out, "{what}: extensions, by systemd")?,
                Found::Interrupted => writeln!(out, "{what}: an exchange did not come to its end")?,
                Found::Own => writeln!(out, "{what}: extensions")?,
            }
            if let Some(record) = &status.record {
                let since = i64::try_from(record.merged_at).unwrap_or(i64::MAX);
                writeln!(out, "  since {}, policy {}", Time::from_unix(since), Clean(&record.policy))?;
                show_layers(&record.layers, paper, out)?;
            }
            if status.below_unchanged == Some(false) {
                writeln!(out, "  what they are over is not what it was")?;
            }
            write_mounts(&status.mounts, &status.attributes, out)?;
        }
        Ok(())
    }
}
