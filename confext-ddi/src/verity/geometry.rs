//! Where each level of a hash tree lies.

use super::{HashType, Superblock};
use crate::error::{Corrupt, Result};

/// One level of a hash tree.
///
/// ```
/// use confext_ddi::{digest::Salt, id::Uuid, verity::{Geometry, Superblock}};
///
/// // 200 digests of 32 bytes are more than a block holds: two blocks of them, and one above.
/// let geometry = Geometry::new(&Superblock::new(Uuid::from_bytes([1; 16]), 200, Salt::default()))?;
/// let levels = geometry.levels().iter().map(|level| (level.first_block, level.blocks, level.digests));
/// assert_eq!(levels.collect::<Vec<_>>(), [(2, 2, 200), (1, 1, 2)]);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Level {
    /// Where the level starts, in hash blocks from the start of the device: from the superblock in an image.
    pub first_block: u64,
    /// How many hash blocks it has.
    pub blocks: u64,
    /// How many digests they hold.
    pub digests: u64,
}

/// Where a hash area begins on its device, in bytes.
///
/// ```
/// use confext_ddi::{digest::Salt, id::Uuid, verity::{Geometry, HashArea, Superblock}};
///
/// // The tree follows its data on one device, without a superblock.
/// let superblock = Superblock::new(Uuid::from_bytes([1; 16]), 200, Salt::default());
/// let geometry = Geometry::at(&superblock, HashArea::Bare(200 * 4096))?;
/// assert_eq!(geometry.tree_start(), 200 * 4096);
/// // With one, it is behind that.
/// assert_eq!(Geometry::at(&superblock, HashArea::Superblock(0))?.tree_start(), 4096);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub enum HashArea {
    /// A superblock here, at a multiple of 512; the tree at the next hash block of the device behind it.
    Superblock(u64),
    /// No superblock; the tree here, at a multiple of the hash block size.
    Bare(u64),
}

impl HashArea {
    /// Where it begins.
    #[must_use]
    pub const fn start(self) -> u64 {
        match self {
            Self::Superblock(start) | Self::Bare(start) => start,
        }
    }
}

/// A superblock at the start of the device: that of an image's hash partition.
impl Default for HashArea {
    fn default() -> Self {
        Self::Superblock(0)
    }
}

/// What a hash tree is made with, and where each level of it lies.
///
/// *Shape*: level 0 holds the digests of the data; levels are stored top first behind the superblock's block; no level
/// at all for one data block. A hash block holds as many digests as the largest power of two that fits.
///
/// *Spec*: kernel `admin-guide/device-mapper/verity.rst`, "Hash Tree".
///
/// ```
/// use confext_ddi::{digest::Salt, id::Uuid, verity::{Geometry, Superblock}};
///
/// // How much room does the hash tree of 1 GiB take?
/// let superblock = Superblock::new(Uuid::from_bytes([1; 16]), 1 << 18, Salt::default());
/// let geometry = Geometry::new(&superblock)?;
/// assert_eq!((geometry.levels().len(), geometry.digests_per_block()), (3, 128));
/// assert_eq!(geometry.hash_area_bytes(), (1 + 1 + 16 + 2048) * 4096);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Geometry {
    #[serde(skip)]
    superblock: Superblock,
    area: HashArea,
    digest_bytes: usize,
    digests_per_block: u64,
    block_bytes: usize,
    levels: Vec<Level>,
    data_bytes: u64,
    tree_bytes: u64,
    tree_start: u64,
}

impl Geometry {
    /// Works the levels out, for a superblock at the start of the device.
    ///
    /// # Errors
    ///
    /// `verity-data-blocks`, `verity-overflow`.
    pub fn new(superblock: &Superblock) -> Result<Self> {
        Self::at(superblock, HashArea::default())
    }

    /// Works the levels out, for a hash area anywhere on its device.
    ///
    /// # Errors
    ///
    /// `verity-hash-offset`, `verity-data-blocks`, `verity-overflow`.
    pub fn at(superblock: &Superblock, area: HashArea) -> Result<Self> {
        let multiple = match area {
            HashArea::Superblock(_) => 512,
            HashArea::Bare(_) => superblock.hash_block_size.bytes(),
        };
        let found = area.start();
        if !found.is_multiple_of(u64::from(multiple)) {
            return Err(Corrupt::VerityHashOffset { found, multiple }.into());
        }
        let data_blocks = superblock.data_blocks;
        if data_blocks == 0 {
            return Err(Corrupt::VerityDataBlocks { found: 0 }.into());
        }
        Self::checked(superblock, area).ok_or_else(|| {
            let block_size = superblock.data_block_size.bytes();
            Corrupt::VerityOverflow { data_blocks, block_size }.into()
        })
    }

