//! Building a hash tree.

use super::hasher::BlockHasher;
use super::{Geometry, HashArea, Superblock};
use crate::digest::{Digest, RootHash};
use crate::error::{Corrupt, LimitExceeded, Result};
use crate::read::ReadAt;
use rayon::prelude::*;

/// Data whose digests are worked out before hash blocks are made of them: enough to keep all processors busy.
const BATCH_BYTES: u64 = 64 << 20;
/// Data that one task reads and hashes: stays in the processor's second cache.
pub(super) const TASK_BYTES: usize = 256 << 10;

/// A hash tree as it stands on disk, and its root hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The digest of the top of the tree.
    pub root_hash: RootHash,
    /// Superblock, padded to a hash block, and all levels.
    pub bytes: Vec<u8>,
}

/// Hashes `data` into a tree in memory, bit-identical to what `veritysetup format` writes with the same superblock.
///
/// Data behind the last block that `superblock` counts is not read.
///
/// # Errors
///
/// As [`write()`].
pub fn build<R: ReadAt + ?Sized>(data: &R, superblock: &Superblock) -> Result<Tree> {
    let geometry = Geometry::new(superblock)?;
    check_data_size(data, &geometry)?;
    // The data is that long, so a tree of at most an eighth of it is no surprise.
    let found = geometry.hash_area_bytes();
    let len = usize::try_from(found).map_err(|_| LimitExceeded::Bytes {
        what: "hash tree",
        found,
        most: u64::try_from(usize::MAX).unwrap_or(u64::MAX),
    })?;
    let mut bytes = vec![0; len];
    let root_hash = write(data, &geometry, |offset, part| {
        let start = usize::try_from(offset).ok();
        let place = start.and_then(|start| bytes.get_mut(start..)?.get_mut(..part.len()));
        let size = geometry.hash_area_bytes();
        place.ok_or(Corrupt::OutOfBounds { end: offset, size })?.copy_from_slice(part);
        Ok(())
    })?;
    Ok(Tree { root_hash, bytes })
}

/// Hashes `data` into a tree and hands it to `sink`, with the offset in the hash device that each part is for:
/// bit-identical to what `veritysetup format` writes with the same parameters.
///
/// *Shape*: the superblock, if there is to be one, with zeros up to the tree; then whole hash blocks, the parts of each
/// level in order, those of different levels in turn. Every byte from [`HashArea::start`] to [`Geometry::tree_end`]
/// is handed over once. Memory does not grow with the data: some megabytes. Data is read in parts on all processors of the
/// current `rayon` thread pool.
///
/// # Errors
///
/// `verity-data-area` when `data` is shorter than the superblock says, whatever reading `data` brings, and the errors of
/// `sink`.
pub fn write<R: ReadAt + ?Sized>(
    data: &R,
    geometry: &Geometry,
    mut sink: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<RootHash> {
    check_data_size(data, geometry)?;
    if let HashArea::Superblock(start) = geometry.area() {
        let mut header = geometry.superblock().to_bytes().to_vec();
        let len = geometry.tree_start().saturating_sub(start);
        header.resize(usize::try_from(len).unwrap_or(header.len()), 0);
        sink(start, &header)?;
    }
    let mut writer = Writer::new(geometry, sink);
    writer.hash_data(data)?;
    writer.finish()
}

fn check_data_size<R: ReadAt + ?Sized>(data: &R, geometry: &Geometry) -> Result<()> {
    let (found, expected) = (data.size_bytes()?, geometry.data_bytes());
    if found < expected { Err(Corrupt::VerityDataArea { found, expected }.into()) } else { Ok(()) }
}

/// A tree on its way out: of each level above the leaves, the block that is not full yet.
struct Writer<'g, S> {
    geometry: &'g Geometry,
    hasher: BlockHasher,
    sink: S,
    levels: Vec<Open>,
    root_hash: Option<Digest>,
}

/// What is known of a level so far.
#[derive(Debug, Default)]
struct Open {
    /// How many blocks went out.
    written: u64,
    /// The digests in `block`.
    digests: u64,
    block: Vec<u8>,
}

impl<'g, S: FnMut(u64, &[u8]) -> Result<()>> Writer<'g, S> {
    fn new(geometry: &'g Geometry, sink: S) -> Self {
        let open = || Open { block: vec![0; geometry.block_bytes()], ..Open::default() };
        let levels = geometry.levels().iter().map(|_| open()).collect();
        Self { geometry, hasher: BlockHasher::new(geometry.superblock()), sink, levels, root_hash: None }
    }

