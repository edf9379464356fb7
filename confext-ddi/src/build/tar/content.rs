//! [`TarFile`]: the content of a file, as a part of the archive.

use super::sparse::Map;
use crate::build::content::Content;
use crate::error::{Corrupt, Result};
use crate::read::ReadAt;
use crate::units::ByteRange;
use std::io::Write;
use std::sync::Arc;

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 18;

/// A file in an archive: all of its bytes in one place, or those of a sparse file one range after the other.
pub(super) struct TarFile<R> {
    archive: Arc<R>,
    size: u64,
    /// Of a sparse file: each stored range, and where in the archive it starts.
    ranges: Option<Vec<ByteRange>>,
    starts: Vec<u64>,
}

impl<R> std::fmt::Debug for TarFile<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TarFile")
            .field("size", &self.size)
            .field("ranges", &self.ranges)
            .finish_non_exhaustive()
    }
}

impl<R: ReadAt> TarFile<R> {
    /// A file whose `stored` bytes lie at `start`.
    pub(super) fn new(archive: Arc<R>, start: u64, stored: u64, map: Option<Map>) -> Result<Self> {
        let Some(map) = map else {
            return Ok(Self { archive, size: stored, ranges: None, starts: vec![start] });
        };
        let mut starts = Vec::with_capacity(map.ranges.len());
        let mut at = start;
        for range in &map.ranges {
            starts.push(at);
            at = at
                .checked_add(range.len_bytes())
                .ok_or(Corrupt::TarTruncated { end: u64::MAX, size: start })?;
        }
        let found = at.saturating_sub(start);
        if found != stored {
            let (found, expected) = (format!("{found} bytes in the map, {stored} stored"), "the same");
            return Err(Corrupt::TarHeader { what: "sparse map", found, expected }.into());
        }
        Ok(Self { archive, size: map.size, ranges: Some(map.ranges), starts })
    }

    fn write(&self, start: u64, len: u64, out: &mut dyn Write) -> Result<()> {
        let mut buf = vec![0; COPY_BYTES.min(usize::try_from(len).unwrap_or(COPY_BYTES))];
        let mut done = 0_u64;
        while done < len {
            let rest = usize::try_from(len.saturating_sub(done)).unwrap_or(usize::MAX);
            let part = buf.get_mut(..rest.min(COPY_BYTES)).unwrap_or_default();
            self.archive.read_exact_at(start.saturating_add(done), part)?;
            out.write_all(part)?;
            done = done.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Writes a range of a sparse file: what is stored, and zeros between.
    fn write_sparse(&self, stored: &[ByteRange], wanted: ByteRange, out: &mut dyn Write) -> Result<()> {
        let zeros = |len: u64, out: &mut dyn Write| -> Result<()> {
            std::io::copy(&mut std::io::Read::take(std::io::repeat(0), len), out)?;
            Ok(())
        };
        let mut at = wanted.start();
        let first = stored.partition_point(|range| range.end() <= at);
        let pairs = stored.iter().zip(&self.starts).skip(first);
        for (range, start) in pairs.take_while(|(range, _)| range.start() < wanted.end()) {
            zeros(range.start().saturating_sub(at), out)?;
            let from = range.start().max(wanted.start());
            let to = range.end().min(wanted.end());
            let start = start.saturating_add(from.saturating_sub(range.start()));
            self.write(start, to.saturating_sub(from), out)?;
            at = to;
        }
        zeros(wanted.end().saturating_sub(at), out)
    }
}

impl<R: ReadAt> Content for TarFile<R> {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn data(&self) -> Option<&[ByteRange]> {
        self.ranges.as_deref()
    }

    fn copy(&self, ranges: &[ByteRange], out: &mut dyn Write) -> Result<()> {
        for range in ranges {
            if range.end() > self.size {
                return Err(Corrupt::OutOfBounds { end: range.end(), size: self.size }.into());
            }
            match (&self.ranges, self.starts.first()) {
                (Some(stored), _) => self.write_sparse(stored, *range, out)?,
                (None, Some(start)) => {
                    self.write(start.saturating_add(range.start()), range.len_bytes(), out)?
                }
                (None, None) => {}
            }
        }
        Ok(())
    }
}
