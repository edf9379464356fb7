//! Where inodes stand: blocks of metadata, filled as tightly as inodes and their inline tails allow.

use super::BLOCK;
use crate::erofs::{SLOT_BYTES, SUPERBLOCK_OFFSET};
use std::collections::{BTreeMap, BTreeSet};

/// Where the first inode can stand: right after the superblock.
const META_START: u64 = SUPERBLOCK_OFFSET + 128;

/// The metadata blocks given out so far, from the image's first block on.
#[derive(Debug)]
pub(super) struct Space {
    /// Blocks with room at their end, by how many bytes of it.
    open: BTreeMap<u64, BTreeSet<u64>>,
    blocks: u64,
}

/// Where an inode stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) offset: u64,
    /// Whether the tail stands right behind it; else it needs a data block.
    pub(super) inline: bool,
}

impl Space {
    /// The first block, with what the superblock leaves of it.
    pub(super) fn new() -> Self {
        let mut space = Self { open: BTreeMap::new(), blocks: 1 };
        space.keep(0, BLOCK.saturating_sub(META_START));
        space
    }

    pub(super) const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Finds room for an inode of `head` bytes with what must follow it, and `tail` bytes that may.
    ///
    /// A tail never crosses a block. Head and tail stand in one block unless the head alone is larger than that:
    /// the kernel wants it so for symbolic links, and it costs nothing to do the same for all.
    pub(super) fn place(&mut self, head: u64, tail: u64) -> Spot {
        let together = head.saturating_add(tail);
        if tail > 0 && together <= BLOCK {
            return Spot { offset: self.take(together), inline: true };
        }
        if head <= BLOCK {
            return Spot { offset: self.take(head), inline: false };
        }
        let block = self.blocks;
        self.blocks = block.saturating_add(head.div_ceil(BLOCK));
        self.keep(self.blocks.saturating_sub(1), slots(head).wrapping_neg() % BLOCK);
        Spot { offset: block.saturating_mul(BLOCK), inline: false }
    }

    /// Takes `bytes`, at most a block, from the open block they fit best, or from a new one.
    fn take(&mut self, bytes: u64) -> u64 {
        let need = slots(bytes);
        let fitting = self.open.range(need..).next().and_then(|(free, set)| Some((*free, *set.first()?)));
        let (free, block) = fitting.unwrap_or((BLOCK, self.blocks));
        if fitting.is_none() {
            self.blocks = self.blocks.saturating_add(1);
        } else if let Some(set) = self.open.get_mut(&free) {
            set.remove(&block);
            if set.is_empty() {
                self.open.remove(&free);
            }
        }
        self.keep(block, free.saturating_sub(need));
        block.saturating_mul(BLOCK).saturating_add(BLOCK.saturating_sub(free))
    }

    fn keep(&mut self, block: u64, free: u64) {
        if free >= SLOT_BYTES {
            self.open.entry(free).or_default().insert(block);
        }
    }
}

const fn slots(bytes: u64) -> u64 {
    bytes.next_multiple_of(SLOT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spots_do_not_overlap_and_tails_stay_in_a_block() {
        let mut space = Space::new();
        let mut taken = BTreeMap::new();
        for at in 0..3000_u64 {
            let (head, tail) = (32 + at % 7 * 32 + at % 97 / 96 * 9000, at * 131 % 4096);
            let spot = space.place(head, tail);
            assert_eq!(spot.offset % SLOT_BYTES, 0);
            let end = spot.offset + head + if spot.inline { tail } else { 0 };
            assert!(end <= space.blocks() * BLOCK);
            assert!(spot.offset / BLOCK == (end - 1) / BLOCK || head > BLOCK);
            assert_eq!(taken.insert(spot.offset, end), None);
        }
        let ends: Vec<_> = taken.iter().map(|(start, end)| (*start, *end)).collect();
        assert!(ends[0].0 == META_START && ends.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        let used: u64 = ends.iter().map(|(start, end)| end - start).sum();
        assert!(used * 100 > space.blocks() * BLOCK * 90, "{used} bytes in {} blocks", space.blocks());
    }
}