    /// Reads all data blocks once and hashes them into blocks of level 0.
    fn hash_data<R: ReadAt + ?Sized>(&mut self, data: &R) -> Result<()> {
        let block_bytes = self.geometry.data_block_bytes();
        let Some(leaves) = self.geometry.levels().first() else {
            let mut block = vec![0; block_bytes];
            data.read_exact_at(0, &mut block)?;
            self.root_hash = Some(self.hasher.digest(&block));
            return Ok(());
        };
        let leaf_data = self.geometry.digests_per_block().saturating_mul(u64_of(block_bytes)).max(1);
        let most = BATCH_BYTES.checked_div(leaf_data).unwrap_or(0).max(1);
        let mut area = Vec::new();
        let mut done = 0_u64;
        while done < leaves.blocks {
            let count = leaves.blocks.saturating_sub(done).min(most);
            area.clear();
            // At most 8 MiB: the digests of 64 MiB of data, or one block.
            area.resize(usize::try_from(count).unwrap_or(0).saturating_mul(self.geometry.block_bytes()), 0);
            hash_leaves(data, self.geometry, &self.hasher, done, &mut area)?;
            self.put(0, &area)?;
            done = done.saturating_add(count);
        }
        Ok(())
    }

    /// Hands whole blocks of a level on, and their digests to the level above; the trees of all sizes are few levels high.
    fn put(&mut self, level: usize, blocks: &[u8]) -> Result<()> {
        let (block_bytes, slot_bytes) = (self.geometry.block_bytes(), self.geometry.digest_bytes());
        let Some((place, open)) = self.geometry.levels().get(level).zip(self.levels.get_mut(level)) else {
            return Ok(());
        };
        (self.sink)(self.geometry.offset_of(place, open.written), blocks)?;
        let count = blocks.len().checked_div(block_bytes).unwrap_or(0);
        open.written = open.written.saturating_add(u64_of(count));
        let above = level.saturating_add(1);
        if above >= self.levels.len() {
            self.root_hash = Some(self.hasher.digest(blocks));
            return Ok(());
        }
        let mut digests = vec![0; count.saturating_mul(slot_bytes)];
        let run = TASK_BYTES.checked_div(block_bytes).unwrap_or(0).max(1);
        let (hasher, runs) = (&self.hasher, blocks.par_chunks(run.saturating_mul(block_bytes)));
        runs.zip(digests.par_chunks_mut(run.saturating_mul(slot_bytes)))
            .for_each(|(blocks, slots)| hasher.digest_all(blocks, block_bytes, slots, slot_bytes));
        digests.chunks_exact(slot_bytes).try_for_each(|digest| self.add(above, digest))
    }

    /// Adds a digest to the open block of a level, and hands the block on when it is full.
    fn add(&mut self, level: usize, digest: &[u8]) -> Result<()> {
        let Some(open) = self.levels.get_mut(level) else { return Ok(()) };
        let start = usize::try_from(open.digests).unwrap_or(usize::MAX).saturating_mul(digest.len());
        let slot = open.block.get_mut(start..).unwrap_or_default();
        for (to, from) in slot.iter_mut().zip(digest) {
            *to = *from;
        }
        open.digests = open.digests.saturating_add(1);
        if open.digests == self.geometry.digests_per_block() { self.close(level) } else { Ok(()) }
    }

    /// Hands the open block of a level on.
    fn close(&mut self, level: usize) -> Result<()> {
        let Some(open) = self.levels.get_mut(level) else { return Ok(()) };
        open.digests = 0;
        let empty = vec![0; open.block.len()];
        let block = std::mem::replace(&mut open.block, empty);
        self.put(level, &block)
    }

    /// Hands on what is open, from the leaves up, and returns the top's digest.
    fn finish(mut self) -> Result<RootHash> {
        for level in 1..self.levels.len() {
            if self.levels.get(level).is_some_and(|open| open.digests > 0) {
                self.close(level)?;
            }
        }
        let (data_blocks, block_size) = {
            let superblock = self.geometry.superblock();
            (superblock.data_blocks, superblock.data_block_size.bytes())
        };
        // The geometry has a top, and its last block was closed.
        let root = self.root_hash.ok_or(Corrupt::VerityOverflow { data_blocks, block_size });
        Ok(RootHash::from_digest(root?))
    }
}

