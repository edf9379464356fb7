//! Where each level of a hash tree lies.

use super::Superblock;
use crate::error::{Corrupt, Result};

/// One level of a hash tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Level {
    /// Where the level starts, in hash blocks from the superblock.
    pub first_block: u64,
    /// How many hash blocks it has.
    pub blocks: u64,
    /// How many digests they hold.
    pub digests: u64,
}

/// Where each level of a hash tree lies.
///
/// *Shape*: level 0 holds the digests of the data; levels are stored top first behind the superblock's block; no level
/// at all for one data block.
///
/// *Spec*: kernel `admin-guide/device-mapper/verity.rst`, "Hash Tree".
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Geometry {
    digest_bytes: usize,
    digests_per_block: u64,
    block_bytes: usize,
    levels: Vec<Level>,
    data_bytes: u64,
    tree_bytes: u64,
    hash_area_bytes: u64,
}

impl Geometry {
    /// Works the levels out.
    ///
    /// # Errors
    ///
    /// `verity-data-blocks`, `verity-overflow`.
    pub fn new(superblock: &Superblock) -> Result<Self> {
        let data_blocks = superblock.data_blocks;
        if data_blocks == 0 {
            return Err(Corrupt::VerityDataBlocks { found: 0 }.into());
        }
        Self::checked(superblock).ok_or_else(|| {
            let block_size = superblock.data_block_size.bytes();
            Corrupt::VerityOverflow { data_blocks, block_size }.into()
        })
    }

    /// `None` when a number does not fit.
    fn checked(superblock: &Superblock) -> Option<Self> {
        // Digests start at multiples of a power of two; so does a block, therefore none crosses a block's end.
        let digest_bytes = superblock.algorithm.digest_bytes().checked_next_power_of_two()?;
        let block_size = u64::from(superblock.hash_block_size.bytes());
        let digests_per_block = block_size.checked_div(u64::try_from(digest_bytes).ok()?)?;
        let mut levels = Vec::new();
        let mut below = superblock.data_blocks;
        while below > 1 {
            let blocks = below.div_ceil(digests_per_block);
            levels.push(Level { first_block: 0, blocks, digests: below });
            below = blocks;
        }
        let mut next_block = 1_u64;
        for level in levels.iter_mut().rev() {
            level.first_block = next_block;
            next_block = next_block.checked_add(level.blocks)?;
        }
        let hash_area_bytes = next_block.checked_mul(block_size)?;
        let data_bytes = superblock.data_blocks.checked_mul(u64::from(superblock.data_block_size.bytes()))?;
        // Offsets in files and devices are signed.
        i64::try_from(hash_area_bytes).ok()?;
        i64::try_from(data_bytes).ok()?;
        Some(Self {
            digest_bytes,
            digests_per_block,
            block_bytes: usize::try_from(block_size).ok()?,
            levels,
            data_bytes,
            tree_bytes: hash_area_bytes.checked_sub(block_size)?,
            hash_area_bytes,
        })
    }

    /// The levels, those with the digests of the data first.
    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// How many digests a hash block holds.
    #[must_use]
    pub const fn digests_per_block(&self) -> u64 {
        self.digests_per_block
    }

    /// Distance of two digests in a hash block, in bytes.
    #[must_use]
    pub const fn digest_bytes(&self) -> usize {
        self.digest_bytes
    }

    /// Size of a hash block, in bytes.
    #[must_use]
    pub const fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// How many bytes of data the tree protects.
    #[must_use]
    pub const fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Size of all levels together, without the superblock's block.
    #[must_use]
    pub const fn tree_bytes(&self) -> u64 {
        self.tree_bytes
    }

    /// Size of the superblock's block and all levels together.
    #[must_use]
    pub const fn hash_area_bytes(&self) -> u64 {
        self.hash_area_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Salt;
    use crate::id::Uuid;
    use crate::units::BlockSize;

    fn geometry(data_blocks: u64) -> Result<Geometry> {
        Geometry::new(&Superblock::new(Uuid::from_bytes([0; 16]), data_blocks, Salt::default()))
    }

    #[test]
    fn levels_are_stored_top_first() {
        let table: &[(u64, &[(u64, u64)])] = &[
            (1, &[]),
            (2, &[(1, 1)]),
            (128, &[(1, 1)]),
            (129, &[(2, 2), (1, 1)]),
            (16384, &[(2, 128), (1, 1)]),
            (16385, &[(4, 129), (2, 2), (1, 1)]),
            (2_097_152, &[(130, 16384), (2, 128), (1, 1)]),
            (2_097_153, &[(133, 16385), (4, 129), (2, 2), (1, 1)]),
        ];
        for (data_blocks, expected) in table {
            let geometry = geometry(*data_blocks).unwrap();
            let found: Vec<_> = geometry.levels().iter().map(|l| (l.first_block, l.blocks)).collect();
            assert_eq!(found, *expected, "{data_blocks}");
            let blocks: u64 = expected.iter().map(|(_, blocks)| blocks).sum();
            assert_eq!(geometry.tree_bytes(), blocks * 4096);
            assert_eq!(geometry.hash_area_bytes(), (blocks + 1) * 4096);
            assert_eq!(geometry.data_bytes(), data_blocks * 4096);
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(geometry(0).unwrap_err().code(), "verity-data-blocks");
        assert!(geometry((1 << 51) - 1).is_ok());
        assert_eq!(geometry(1 << 51).unwrap_err().code(), "verity-overflow");
        assert_eq!(geometry(u64::MAX).unwrap_err().code(), "verity-overflow");
        let mut lopsided = Superblock::new(Uuid::from_bytes([0; 16]), 1 << 53, Salt::default());
        lopsided.data_block_size = BlockSize::new(512).unwrap();
        lopsided.hash_block_size = BlockSize::new(65536).unwrap();
        assert!(Geometry::new(&lopsided).is_ok());
        lopsided.data_blocks = 1 << 54;
        assert_eq!(Geometry::new(&lopsided).unwrap_err().code(), "verity-overflow");
    }
}
