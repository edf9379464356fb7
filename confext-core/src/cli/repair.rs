//! `repair`: a damaged image and its parity become a new image.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use confext_ddi::RootHash;
use confext_ddi::parity::{self, Repaired};
use confext_ddi::verity::Progress as Reading;
use confext_ddi::verity::fec::{Area, Roots};
use serde::Serialize;

use super::exit::{DONE, IMAGE};
use super::failure::Failure;
use super::output::{Output, View};
use super::progress::Progress;
use super::text::{Clean, Count};
use super::{fec, image, open};
use crate::image_file;

/// Repairs damaged blocks of an image with its parity. The image is only read; no signature is checked.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The damaged image.
    image: PathBuf,
    /// The parity.
    #[arg(long, value_name = "FILE")]
    fec: PathBuf,
    /// The image to write, when every block could be repaired; nothing may be there.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The number of roots that the parity was made with.
    #[arg(long, value_name = "N", default_value = "2", value_parser = fec::roots)]
    fec_roots: Roots,
    /// Where the parity starts in its file.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    fec_offset: u64,
    /// The root hash to repair towards; without it, the one that the image claims.
    #[arg(long, value_name = "HEX", value_parser = root_hash)]
    root_hash: Option<RootHash>,
    #[command(flatten)]
    open: open::Arguments,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    let image = arguments.open.open_any(&arguments.image)?;
    let fec = image_file::open(&arguments.fec)?;
    let mut options = parity::Options::default().roots(arguments.fec_roots).fec_offset(arguments.fec_offset);
    options.root_hash = arguments.root_hash;
    let progress = Progress::new("repairing", output);
    let show = |at: Reading| {
        progress.show(at.done_bytes, at.total_bytes);
        ControlFlow::Continue(())
    };
    let repaired = parity::repair_file_watched(&image, &fec, &arguments.output, &options, show)
        .map_err(|source| image::fault(&arguments.image, source))?;
    drop(progress);
    let whole = repaired.report.is_whole();
    let outcome = Outcome {
        image: arguments.image.display().to_string(),
        output: whole.then(|| arguments.output.display().to_string()),
        repaired,
    };
    // What is left is no summary: quiet callers want to know as well.
    if whole {
        output.summary(&outcome)?
    } else {
        output.answer(&outcome)?
    }
    Ok(if whole { DONE } else { IMAGE })
}

fn root_hash(text: &str) -> Result<RootHash, String> {
    RootHash::parse(text).map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct Outcome {
    image: String,
    output: Option<String>,
    #[serde(flatten)]
    repaired: Repaired,
}

impl View for Outcome {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.repaired.report;
        let blocks = [("repaired", &report.repaired), ("not repaired", &report.unrepairable)];
        for (what, blocks) in blocks {
            for block in blocks {
                let area = match block.area {
                    Area::Data => "data",
                    Area::Hash => "hash",
                };
                writeln!(out, "{what}: {area} block {}, at byte {}", block.block, block.offset)?;
            }
        }
        if report.unchecked_blocks > 0 {
            writeln!(out, "not checked: {} below those", Count(report.unchecked_blocks, "block"))?;
        }
        match &self.output {
            Some(output) => {
                let count = Count(report.repaired.len(), "block");
                writeln!(out, "{}: whole, {count} repaired; no signature was checked", Clean(output))?;
                writeln!(out, "  root hash    {}", self.repaired.root_hash)
            }
            None => {
                let count = Count(report.unrepairable.len(), "block");
                writeln!(out, "{}: {count} cannot be repaired; nothing was written", Clean(&self.image))
            }
        }
    }
}
