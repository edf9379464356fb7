//! The covered blocks as one sequence, and the rows of a round.

use super::Coverage;
use crate::error::{Corrupt, Result, ResultExt as _};
use crate::read::ReadAt;

/// Data and hash area, read by the numbers of covered blocks.
#[derive(Debug)]
pub(super) struct Covered<'a, D: ?Sized, H: ?Sized> {
    pub(super) data: &'a D,
    pub(super) hash: &'a H,
    pub(super) coverage: Coverage,
}

impl<'a, D: ReadAt + ?Sized, H: ReadAt + ?Sized> Covered<'a, D, H> {
    /// Checks that both sources are as long as what is covered of them.
    pub(super) fn new(data: &'a D, hash: &'a H, coverage: Coverage) -> Result<Self> {
        let covered = Self { data, hash, coverage };
        let (found, expected) = (data.size_bytes()?, covered.bytes_of(coverage.data_blocks()));
        if found < expected {
            return Err(Corrupt::VerityDataArea { found, expected }.into());
        }
        let (found, expected) = (hash.size_bytes()?, covered.bytes_of(coverage.hash_blocks()));
        if found < expected {
            return Err(Corrupt::VerityHashArea { found, expected }.into());
        }
        Ok(covered)
    }

    /// The size of some blocks. Cannot overflow for those that are covered.
    fn bytes_of(&self, blocks: u64) -> u64 {
        blocks.saturating_mul(u64::from(self.coverage.block_size().bytes()))
    }

    /// Fills `buf`, which is whole blocks, from covered block `first` on; past the last block with zeros.
    pub(super) fn read(&self, first: u64, buf: &mut [u8]) -> Result<()> {
        let block_bytes = self.coverage.block_bytes();
        let (data_blocks, blocks) = (self.coverage.data_blocks(), self.coverage.blocks());
        let mut rest = buf;
        let mut at = first;
        while !rest.is_empty() {
            let (end, base) = if at < data_blocks { (data_blocks, 0) } else { (blocks, data_blocks) };
            let room = rest.len().checked_div(block_bytes).unwrap_or(0);
            let count = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(room);
            if count == 0 {
                rest.fill(0);
                break;
            }
            let Some((here, after)) = rest.split_at_mut_checked(count.saturating_mul(block_bytes)) else {
                break;
            };
            let offset = self.bytes_of(at.saturating_sub(base));
            if at < data_blocks {
                self.data.read_exact_at(offset, here).within("data")?;
            } else {
                self.hash.read_exact_at(offset, here).within("hash-tree")?;
            }
            at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Roots;
    use super::*;
    use crate::units::BlockSize;

    #[test]
    fn data_hashes_and_zeros_are_one_sequence() {
        let block_size = BlockSize::new(512).unwrap();
        let data: Vec<u8> = (0..5 * 512_u32).map(|at| (at / 512) as u8 + 1).collect();
        let hash = vec![9; 2 * 512];
        let coverage = Coverage::new(block_size, Roots::MIN, 4, 1).unwrap();
        let covered = Covered::new(&data, &hash, coverage).unwrap();
        let mut buf = vec![0xff; 8 * 512];
        covered.read(0, &mut buf).unwrap();
        let firsts: Vec<u8> = buf.chunks(512).map(|block| block[0]).collect();
        assert_eq!(firsts, [1, 2, 3, 4, 9, 0, 0, 0]);
        assert!(buf.chunks(512).all(|block| block.iter().all(|byte| *byte == block[0])));
        covered.read(u64::MAX, &mut buf).unwrap();
        assert!(buf.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn sources_have_to_be_as_long_as_what_is_covered() {
        let coverage = Coverage::new(BlockSize::B4096, Roots::MIN, 2, 1).unwrap();
        let new = |data: usize, hash: usize| {
            Covered::new(&vec![0; data], &vec![0; hash], coverage).map(|_| ()).unwrap_err().code()
        };
        assert_eq!(new(8191, 4096), "verity-data-area");
        assert_eq!(new(8192, 4095), "verity-hash-area");
    }
}
