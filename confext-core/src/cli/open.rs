//! How an image is opened: which of its partitions count, and which copies of its table must be there.

use std::fs::File;
use std::path::Path;

use clap::Args;
use confext_ddi::RootHash;
use confext_ddi::filter::Filter;
use confext_ddi::image::{self, Copies, Foreign, Image, Select};

use super::failure::Failure;
use crate::sidecars;

/// The arguments of every verb that opens an image.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Considers only partitions whose labels match, like root=app_*; an image filter in systemd's notation.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    image_filter: String,
    /// Of several root or usr partitions: newest takes the highest version by label, a root hash the partitions that it
    /// names. Without it, an image with several is refused.
    #[arg(long, value_name = "newest|ROOT-HASH", value_parser = select)]
    select: Option<Select>,
    /// Which copies of the partition table must be there: any, or both, which must agree.
    #[arg(long, value_name = "any|both", default_value = "any", hide_default_value = true, value_parser = copies)]
    copies: Copies,
}

impl Arguments {
    /// The options of the library.
    pub(super) fn options(&self) -> Result<image::Options, Failure> {
        let filter = Filter::parse(&self.image_filter)
            .map_err(|error| Failure::Argument { name: "--image-filter", error: error.into() })?;
        let options = image::Options::default().filter(filter).copies(self.copies);
        Ok(options.select(self.select.unwrap_or_default()))
    }

    /// Opens an image for a look at it, whatever architecture it is for.
    pub(super) fn open_any(&self, path: &Path) -> Result<Image<File>, Failure> {
        Ok(sidecars::open(path, &self.options()?.foreign(Foreign::Accept))?)
    }
}

/// The argument `--select`.
fn select(text: &str) -> Result<Select, String> {
    match text {
        "newest" => Ok(Select::Newest),
        hash => RootHash::parse(hash)
            .map(Select::RootHash)
            .map_err(|error| format!("expected newest or a root hash: {error}")),
    }
}

/// The argument `--copies`.
fn copies(text: &str) -> Result<Copies, String> {
    match text {
        "any" => Ok(Copies::Any),
        "both" => Ok(Copies::Both),
        _ => Err("expected any or both".to_owned()),
    }
}
