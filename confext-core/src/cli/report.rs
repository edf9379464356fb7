//! `report`: the stacks of a host as one page that loads nothing

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use confext_ddi::release::Class;
use confext_ddi::signature::Time;
use serde::Serialize;

use super::failure::Failure;
use super::host::{self, Classes};
use super::output::{Output, View};
use super::progress::Progress;
use crate::admission;
use crate::error::Error;
use crate::report::{self, Choice, Counts, Report};
use crate::trace;

/// Writes one HTML page about the stacks of a host: layers and who signed them, where each file is from, what shadows what,
/// what is left out and why. The page loads nothing and can be looked at anywhere.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The file to write; one that is there is replaced. With -, standard output.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Which extensions: confext (/etc), sysext (/usr and /opt), or both.
    #[arg(long, value_enum, default_value_t = Classes::Both)]
    class: Classes,
    /// What a merge would give, also where something is merged. Without it that is shown only where nothing is.
    #[arg(long)]
    planned: bool,
    /// Lists so many paths at most that are of an extension, or were written or deleted; the others are counted.
    #[arg(long, value_name = "NUMBER", default_value_t = report::Options::default().files)]
    files: usize,
    /// Lists so many paths at most that only the host has; the others are counted.
    #[arg(long, value_name = "NUMBER", default_value_t = report::Options::default().host_files)]
    host_files: usize,
    /// When the report was made, in seconds since 1970: the same host then gives the same page. Default: now.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    time: Option<i64>,
    #[command(flatten)]
    stack: host::StackArguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let each = arguments.class.list().iter().map(|class| Ok((*class, arguments.stack.open(*class)?)));
    let each = each.collect::<Result<Vec<_>, Failure>>()?;
    let classes: Vec<(Class, &admission::Options)> =
        each.iter().map(|(class, (_, options))| (*class, options)).collect();
    let Some((_, (host, first))) = each.first() else { return Ok(()) };
    let options = report::Options {
        trace: trace::Options {
            limits: first.limits.clone(),
            trust: first.trust.clone(),
            ..trace::Options::default()
        },
        view: if arguments.planned { Choice::Planned } else { Choice::Auto },
        made_at: Some(arguments.time.map_or_else(|| Time::from(SystemTime::now()), Time::from_unix)),
        files: arguments.files,
        host_files: arguments.host_files,
        ..report::Options::default()
    };
    let progress = Progress::new("tracing", output);
    let show = |at: trace::Progress| {
        progress.show(at.done, at.total);
        ControlFlow::Continue(())
    };
    let report = report::report_watched(host, &classes, &options, show)?;
    drop(progress);
    if arguments.output == Path::new("-") {
        return output.print(|out| report.write_html(out));
    }
    let size_bytes = write(&report, &arguments.output)
        .map_err(|error| Error::os("write", arguments.output.display().to_string(), error))?;
    output.summary(&Summary {
        page: arguments.output.display().to_string(),
        root: host.path().display().to_string(),
        view: report.view(),
        size_bytes,
        counts: report.counts(),
    })
}

/// Beside the file first: who looks at it meanwhile sees the page from before.
fn write(report: &Report, path: &Path) -> io::Result<u64> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let written = File::create_new(&partial).and_then(|file| {
        let mut out = BufWriter::new(file);
        report.write_html(&mut out)?;
        let file = out.into_inner()?;
        let size = file.metadata()?.len();
        std::fs::rename(&partial, path)?;
        Ok(size)
    });
    if written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        _ = std::fs::remove_file(&partial);
    }
    written
}

#[derive(Serialize)]
struct Summary {
    page: String,
    root: String,
    view: trace::View,
    size_bytes: u64,
    #[serde(flatten)]
    counts: Counts,
}

impl View for Summary {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Counts { layers, files, files_left_out, shadowing, refused, objections, .. } = self.counts;
        let view = match self.view {
            trace::View::Live => "what is merged",
            trace::View::Planned => "what a merge would give",
        };
        writeln!(out, "{}: {view}, {}", self.page, super::text::Size(self.size_bytes))?;
        write!(out, "  {layers} extensions, {files} paths, {shadowing} shadow another")?;
        writeln!(out, "; {refused} not used, {objections} objections")?;
        if files_left_out > 0 {
            writeln!(out, "  {files_left_out} paths are counted, and not listed")?;
        }
        Ok(())
    }
}
