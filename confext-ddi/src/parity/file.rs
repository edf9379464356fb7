//! Parity and repaired images at paths: complete, or not there.

use super::{Options, Repaired, encode_watched, repair_watched};
use crate::build::{Partial, must_be_free};
use crate::error::{Result, ResultExt as _};
use crate::image::Image;
use crate::read::ReadAt;
use crate::verity::Progress;
use crate::verity::fec::{Coverage, Roots};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

/// [`encode`](super::encode) to a file of this path, where nothing may be. It is there when it is complete.
///
/// # Errors
///
/// As [`encode`](super::encode); `output-exists`; an I/O error with the path.
pub fn encode_file<R: ReadAt>(image: &Image<R>, roots: Roots, path: impl AsRef<Path>) -> Result<Coverage> {
    encode_file_watched(image, roots, path, |_| ControlFlow::Continue(()))
}

/// The same, and `progress` is called from time to time and may stop it: then there is no file.
///
/// # Errors
///
/// As [`encode_file`]; `cancelled` when `progress` said so.
pub fn encode_file_watched<R: ReadAt>(
    image: &Image<R>,
    roots: Roots,
    path: impl AsRef<Path>,
    progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Coverage> {
    let path = path.as_ref();
    let place = path.display().to_string();
    must_be_free(path)?;
    let mut partial = Partial::create(path).within(place.clone())?;
    let coverage = encode_watched(image, roots, |bytes| partial.file.write_all(bytes), progress)?;
    partial.finish_new(path).within(place)?;
    Ok(coverage)
}

/// [`repair`](super::repair) to a file of this path, where nothing may be. It is there afterwards when every block is right; otherwise
/// the report says what is not, and no file is left.
///
/// # Errors
///
/// As [`repair`](super::repair); `output-exists`; an I/O error with the path.
pub fn repair_file<R: ReadAt, F: ReadAt>(
    image: &Image<R>,
    fec: &F,
    path: impl AsRef<Path>,
    options: &Options,
) -> Result<Repaired> {
    repair_file_watched(image, fec, path, options, |_| ControlFlow::Continue(()))
}

/// The same, and `progress` is called from time to time and may stop it: then there is no file.
///
/// # Errors
///
/// As [`repair_file`]; `cancelled` when `progress` said so.
pub fn repair_file_watched<R: ReadAt, F: ReadAt>(
    image: &Image<R>,
    fec: &F,
    path: impl AsRef<Path>,
    options: &Options,
    progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Repaired> {
    let path = path.as_ref();
    let place = path.display().to_string();
    // Not in place, and not over something else: a repair that goes wrong must not cost what it started from.
    must_be_free(path)?;
    let partial = Partial::create(path).within(place.clone())?;
    partial.file.set_len(image.reader().size_bytes()?).map_err(crate::Error::from).within(place.clone())?;
    let repaired = repair_watched(image, fec, &partial.file, options, progress)?;
    if repaired.report.is_whole() {
        partial.finish_new(path).within(place)?;
    }
    Ok(repaired)
}
