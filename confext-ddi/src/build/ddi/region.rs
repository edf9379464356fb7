//! Parts of the output: written, padded to whole grains, and read back.

use crate::build::gpt as table;
use crate::error::{Corrupt, Error, Result};
use crate::read::ReadAt;
use crate::units::ByteRange;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(in crate::build) fn range_after(start: u64, len_bytes: u64) -> Result<ByteRange> {
    let range = ByteRange::with_len(start, len_bytes);
    range.ok_or_else(|| Corrupt::OutOfBounds { end: u64::MAX, size: start }.into())
}

/// Writes a partition's bytes from `start`, padded with zeros to whole grains.
pub(in crate::build) fn append<W: Write + Seek>(out: &mut W, start: u64, bytes: &[u8]) -> Result<ByteRange> {
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let range = range_after(start, len.max(1).next_multiple_of(table::GRAIN))?;
    out.seek(SeekFrom::Start(start))?;
    out.write_all(bytes)?;
    let padding = usize::try_from(range.len_bytes().saturating_sub(len)).unwrap_or_default();
    out.write_all(&vec![0; padding])?;
    Ok(range)
}

/// A part of the output, read back.
pub(in crate::build) struct Region<'o, W> {
    out: Mutex<&'o mut W>,
    range: ByteRange,
}

impl<'o, W> Region<'o, W> {
    pub(in crate::build) const fn new(out: &'o mut W, range: ByteRange) -> Self {
        Self { out: Mutex::new(out), range }
    }

    fn lock(&self) -> MutexGuard<'_, &'o mut W> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write + Seek> Region<'_, W> {
    /// Writes at a place of the whole output, while the region can be read.
    pub(super) fn write_outside(&self, absolute: u64, bytes: &[u8]) -> Result<()> {
        let mut out = self.lock();
        out.seek(SeekFrom::Start(absolute))?;
        out.write_all(bytes).map_err(|error| Error::from(error).at_offset(absolute))
    }
}

impl<W: Read + Seek + Send> ReadAt for Region<'_, W> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        let wanted = range_after(offset, len)?;
        let absolute = self.range.slice(wanted)?;
        let mut out = self.lock();
        out.seek(SeekFrom::Start(absolute.start()))?;
        out.read_exact(buf).map_err(|error| Error::from(error).at_offset(absolute.start()))
    }

    fn size_bytes(&self) -> Result<u64> {
        Ok(self.range.len_bytes())
    }
}
