//! The table, and the chains of clusters in it.

use super::volume::{Volume, Width};
use super::wrong;
use crate::ReadAt;
use crate::error::Result;

/// How much of the table is read at a time.
const PART_BYTES: u64 = 512;
/// An entry of 12 bits may cross the end of a part.
const OVERLAP: u64 = 4;

/// The table, of which the part that was looked at last is kept.
pub(super) struct Table<'a, R> {
    reader: &'a R,
    volume: &'a Volume,
    part: Vec<u8>,
    part_start: u64,
}

impl<'a, R: ReadAt> Table<'a, R> {
    pub(super) const fn new(reader: &'a R, volume: &'a Volume) -> Self {
        Self { reader, volume, part: Vec::new(), part_start: 0 }
    }

    /// The cluster that follows; `None` behind the last one.
    pub(super) fn next(&mut self, cluster: u32) -> Result<Option<u32>> {
        if !self.volume.has(cluster) {
            return Err(wrong("cluster", cluster, "2 to the number of all clusters and one"));
        }
        let number = u64::from(cluster);
        let (value, ends) = match self.volume.width {
            Width::Fat12 => {
                let pair = self.bytes(number.saturating_add(number >> 1))?;
                let shift = if number.is_multiple_of(2) { 0 } else { 4 };
                (u32::from(u16::from_le_bytes(pair) >> shift) & 0xfff, 0xff8)
            }
            Width::Fat16 => (u16::from_le_bytes(self.bytes(number.saturating_mul(2))?).into(), 0xfff8),
            // Four of 32 bits have no meaning.
            Width::Fat32 => {
                (u32::from_le_bytes(self.bytes(number.saturating_mul(4))?) & 0x0fff_ffff, 0x0fff_fff8)
            }
        };
        if value >= ends {
            return Ok(None);
        }
        if !self.volume.has(value) {
            return Err(wrong("cluster in a chain", value, "a cluster that is in use"));
        }
        Ok(Some(value))
    }

    fn bytes<const N: usize>(&mut self, at: u64) -> Result<[u8; N]> {
        let start = at.saturating_sub(at % PART_BYTES);
        if self.part.is_empty() || self.part_start != start {
            let table = self.volume.table;
            let rest = table.len_bytes().saturating_sub(start);
            let len = usize::try_from(rest.min(PART_BYTES.saturating_add(OVERLAP))).unwrap_or_default();
            self.part.clear();
            self.part.resize(len, 0);
            self.reader.read_exact_at(table.start().saturating_add(start), &mut self.part)?;
            self.part_start = start;
        }
        let within = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
        let bytes = self.part.get(within..).and_then(|rest| rest.first_chunk());
        bytes.copied().ok_or_else(|| wrong("table", at, "an entry for each cluster"))
    }
}

/// The chain of a file, followed once from its start to its end: as long as the file's size says.
#[derive(Debug)]
pub(super) struct Chain {
    clusters: u64,
    /// Every `stride`-th cluster, the first one first.
    marks: Vec<u32>,
    stride: u64,
}

impl Chain {
    /// Marks of one chain; between them the table is followed again.
    const MOST_MARKS: u64 = 4096;

    /// Follows a chain of `clusters` clusters, at least one. A chain that leads back to itself is longer than that.
    pub(super) fn of_file<R: ReadAt>(table: &mut Table<'_, R>, first: u32, clusters: u64) -> Result<Self> {
        let stride = clusters.div_ceil(Self::MOST_MARKS).max(1);
        let mut marks = Vec::new();
        let mut cluster = first;
        for index in 0..clusters {
            if index.checked_rem(stride) == Some(0) {
                marks.push(cluster);
            }
            let is_last = index.saturating_add(1) == clusters;
            match table.next(cluster)? {
                Some(next) if !is_last => cluster = next,
                None if is_last => {}
                Some(_) => return Err(wrong("chain of a file", clusters, "more clusters, for its size")),
                None => return Err(wrong("chain of a file", index.saturating_add(1), "all its clusters")),
            }
        }
        Ok(Self { clusters, marks, stride })
    }

    /// The cluster at `index`, from 0.
    pub(super) fn seek<R: ReadAt>(&self, table: &mut Table<'_, R>, index: u64) -> Result<u32> {
        let mark = index.checked_div(self.stride).and_then(|mark| usize::try_from(mark).ok());
        let mark = mark.and_then(|mark| self.marks.get(mark)).filter(|_| index < self.clusters);
        let mut cluster = *mark.ok_or_else(|| wrong("cluster of a file", index, "one of its clusters"))?;
        for _ in 0..index.checked_rem(self.stride).unwrap_or(0) {
            cluster = self.next(table, cluster, index)?;
        }
        Ok(cluster)
    }

    /// The cluster behind `cluster`, which is the one at `index`.
    pub(super) fn next<R: ReadAt>(&self, table: &mut Table<'_, R>, cluster: u32, index: u64) -> Result<u32> {
        // The chain was followed to its end before, but its bytes are read again and may be others now.
        table.next(cluster)?.ok_or_else(|| wrong("chain of a file", index, "all its clusters"))
    }
}
