//! `manifest`: every file of an image with its attributes and digest, listed or checked.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use confext_ddi::Limits;
use confext_ddi::diff::{self, Attribute, Side};
use confext_ddi::fs::{FileSystem, Watched};
use confext_ddi::manifest::{Contents, Dialect, Manifest, Options};

use super::diff::{Differences, attribute, options as diff_options};
use super::failure::Failure;
use super::image;
use super::output::Output;
use super::progress::Progress;
use crate::error::Error;

/// Lists every file of an image with its attributes and the SHA-256 of its content, as mtree or as JSON.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: image::Selected,
    /// Whose mtree is written.
    #[arg(long, value_enum, value_name = "DIALECT", default_value_t = DialectName::Bsd)]
    mtree: DialectName,
    /// Leaves out the digests: contents are not read.
    #[arg(long)]
    no_digests: bool,
    /// Says what is different from this manifest (JSON), and ends with 1 if something is.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mtree", "no_digests"])]
    check: Option<PathBuf>,
    /// With --check: attributes that may differ: mode, owner, mtime, content, xattrs, hard-links.
    #[arg(long, value_name = "ATTRIBUTES", value_delimiter = ',', value_parser = attribute, requires = "check")]
    ignore: Vec<Attribute>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DialectName {
    /// As NetBSD's mtree and libarchive read it.
    Bsd,
    /// As `systemd-dissect --mtree` prints it.
    Systemd,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    if let Some(listed) = &arguments.check {
        return check(arguments, listed, output);
    }
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
    })?;
    Ok(0)
}

/// Compares a manifest with the image.
fn check(arguments: &Arguments, listed: &Path, output: &Output) -> Result<u8, Failure> {
    let limits = Limits::default();
    let manifest = parse(listed, &limits)?;
    let admitted = arguments.image.admit()?;
    let differences = with_files(&admitted, output, |files| {
        let (before, after) = (Side::Manifest(&manifest), Side::Files(files));
        diff::collect(before, after, &diff_options(&arguments.ignore), &limits)
    });
    let differences = differences.map_err(|error| arguments.image.fault(error))?;
    let (before, after) = (listed.display().to_string(), arguments.image.image.image.display().to_string());
    let view = Differences { before, after, differences };
    output.answer(&view)?;
    Ok(view.exit_status())
}

/// Reads a manifest, not more of it than the limit allows.
fn parse(path: &Path, limits: &Limits) -> Result<Manifest, Failure> {
    let shown = || path.display().to_string();
    let failed = |error| Failure::Argument { name: "--check", error };
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limits.manifest_bytes.saturating_add(1)).read_to_end(&mut text))
        .map_err(|source| failed(Error::os("read", shown(), source)))?;
    let parsed = Manifest::parse_json(&text, limits);
    parsed.map_err(|source| failed(Error::Image { image: shown(), source }))
}

/// Reads the files of an image that the policy admits.
pub(super) fn of_image(
    image: &image::Selected,
    options: &Options,
    output: &Output,
) -> Result<Manifest, Failure> {
    let admitted = image.admit()?;
    let limits = Limits::default();
    let made = with_files(&admitted, output, |files| Manifest::of(files, options, &limits, |_| {}));
    made.map_err(|error| image.fault(error))
}

/// Does something with the files of an image, and shows how much of them is read.
fn with_files<T>(
    admitted: &image::Opened,
    output: &Output,
    work: impl FnOnce(&dyn FileSystem) -> confext_ddi::Result<T>,
) -> confext_ddi::Result<T> {
    let progress = Progress::new("reading", output);
    // About: holes and compression make contents larger than what holds them.
    let total_bytes = admitted.size_bytes()?;
    let files = admitted.file_system(&Limits::default())?;
    work(&Watched::new(files.as_ref(), &|bytes| {
        progress.add(bytes, total_bytes);
        Ok(())
    }))
}
