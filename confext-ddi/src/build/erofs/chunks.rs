//! Files with holes: which chunks hold data, and which chunk size costs least.

use super::BLOCK;
use crate::units::ByteRange;

/// The largest chunk considered, as a power of two of blocks: 4 GiB.
const MAX_BITS: u8 = 20;

/// Consecutive chunks that hold data, stored in consecutive blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) count: u64,
    /// Where the first chunk is stored; set when blocks are given out.
    pub(super) block: u64,
}

/// A file cut into chunks, the ones between the runs being holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunks {
    /// A chunk is `4096 << bits` bytes.
    pub(super) bits: u8,
    pub(super) runs: Vec<Run>,
    size: u64,
}

impl Chunks {
    /// The chunk size that makes the image smallest; `None` when storing the file without holes is no larger.
    pub(super) fn choose(size: u64, data: &[ByteRange]) -> Option<Self> {
        let candidates = (0..=MAX_BITS).map(|bits| Self::cut(bits, size, data));
        let best = candidates.min_by_key(Self::cost_bytes)?;
        (best.cost_bytes() < size.next_multiple_of(BLOCK)).then_some(best)
    }

    fn cut(bits: u8, size: u64, data: &[ByteRange]) -> Self {
        let chunk = BLOCK << bits;
        let mut runs: Vec<Run> = Vec::new();
        for range in data.iter().filter(|range| !range.is_empty()) {
            let first = range.start() >> chunk.trailing_zeros();
            let end = range.end().div_ceil(chunk);
            match runs.last_mut() {
                Some(run) if run.first.saturating_add(run.count) >= first => {
                    run.count = end.saturating_sub(run.first).max(run.count);
                }
                _ => runs.push(Run { first, count: end.saturating_sub(first), block: 0 }),
            }
        }
        Self { bits, runs, size }
    }

    fn cost_bytes(&self) -> u64 {
        let blocks = self.runs.iter().map(|run| self.blocks(run)).fold(0, u64::saturating_add);
        blocks.saturating_mul(BLOCK).saturating_add(self.table_bytes())
    }

    const fn chunk_bytes(&self) -> u64 {
        BLOCK << self.bits
    }

    /// How many blocks one whole chunk takes.
    pub(super) const fn chunk_blocks(&self) -> u64 {
        1 << self.bits
    }

    pub(super) const fn count(&self) -> u64 {
        self.size.div_ceil(self.chunk_bytes())
    }

    /// The table behind the inode: 4 bytes a chunk.
    pub(super) const fn table_bytes(&self) -> u64 {
        self.count().saturating_mul(4)
    }

    /// The bytes of the file that a run stores.
    pub(super) fn range(&self, run: &Run) -> ByteRange {
        let start = run.first.saturating_mul(self.chunk_bytes()).min(self.size);
        let len = run.count.saturating_mul(self.chunk_bytes());
        let end = start.saturating_add(len).min(self.size);
        ByteRange::with_len(start, end.saturating_sub(start)).unwrap_or(ByteRange::EMPTY)
    }

    /// How many blocks a run takes: the file's last chunk only as many as it needs.
    pub(super) fn blocks(&self, run: &Run) -> u64 {
        self.range(run).len_bytes().div_ceil(BLOCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(u64, u64)]) -> Vec<ByteRange> {
        list.iter().map(|(start, end)| ByteRange::new(*start, *end).unwrap()).collect()
    }

    #[test]
    fn a_huge_file_with_islands_costs_little_more_than_its_data() {
        let size = 8 << 30;
        let data = ranges(&[(0, 4096), (4 << 30, (4 << 30) + 100), (size - 5, size)]);
        let chunks = Chunks::choose(size, &data).unwrap();
        assert_eq!(chunks.runs.len(), 3);
        assert!(chunks.cost_bytes() < 1 << 20, "{chunks:?}");
        assert_eq!(chunks.range(&chunks.runs[2]).end(), size);
        assert_eq!(chunks.count() * chunks.chunk_bytes(), size);
    }

    #[test]
    fn a_file_of_one_hole_stores_no_block() {
        let chunks = Chunks::choose(8 << 40, &[]).unwrap();
        assert_eq!((chunks.runs.len(), chunks.bits), (0, MAX_BITS));
    }

    #[test]
    fn files_without_worthwhile_holes_stay_flat() {
        assert_eq!(Chunks::choose(0, &[]), None);
        assert_eq!(Chunks::choose(8192, &ranges(&[(0, 8192)])), None);
        assert_eq!(Chunks::choose(8192, &ranges(&[(0, 1), (4097, 4098)])), None);
        let half = Chunks::choose(8192, &ranges(&[(5000, 8192)])).unwrap();
        assert_eq!((half.bits, half.blocks(&half.runs[0])), (0, 1));
    }

    #[test]
    fn neighbours_in_one_chunk_are_one_run() {
        let chunks = Chunks::cut(1, 1 << 20, &ranges(&[(0, 10), (20, 30), (8191, 8193), (40_960, 40_961)]));
        let runs: Vec<_> = chunks.runs.iter().map(|run| (run.first, run.count)).collect();
        assert_eq!(runs, [(0, 2), (5, 1)]);
    }
}
