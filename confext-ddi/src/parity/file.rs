//! Parity and repaired images at paths: complete, or not there.

use super::{Options, Repaired, encode, repair};
use crate::build::{Partial, must_be_free};
use crate::error::{Result, ResultExt as _};
use crate::image::Image;
use crate::read::ReadAt;
use crate::verity::fec::{Coverage, Roots};
use std::io::Write as _;
use std::path::Path;

/// [`encode`] to a file of this path, where nothing may be. It is there when it is complete.
///
/// # Errors
///
/// As [`encode`]; `output-exists`; an I/O error with the path.
pub fn encode_file<R: ReadAt>(image: &Image<R>, roots: Roots, path: impl AsRef<Path>) -> Result<Coverage> {
    let path = path.as_ref();
    let place = path.display().to_string();
    must_be_free(path)?;
    let mut partial = Partial::create(path).within(place.clone())?;
    let coverage = encode(image, roots, |bytes| partial.file.write_all(bytes))?;
    partial.finish_new(path).within(place)?;
    Ok(coverage)
}

/// [`repair`] to a file of this path, where nothing may be. It is there afterwards when every block is right; otherwise
/// the report says what is not, and no file is left.
///
/// # Errors
///
/// As [`repair`]; `output-exists`; an I/O error with the path.
pub fn repair_file<R: ReadAt, F: ReadAt>(
    image: &Image<R>,
    fec: &F,
    path: impl AsRef<Path>,
    options: &Options,
) -> Result<Repaired> {
    let path = path.as_ref();
    let place = path.display().to_string();
    // Not in place, and not over something else: a repair that goes wrong must not cost what it started from.
    must_be_free(path)?;
    let partial = Partial::create(path).within(place.clone())?;
    partial.file.set_len(image.reader().size_bytes()?).map_err(crate::Error::from).within(place.clone())?;
    let repaired = repair(image, fec, &partial.file, options)?;
    if repaired.report.is_whole() {
        partial.finish_new(path).within(place)?;
    }
    Ok(repaired)
}
