//! `verify`: judges an image, then reads every block of it.

use std::io::{self, Write};

use clap::Args;
use confext_ddi::policy::Evidence;
use confext_ddi::read::ReadAt;
use confext_ddi::signature::Time;
use serde::Serialize;

use super::failure::Failure;
use super::image;
use super::output::{Output, View};
use super::progress::Progress;
use super::text::{Clean, Size};

/// Checks signature, hash tree and every block of an image.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: image::Arguments,
}

/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let admitted = arguments.image.admit()?;
    let mut progress = Progress::new("checking", output);
    let read = read_all(admitted.data(), &mut progress);
    progress.finish();
    output.answer(&Verdict {
        image: arguments.image.image.display().to_string(),
        evidence: admitted.evidence(),
        checked_bytes: read.map_err(|error| arguments.image.fault(error))?,
    })
}

/// Reads everything once; reading checks. Returns how many bytes there are.
fn read_all(data: &impl ReadAt, progress: &mut Progress) -> confext_ddi::Result<u64> {
    let total_bytes = data.size_bytes()?;
    let mut buffer = vec![0; READ_BYTES];
    let mut done_bytes: u64 = 0;
    while done_bytes < total_bytes {
        let count = usize::try_from(total_bytes.saturating_sub(done_bytes)).unwrap_or(usize::MAX);
        let chunk = buffer.get_mut(..count.min(READ_BYTES)).unwrap_or_default();
        data.read_exact_at(done_bytes, chunk)?;
        done_bytes = done_bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        progress.show(done_bytes, total_bytes);
    }
    Ok(total_bytes)
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
            Evidence::None => writeln!(out, "{image}: readable, {size}; nothing protects its content"),
            Evidence::Verity { root_hash } => {
                writeln!(out, "{image}: intact, {size} match root hash {root_hash}; no signature was checked")
            }
            Evidence::Signed { root_hash, by } => {
                writeln!(out, "{image}: intact and signed, {size}")?;
                writeln!(out, "  root hash    {root_hash}")?;
                writeln!(out, "  signed by    {}", Clean(&by.subject))?;
                let (from, to) = (Time::from_unix(by.not_before), Time::from_unix(by.not_after));
                writeln!(out, "  certificate  {}, valid {from} to {to}", by.fingerprint)
            }
        }
    }
}