    /// `None` when a number does not fit.
    fn checked(superblock: &Superblock, area: HashArea) -> Option<Self> {
        let digest = superblock.algorithm.digest_bytes();
        let digest_bytes = match superblock.hash_type {
            HashType::Original => digest,
            HashType::Normal => digest.checked_next_power_of_two()?,
        };
        let block_size = u64::from(superblock.hash_block_size.bytes());
        // A block is a power of two larger than any digest; what does not fill a power of two of digests stays zero.
        let fitting = block_size.checked_div(u64::try_from(digest).ok()?)?;
        let digests_per_block = 1_u64.checked_shl(fitting.checked_ilog2()?)?;
        let mut levels = Vec::new();
        let mut below = superblock.data_blocks;
        while below > 1 {
            let blocks = below.div_ceil(digests_per_block);
            levels.push(Level { first_block: 0, blocks, digests: below });
            below = blocks;
        }
        let header = match area {
            HashArea::Superblock(_) => 512,
            HashArea::Bare(_) => 0,
        };
        let first_block = area.start().checked_add(header)?.div_ceil(block_size);
        let mut next_block = first_block;
        for level in levels.iter_mut().rev() {
            level.first_block = next_block;
            next_block = next_block.checked_add(level.blocks)?;
        }
        let end = next_block.checked_mul(block_size)?;
        let data_bytes = superblock.data_blocks.checked_mul(u64::from(superblock.data_block_size.bytes()))?;
        // Offsets in files and devices are signed.
        i64::try_from(end).ok()?;
        i64::try_from(data_bytes).ok()?;
        let tree_start = first_block.checked_mul(block_size)?;
        Some(Self {
            superblock: superblock.clone(),
            area,
            digest_bytes,
            digests_per_block,
            block_bytes: usize::try_from(block_size).ok()?,
            levels,
            data_bytes,
            tree_bytes: end.checked_sub(tree_start)?,
            tree_start,
        })
    }

    /// What the tree is made with.
    #[must_use]
    pub const fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Where the hash area begins on its device.
    #[must_use]
    pub const fn area(&self) -> HashArea {
        self.area
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

    /// Size of all levels together.
    #[must_use]
    pub const fn tree_bytes(&self) -> u64 {
        self.tree_bytes
    }

    /// Where the levels begin on their device, in bytes.
    #[must_use]
    pub const fn tree_start(&self) -> u64 {
        self.tree_start
    }

    /// Where the levels end on their device, in bytes.
    #[must_use]
    pub const fn tree_end(&self) -> u64 {
        self.tree_start.saturating_add(self.tree_bytes)
    }

    /// Size of the hash area: the superblock, what lies between it and the tree, and all levels.
    #[must_use]
    pub const fn hash_area_bytes(&self) -> u64 {
        self.tree_end().saturating_sub(self.area.start())
    }

    /// Where a hash block starts on its device. Cannot overflow: the tree's end does not.
    pub(super) fn offset_of(&self, level: &Level, block: u64) -> u64 {
        level
            .first_block
            .saturating_add(block)
            .saturating_mul(u64::from(self.superblock.hash_block_size.bytes()))
    }

    /// Size of a data block, in bytes.
    pub(super) fn data_block_bytes(&self) -> usize {
        usize::try_from(self.superblock.data_block_size.bytes()).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{HashAlgorithm, Salt};
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

    #[test]
    fn digests_fill_a_power_of_two_of_slots() {
        for (algorithm, hash_type, block, digests, distance) in [
            (HashAlgorithm::Sha1, HashType::Normal, 4096, 128, 32),
            (HashAlgorithm::Sha1, HashType::Original, 4096, 128, 20),
            (HashAlgorithm::Sha224, HashType::Normal, 512, 16, 32),
            (HashAlgorithm::Sha256, HashType::Original, 512, 16, 32),
            (HashAlgorithm::Sha384, HashType::Normal, 4096, 64, 64),
            (HashAlgorithm::Sha384, HashType::Original, 65536, 1024, 48),
            (HashAlgorithm::Sha512, HashType::Normal, 512, 8, 64),
        ] {
            let mut superblock = Superblock::new(Uuid::from_bytes([0; 16]), 10_000, Salt::default());
            (superblock.algorithm, superblock.hash_type) = (algorithm, hash_type);
            superblock.hash_block_size = BlockSize::new(block).unwrap();
            let geometry = Geometry::new(&superblock).unwrap();
            assert_eq!((geometry.digests_per_block(), geometry.digest_bytes()), (digests, distance));
        }
    }

    #[test]
    fn an_area_may_begin_anywhere() {
        let superblock = Superblock::new(Uuid::from_bytes([0; 16]), 129, Salt::default());
        for (area, start, bytes) in [
            (HashArea::Superblock(0), 4096, 4 * 4096),
            (HashArea::Superblock(512), 4096, 4 * 4096 - 512),
            (HashArea::Superblock(4096 - 512), 4096, 3 * 4096 + 512),
            (HashArea::Superblock(4096), 8192, 4 * 4096),
            (HashArea::Bare(0), 0, 3 * 4096),
            (HashArea::Bare(8192), 8192, 3 * 4096),
        ] {
            let geometry = Geometry::at(&superblock, area).unwrap();
            assert_eq!((geometry.tree_start(), geometry.hash_area_bytes()), (start, bytes), "{area:?}");
            assert_eq!(geometry.levels()[1].first_block, start / 4096);
            assert_eq!(geometry.tree_end(), start + 3 * 4096);
        }
        for area in [HashArea::Superblock(511), HashArea::Bare(512)] {
            assert_eq!(Geometry::at(&superblock, area).unwrap_err().code(), "verity-hash-offset");
        }
        let last = u64::MAX - 511;
        assert_eq!(
            Geometry::at(&superblock, HashArea::Superblock(last)).unwrap_err().code(),
            "verity-overflow"
        );
    }
}
