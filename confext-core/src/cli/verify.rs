//! `verify`: judges an image, then reads every block of it.

use std::io::{self, Write};
use std::ops::ControlFlow;

use clap::Args;
use confext_ddi::policy::{Checked, Data, Evidence};
use confext_ddi::read::ReadAt;
use confext_ddi::signature::Time;
use confext_ddi::verity::{Progress as Reading, Report};
use serde::Serialize;

use super::failure::Failure;
use super::image;
use super::output::{Output, View};
use super::progress::Progress;
use super::style::{DOUBT, END, GOOD};
use super::text::{Clean, Size};
use crate::error::Error;

/// Checks signature, hash tree and every block of an image.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: image::Arguments,
}

/// How many ranges of damaged blocks are listed.
const LISTED: usize = 1000;

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let admitted = arguments.image.admit()?;
    let progress = Progress::new("checking", output);
    let read = match admitted.data() {
        Data::Checked(data) => check_all(data, &progress),
        data @ Data::Unchecked(_) => {
            let tell = |at: Reading| {
                progress.show(at.done_bytes, at.total_bytes);
                ControlFlow::Continue(())
            };
            data.read_whole(tell).map(|bytes| (bytes, None))
        }
    };
    drop(progress);
    let (checked_bytes, damage) = read.map_err(|error| arguments.image.fault(error))?;
    if let Some((report, source)) = damage {
        let error = Error::Image { image: arguments.image.image.display().to_string(), source };
        return Err(Failure::Damaged { report: Box::new(report), error });
    }
    output.answer(&Verdict {
        image: arguments.image.image.display().to_string(),
        evidence: admitted.evidence(),
        checked_bytes,
    })
}

/// Checks every block. Returns how many bytes of data there are, and what is damaged, with the first of it as an error.
fn check_all<R: ReadAt>(
    data: &Checked<R>,
    progress: &Progress,
) -> confext_ddi::Result<(u64, Option<(Report, confext_ddi::Error)>)> {
    let report = data.check(LISTED, |at| {
        progress.show(at.done_bytes, at.total_bytes);
        ControlFlow::Continue(())
    })?;
    let fault = data.fault(&report);
    Ok((data.size_bytes()?, fault.map(|error| (report, error))))
}

#[derive(Serialize)]
struct Verdict<'a> {
    image: String,
    evidence: &'a Evidence,
    checked_bytes: u64,
}

impl View for Verdict<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let (image, size) = (Clean(&self.image), Size(self.checked_bytes));
        match self.evidence {
            Evidence::None => {
                writeln!(out, "{image}: readable, {size}; {DOUBT}nothing protects its content{END}")
            }
            Evidence::Verity { root_hash } => {
                let doubt = format_args!("{DOUBT}no signature was checked{END}");
                writeln!(out, "{image}: intact, {size} match root hash {root_hash}; {doubt}")
            }
            Evidence::Signed { root_hash, by } => {
                writeln!(out, "{image}: {GOOD}intact and signed{END}, {size}")?;
                writeln!(out, "  root hash    {root_hash}")?;
                writeln!(out, "  signed by    {}", Clean(&by.subject))?;
                let validity = by.not_before.zip(by.not_after);
                match by.fingerprint.zip(validity) {
                    Some((fingerprint, (from, to))) => {
                        let (from, to) = (Time::from_unix(from), Time::from_unix(to));
                        writeln!(out, "  certificate  {fingerprint}, valid {from} to {to}")?;
                    }
                    None => writeln!(out, "  certificate  not known: the kernel has only its key")?,
                }
                writeln!(out, "  trusted by   {}", Clean(&by.source.to_string()))
            }
        }
    }
}
