//! `confext.fec` and `confext.repair`: parity of an image, and a new image from a damaged one.

use std::path::PathBuf;

use confext_core::image_file;
use confext_ddi::RootHash;
use confext_ddi::parity;
use confext_ddi::verity;
use confext_ddi::verity::fec::{Area, Block, Roots};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::{in_image, raise};
use crate::filter::FilterArgument;
use crate::open::{Opening, open};
use crate::progress::Progress;
use crate::record::{Tuple, record};

record! {
    /// The parity of an image.
    Parity {
        /// How many bytes of each codeword of 255 are parity.
        roots: u8,
        /// The size of the parity, in bytes.
        size: u64,
        /// How many blocks of data are covered.
        data_blocks: u64,
        /// How many blocks of the hash partition are covered.
        hash_blocks: u64,
    }
}

record! {
    /// A block that was damaged.
    DamagedBlock {
        /// What it holds: `data` or `hash`.
        area: &'static str,
        /// Which it is, counted from the start of the data or of the hash tree.
        block: u64,
        /// Where it starts in the image, in bytes.
        offset: u64,
    }
}

record! {
    /// What a repair came to.
    Repair {
        /// Whether every block is right now; only then the output was written.
        whole: bool,
        /// What every block was checked against, in hex. Nobody checked a signature of it.
        root_hash: String,
        /// The blocks that were damaged and are right now.
        repaired: Tuple<DamagedBlock>,
        /// The blocks that are damaged and stay so.
        unrepairable: Tuple<DamagedBlock>,
        /// How many blocks could not be looked at, because the hash block with their digest is unrepairable.
        unchecked_blocks: u64,
    }
}

impl From<Block> for DamagedBlock {
    fn from(block: Block) -> Self {
        let area = match block.area {
            Area::Data => "data",
            Area::Hash => "hash",
        };
        Self { area, block: block.block, offset: block.offset }
    }
}

/// Make parity for an image, as `veritysetup` does, after checking every block of it.
///
/// `roots` bytes of parity, 2 to 24, protect up to 255 minus so many bytes of the image. `output` is a
/// new file (`output-exists`). `progress` is called as by `Admitted.check`.
#[pyfunction]
#[pyo3(
    signature = (
        path, *, output, roots=2, select=None, copies="any", image_filter=FilterArgument::default(), progress=None,
    ),
    text_signature = "(path, *, output, roots=2, select=None, copies='any', image_filter='', progress=None)"
)]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn fec(
    py: Python<'_>,
    path: PathBuf,
    output: PathBuf,
    roots: i64,
    select: Option<&str>,
    copies: &str,
    image_filter: FilterArgument,
    progress: Option<Py<PyAny>>,
) -> PyResult<Parity> {
    let roots = self::roots(roots)?;
    let options = Opening { select, copies, image_filter }.any(py)?;
    Progress::watch(py, progress, move |progress| {
        let image = open(&path, &options)?;
        let tell = |at: verity::Progress| progress.tell(at.done_bytes, at.total_bytes);
        let coverage = parity::encode_file_watched(&image, roots, output, tell).map_err(in_image(&path))?;
        Ok(Parity {
            roots: coverage.roots().get(),
            size: coverage.fec_bytes(),
            data_blocks: coverage.data_blocks(),
            hash_blocks: coverage.hash_blocks(),
        })
    })
}

/// Repair a damaged image with its parity into a new image. The image itself is only read; no signature is checked.
///
/// `output` is written when every block could be repaired, and nothing may be there before. `roots` and `fec_offset`, in
/// bytes, are those that the parity was made with. Without `root_hash` the one that the image claims is repaired towards.
/// `progress` is called as by `Admitted.check`.
#[pyfunction]
#[pyo3(
    signature = (
        path, *, fec, output, roots=2, fec_offset=0, root_hash=None, select=None, copies="any",
        image_filter=FilterArgument::default(), progress=None,
    ),
    text_signature = "(path, *, fec, output, roots=2, fec_offset=0, root_hash=None, select=None, copies='any', \
        image_filter='', progress=None)"
)]
#[expect(clippy::too_many_arguments, reason = "Python calls it with names")]
pub(crate) fn repair(
    py: Python<'_>,
    path: PathBuf,
    fec: PathBuf,
    output: PathBuf,
    roots: i64,
    fec_offset: u64,
    root_hash: Option<&str>,
    select: Option<&str>,
    copies: &str,
    image_filter: FilterArgument,
    progress: Option<Py<PyAny>>,
) -> PyResult<Repair> {
    let opening = Opening { select, copies, image_filter }.any(py)?;
    let mut options = parity::Options::default().roots(self::roots(roots)?).fec_offset(fec_offset);
    options.root_hash =
        root_hash.map(RootHash::parse).transpose().map_err(|error| raise(py, &error.into()))?;
    Progress::watch(py, progress, move |progress| {
        let (image, fec) = (open(&path, &opening)?, image_file::open(fec)?);
        let tell = |at: verity::Progress| progress.tell(at.done_bytes, at.total_bytes);
        let repaired = parity::repair_file_watched(&image, &fec, output, &options, tell);
        let repaired = repaired.map_err(in_image(&path))?;
        Ok(Repair {
            whole: repaired.report.is_whole(),
            root_hash: repaired.root_hash.to_hex(),
            repaired: repaired.report.repaired.into_iter().collect(),
            unrepairable: repaired.report.unrepairable.into_iter().collect(),
            unchecked_blocks: repaired.report.unchecked_blocks,
        })
    })
}

fn roots(roots: i64) -> PyResult<Roots> {
    u8::try_from(roots)
        .ok()
        .and_then(Roots::new)
        .ok_or_else(|| PyValueError::new_err(format!("roots: found {roots}, expected 2 to 24")))
}
