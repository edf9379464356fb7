//! `manifest`: every file of an image with its attributes and digest.

use std::fs::File;

use clap::{Args, ValueEnum};
use confext_ddi::Limits;
use confext_ddi::manifest::{Contents, Dialect, Kind, Manifest, Options};
use confext_ddi::policy::Admitted;
use confext_ddi::read::ReadAt as _;

use super::failure::Failure;
use super::image;
use super::output::Output;
use super::progress::Progress;

/// Lists every file of an image with its attributes and the SHA-256 of its content, as mtree or as JSON.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: image::Arguments,
    /// Whose mtree is written.
    #[arg(long, value_enum, default_value_t = DialectName::Bsd)]
    mtree: DialectName,
    /// Leaves out the digests: contents are not read.
    #[arg(long)]
    no_digests: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DialectName {
    /// As NetBSD's mtree and libarchive read it.
    Bsd,
    /// As `systemd-dissect --mtree` prints it.
    Systemd,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let mut options = Options::default();
    if arguments.no_digests {
        options.contents = Contents::Sizes;
    }
    let manifest = of_image(&arguments.image, &options, output)?;
    let dialect = match arguments.mtree {
        DialectName::Bsd => Dialect::Bsd,
        DialectName::Systemd => Dialect::Systemd,
    };
    output.print(|out| match output.is_json() {
        true => manifest.write_json(out),
        false => manifest.write_mtree(dialect, out),
    })
}

/// Reads the files of an image that the policy admits.
pub(super) fn of_image(
    image: &image::Arguments,
    options: &Options,
    output: &Output,
) -> Result<Manifest, Failure> {
    let admitted = image.admit()?;
    let mut progress = Progress::new("reading", output);
    let made = make(&admitted, options, &mut progress);
    progress.finish();
    made.map_err(|error| image.fault(error))
}

fn make(
    admitted: &Admitted<File>,
    options: &Options,
    progress: &mut Progress,
) -> confext_ddi::Result<Manifest> {
    let limits = Limits::default();
    let files = admitted.file_system(&limits)?;
    // About: holes and compression make contents larger than what holds them.
    let total_bytes = admitted.data().size_bytes()?;
    let mut done_bytes: u64 = 0;
    Manifest::of(files.as_ref(), options, &limits, |entry| {
        if let Kind::Regular { size_bytes, .. } = entry.kind {
            done_bytes = done_bytes.saturating_add(size_bytes).min(total_bytes);
            progress.show(done_bytes, total_bytes);
        }
    })
}
