//! `fec`: the parity of an image, from which `repair` brings damaged blocks back.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use confext_ddi::parity;
use confext_ddi::verity::Progress as Reading;
use confext_ddi::verity::fec::{Coverage, Roots};
use serde::Serialize;

use super::failure::Failure;
use super::output::{Output, View};
use super::progress::Progress;
use super::text::{Clean, Count, Size};
use super::{image, open};

/// Makes parity for an image, as veritysetup does, after checking every block of it.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The image.
    image: PathBuf,
    /// The parity to write; a file that is there is replaced when the new one is complete.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// How many bytes of parity protect up to 255 minus so many of the image: 2 to 24.
    #[arg(long, value_name = "N", default_value = "2", value_parser = roots)]
    fec_roots: Roots,
    #[command(flatten)]
    open: open::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let image = arguments.open.open_any(&arguments.image)?;
    let progress = Progress::new("encoding", output);
    let show = |at: Reading| {
        progress.show(at.done_bytes, at.total_bytes);
        ControlFlow::Continue(())
    };
    let coverage = parity::encode_file_watched(&image, arguments.fec_roots, &arguments.output, show)
        .map_err(|source| image::fault(&arguments.image, source))?;
    drop(progress);
    output.summary(&Summary { fec: arguments.output.display().to_string(), coverage })
}

/// The argument `--fec-roots`.
pub(super) fn roots(text: &str) -> Result<Roots, String> {
    text.parse().ok().and_then(Roots::new).ok_or_else(|| "expected a number from 2 to 24".to_owned())
}

#[derive(Serialize)]
struct Summary {
    fec: String,
    #[serde(flatten)]
    coverage: Coverage,
}

impl View for Summary {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let (coverage, size) = (&self.coverage, Size(self.coverage.fec_bytes()));
        let blocks = coverage.data_blocks().saturating_add(coverage.hash_blocks());
        writeln!(
            out,
            "{}: {size} of parity for {}, {} roots",
            Clean(&self.fec),
            Count(blocks, "block"),
            coverage.roots()
        )
    }
}
