//! Which block is in which codewords, and how much parity there is.

use crate::error::{Corrupt, Result};
use crate::units::BlockSize;

/// How many bytes of each codeword of 255 are parity: 2 to 24.
///
/// So many blocks of a round can be mended when it is known which are bad, half as many when it is not.
///
/// ```
/// use confext_ddi::verity::fec::Roots;
///
/// // Of 255 blocks two are parity, and so many can be brought back.
/// assert_eq!((Roots::default().get(), Roots::default().data_rows()), (2, 253));
/// assert_eq!(Roots::new(25), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Roots(u8);

impl Roots {
    /// The fewest.
    pub const MIN: Self = Self(2);
    /// The most.
    pub const MAX: Self = Self(24);

    /// Returns the number, or `None` when it is not from 2 to 24.
    #[must_use]
    pub fn new(roots: u8) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&roots).then_some(Self(roots))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// How many bytes of a codeword are data: 253 to 231.
    #[must_use]
    pub const fn data_rows(self) -> u8 {
        u8::MAX.saturating_sub(self.0)
    }
}

/// What `veritysetup` takes when it is not told.
impl Default for Roots {
    fn default() -> Self {
        Self::MIN
    }
}

impl std::fmt::Display for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Which blocks are covered, which are in one round, and how much parity that makes.
///
/// *Shape*: covered blocks are counted from 0, first those of the data, then those of the hash area behind its
/// superblock. Blocks past the last are zeros.
///
/// ```
/// use confext_ddi::units::BlockSize;
/// use confext_ddi::verity::fec::{Coverage, Roots};
///
/// // 1 GiB of data and its tree: how large is the parity?
/// let coverage = Coverage::new(BlockSize::B4096, Roots::default(), 262_144, 2_065)?;
/// assert_eq!(coverage.rounds(), 1045);
/// assert_eq!(coverage.fec_bytes(), 1045 * 2 * 4096);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Coverage {
    block_size: BlockSize,
    roots: Roots,
    data_blocks: u64,
    hash_blocks: u64,
    rounds: u64,
    fec_bytes: u64,
}

impl Coverage {
    /// Works the rounds out.
    ///
    /// `hash_blocks` are the whole blocks from the first block of the tree to the end of its device (or to the parity
    /// that follows on the same one): more than the tree when something else follows it. Data and hash blocks have to
    /// be of the same size.
    ///
    /// # Errors
    ///
    /// `verity-data-blocks` when there is no data, `fec-overflow`.
    pub fn new(block_size: BlockSize, roots: Roots, data_blocks: u64, hash_blocks: u64) -> Result<Self> {
        if data_blocks == 0 {
            return Err(Corrupt::VerityDataBlocks { found: 0 }.into());
        }
        Self::checked(block_size, roots, data_blocks, hash_blocks)
            .ok_or_else(|| Corrupt::FecOverflow { data_blocks, hash_blocks }.into())
    }

    /// `None` when a number does not fit.
    fn checked(block_size: BlockSize, roots: Roots, data_blocks: u64, hash_blocks: u64) -> Option<Self> {
        let block_bytes = u64::from(block_size.bytes());
        let blocks = data_blocks.checked_add(hash_blocks)?;
        let rounds = blocks.div_ceil(u64::from(roots.data_rows()));
        let fec_bytes = rounds.checked_mul(u64::from(roots.get()))?.checked_mul(block_bytes)?;
        // Offsets in files and devices are signed.
        i64::try_from(blocks.checked_mul(block_bytes)?).ok()?;
        i64::try_from(fec_bytes).ok()?;
        Some(Self { block_size, roots, data_blocks, hash_blocks, rounds, fec_bytes })
    }

    /// The size of data blocks and of hash blocks.
    #[must_use]
    pub const fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// How many bytes of a codeword are parity.
    #[must_use]
    pub const fn roots(&self) -> Roots {
        self.roots
    }

    /// How many data blocks are covered.
    #[must_use]
    pub const fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// How many blocks of the hash area are covered.
    #[must_use]
    pub const fn hash_blocks(&self) -> u64 {
        self.hash_blocks
    }

    /// How many rounds there are: block n is in round n modulo this.
    #[must_use]
    pub const fn rounds(&self) -> u64 {
        self.rounds
    }

    /// How many bytes of parity there are.
    #[must_use]
    pub const fn fec_bytes(&self) -> u64 {
        self.fec_bytes
    }

    /// How many blocks are covered.
    pub(super) const fn blocks(&self) -> u64 {
        self.data_blocks.saturating_add(self.hash_blocks)
    }

    /// The size of a block, in bytes.
    pub(super) fn block_bytes(&self) -> usize {
        usize::try_from(self.block_size.bytes()).unwrap_or(usize::MAX)
    }

    /// How many bytes of parity one round has. Cannot overflow: at most 24 blocks of 64 KiB.
    pub(super) fn round_bytes(&self) -> usize {
        usize::from(self.roots.get()).saturating_mul(self.block_bytes())
    }

    /// The round that a covered block is in.
    pub(super) fn round_of(&self, block: u64) -> u64 {
        block.checked_rem(self.rounds).unwrap_or(0)
    }

    /// The block in a row of a round; one past the last is a block of zeros.
    pub(super) fn block_in(&self, round: u64, row: usize) -> u64 {
        let row = u64::try_from(row).unwrap_or(u64::MAX);
        row.saturating_mul(self.rounds).saturating_add(round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_2_to_24() {
        let all: Vec<u8> = (0..=255).filter(|roots| Roots::new(*roots).is_some()).collect();
        assert_eq!(all, (2..=24).collect::<Vec<u8>>());
        assert_eq!((Roots::MIN.data_rows(), Roots::MAX.data_rows()), (253, 231));
    }

    #[test]
    fn every_block_is_in_one_row_of_one_round() {
        for (roots, data_blocks, hash_blocks, rounds) in
            [(2, 1, 0, 1), (2, 252, 1, 1), (2, 253, 1, 2), (24, 231, 0, 1), (24, 1000, 33, 5)]
        {
            let roots = Roots::new(roots).unwrap();
            let coverage = Coverage::new(BlockSize::B4096, roots, data_blocks, hash_blocks).unwrap();
            assert_eq!(coverage.rounds(), rounds);
            assert_eq!(coverage.fec_bytes(), rounds * u64::from(roots.get()) * 4096);
            let mut seen = Vec::new();
            for round in 0..rounds {
                for row in 0..usize::from(roots.data_rows()) {
                    let block = coverage.block_in(round, row);
                    assert_eq!(coverage.round_of(block), round);
                    seen.push(block);
                }
            }
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..rounds * u64::from(roots.data_rows())));
            assert!(seen.len() as u64 >= coverage.blocks());
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let new = |data, hash| Coverage::new(BlockSize::B4096, Roots::MAX, data, hash);
        assert_eq!(new(0, 5).unwrap_err().code(), "verity-data-blocks");
        assert!(new((1 << 51) - 1, 0).is_ok());
        for (data, hash) in [(1 << 51, 0), ((1 << 51) - 1, 1), (u64::MAX, 0), (1, u64::MAX)] {
            assert_eq!(new(data, hash).unwrap_err().code(), "fec-overflow");
        }
    }
}