/// Hashes the data below the leaves from `first` on into `area`, which is whole leaves of zeros.
fn hash_leaves<R: ReadAt + ?Sized>(
    data: &R,
    geometry: &Geometry,
    hasher: &BlockHasher,
    first: u64,
    area: &mut [u8],
) -> Result<()> {
    let (block_bytes, slot_bytes) = (geometry.data_block_bytes(), geometry.digest_bytes());
    let per_leaf = usize::try_from(geometry.digests_per_block()).unwrap_or(usize::MAX);
    let per_task = TASK_BYTES.checked_div(block_bytes).unwrap_or(0).clamp(1, per_leaf);
    let data_blocks = geometry.superblock().data_blocks;
    let leaves = area.par_chunks_exact_mut(geometry.block_bytes()).enumerate();
    let tasks = leaves.flat_map(|(leaf, bytes)| {
        let block = first.saturating_add(u64_of(leaf)).saturating_mul(geometry.digests_per_block());
        let (slots, _) = bytes.split_at_mut(per_leaf.saturating_mul(slot_bytes).min(bytes.len()));
        let tasks = slots.par_chunks_mut(per_task.saturating_mul(slot_bytes)).enumerate();
        tasks.map(move |(task, slots)| (block.saturating_add(u64_of(task.saturating_mul(per_task))), slots))
    });
    tasks.try_for_each_init(Vec::new, |buf, (block, slots)| {
        let room = slots.len().checked_div(slot_bytes).unwrap_or(0);
        let count = usize::try_from(data_blocks.saturating_sub(block)).unwrap_or(usize::MAX).min(room);
        if count == 0 {
            return Ok(());
        }
        buf.resize(count.saturating_mul(block_bytes), 0);
        data.read_exact_at(block.saturating_mul(u64_of(block_bytes)), buf)?;
        hasher.digest_all(buf, block_bytes, slots, slot_bytes);
        Ok(())
    })
}

/// A number of bytes or blocks in memory as one on disk.
pub(super) fn u64_of(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Salt, sha256};
    use crate::id::Uuid;

    fn superblock(data_blocks: u64, salt: &[u8]) -> Superblock {
        let uuid = "11111111-2222-3333-4444-555555555555".parse::<Uuid>().unwrap();
        Superblock::new(uuid, data_blocks, Salt::new(salt).unwrap())
    }

    #[test]
    fn root_hashes_of_veritysetup() {
        let zeros = vec![0; 2 * 4096];
        for (salt, expected) in [
            (vec![], "90b10db56173e2e7c847f6ff3ed85a3aebb140bc0064ec9a156ae5b2e71db988"),
            (vec![0], "5a3ffc73d6351ee7fe12d102a691070df84fb561619c43af6a1af8c887904f88"),
            (vec![0xab; 256], "4ba2117ceaf2515a1bf4eea0b4ed44d8d5fc7f27fdd5eb42b294635aa402e79d"),
        ] {
            assert_eq!(build(&zeros, &superblock(2, &salt)).unwrap().root_hash.to_hex(), expected);
        }
    }

    #[test]
    fn one_block_is_its_own_tree() {
        let data = vec![7; 5000];
        let tree = build(&data, &superblock(1, b"salt")).unwrap();
        assert_eq!(tree.root_hash.as_bytes(), &sha256(&[b"salt", &data[..4096]]));
        assert_eq!(tree.bytes.len(), 4096);
        assert_eq!(tree.bytes[..512], superblock(1, b"salt").to_bytes());
    }

    #[test]
    fn every_level_is_the_digest_of_the_one_below() {
        let data: Vec<u8> = (0..130 * 4096_u32).map(|at| (at / 4096) as u8).collect();
        let tree = build(&data, &superblock(130, b"s")).unwrap();
        let leaves = &tree.bytes[8192..];
        assert_eq!(leaves[129 * 32..130 * 32], sha256(&[b"s", &data[129 * 4096..]]));
        assert!(leaves[130 * 32..].iter().all(|byte| *byte == 0));
        assert_eq!(tree.bytes[4096 + 32..4096 + 64], sha256(&[b"s", &leaves[4096..]]));
        assert_eq!(tree.root_hash.as_bytes(), &sha256(&[b"s", &tree.bytes[4096..8192]]));
    }

    #[test]
    fn too_little_data_is_refused() {
        let error = build(&vec![0; 4096], &superblock(2, b"")).unwrap_err();
        assert_eq!(error.code(), "verity-data-area");
        assert_eq!(build(&vec![0; 4096], &superblock(0, b"")).unwrap_err().code(), "verity-data-blocks");
        assert_eq!(build(&vec![0; 4096], &superblock(u64::MAX, b"")).unwrap_err().code(), "verity-overflow");
    }
}
