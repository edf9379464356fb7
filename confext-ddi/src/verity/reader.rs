//! The checked reader: what it returns is what the root hash promises.

use super::cache::{Cache, Key};
use super::hasher::BlockHasher;
use super::{Geometry, HashArea, Superblock};
use crate::digest::{Digest, RootHash};
use crate::error::{Corrupt, Error, Refused, Result, ResultExt as _, Unverified};
use crate::limits::Limits;
use crate::read::{ReadAt, read_vec};
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Blocks read, checked and handed on at a time: 1 MiB.
const BATCH_BLOCKS: u64 = 256;
/// Blocks hashed by one task; so few are hashed at once on the caller's thread.
const TASK_BLOCKS: usize = 16;

/// Reads data and returns only bytes that the root hash promises.
///
/// Each data block is read once into a buffer of the reader's own, hashed, compared and then served: a source that
/// changes between two reads cannot slip in what was not checked. Checked hash blocks are kept, up to
/// [`Limits::hash_cache_bytes`].
///
/// The superblock is not hashed itself, yet a changed one does not get through: another salt or block size changes
/// every digest, and another number of blocks does not fit the zeros behind each level's last digest, which
/// [`Reader::new`] checks. The UUID is free. What a superblock cannot show is where the tree ends: the blocks of level 0
/// pass for the data of a tree with one level less, and such data is nothing but digests.
///
/// *Shape*: a source of exactly [`Geometry::data_bytes`] bytes; data behind them cannot be read.
///
/// *Errors* of reading: `out-of-bounds`; `data-block` and `hash-block` with the byte offset in data or hash area.
///
/// ```
/// # use confext_ddi::{Limits, digest::Salt, id::Uuid, verity::{Superblock, build}};
/// # let data = vec![7_u8; 200 * 4096];
/// # let tree = build(&data, &Superblock::new(Uuid::from_bytes([1; 16]), 200, Salt::default()))?;
/// use confext_ddi::read::ReadAt as _;
/// use confext_ddi::verity::Reader;
///
/// // `tree` is the hash tree over `data`, 200 blocks.
/// let mut data = data;
/// data[5 * 4096] ^= 1;
/// let reader = Reader::new(&data, &tree.bytes, tree.root_hash, &Limits::default())?;
/// let mut block = [0; 4096];
/// reader.read_exact_at(4 * 4096, &mut block)?;
/// // The next block is not what the root hash promises, and is not handed out.
/// let error = reader.read_exact_at(5 * 4096, &mut block).unwrap_err();
/// assert_eq!((error.code(), error.offset()), ("data-block", Some(5 * 4096)));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug)]
pub struct Reader<D, H> {
    data: D,
    hash: H,
    geometry: Geometry,
    root_hash: RootHash,
    hasher: BlockHasher,
    /// The checked block of the highest level; `None` when there is only one data block.
    top: Option<Arc<[u8]>>,
    cache: Cache,
}

/// The root hash that a hash area comes to, superblock first, with the data where that is a single block. Nothing vouches
/// for it, and nothing below the top of the tree is looked at.
pub(crate) fn computed_root_hash<D: ReadAt, H: ReadAt>(
    data: D,
    hash: H,
    limits: &Limits,
) -> Result<RootHash> {
    let superblock = Superblock::parse(&read_vec(&hash, 0, Superblock::BYTES)?, limits)?;
    let geometry = Geometry::new(&superblock).within("superblock")?;
    let top = match geometry.levels().last() {
        Some(level) => read_vec(&hash, geometry.offset_of(level, 0), geometry.block_bytes())?,
        None => {
            let block = usize::try_from(superblock.data_block_size.bytes()).unwrap_or(usize::MAX);
            read_vec(&data, 0, block)?
        }
    };
    Ok(RootHash::from_digest(BlockHasher::new(&superblock).digest(&top)))
}

impl<D: ReadAt, H: ReadAt> Reader<D, H> {
    /// Parses the superblock at the start of `hash`, checks the top of the tree against `root_hash`, and that the
    /// tree was made for as many data blocks as the superblock says.
    ///
    /// # Errors
    ///
    /// As [`Superblock::parse`]; `root-hash-size`, `verity-hash-area`, `verity-data-area`, `root-hash`, `hash-block`,
    /// `hash-tail`.
    pub fn new(data: D, hash: H, root_hash: RootHash, limits: &Limits) -> Result<Self> {
        Self::at(data, hash, 0, root_hash, limits)
    }

    /// The same for a superblock that is `offset` bytes into `hash`: one device may hold both, data before hash tree.
    ///
    /// # Errors
    ///
    /// As [`Reader::new`], and `verity-hash-offset`.
    pub fn at(data: D, hash: H, offset: u64, root_hash: RootHash, limits: &Limits) -> Result<Self> {
        let superblock = read_vec(&hash, offset, Superblock::BYTES);
        let superblock = Superblock::parse(&superblock?, limits).map_err(|error| error.shifted(offset))?;
        let geometry = Geometry::at(&superblock, HashArea::Superblock(offset)).within("superblock")?;
        Self::with_geometry(data, hash, geometry, root_hash, limits)
    }

    /// The same with parameters that the caller knows: for a hash area without superblock, or when one is there that is
    /// not to be believed. It is not read.
    ///
    /// # Errors
    ///
    /// `hash-algorithm`, `root-hash-size`, `verity-hash-area`, `verity-data-area`, `root-hash`, `hash-block`, `hash-tail`.
    pub fn with_geometry(
        data: D,
        hash: H,
        geometry: Geometry,
        root_hash: RootHash,
        limits: &Limits,
    ) -> Result<Self> {
        let algorithm = geometry.superblock().algorithm;
        limits.hash_algorithms.check(algorithm)?;
        let (found, expected) = (root_hash.as_bytes().len(), algorithm.digest_bytes());
        if found != expected {
            return Err(Unverified::RootHashSize { found, expected, algorithm: algorithm.name() }.into());
        }
        let (found, expected) = (hash.size_bytes()?, geometry.tree_end());
        if found < expected {
            return Err(Corrupt::VerityHashArea { found, expected }.into());
        }
        let (found, expected) = (data.size_bytes()?, geometry.data_bytes());
        if found < expected {
            return Err(Corrupt::VerityDataArea { found, expected }.into());
        }
        let cached_blocks = usize::try_from(limits.hash_cache_bytes).unwrap_or(usize::MAX);
        let cached_blocks = cached_blocks.checked_div(geometry.block_bytes()).unwrap_or(0);
        let hasher = BlockHasher::new(geometry.superblock());
        let cache = Cache::new(cached_blocks);
        let mut reader = Self { data, hash, geometry, root_hash, hasher, top: None, cache };
        reader.top = reader.check_top()?;
        reader.check_tails().within("hash-tree")?;
        Ok(reader)
    }

    /// The superblock, which belongs to the tree (all but its UUID is bound to the root hash).
    #[must_use]
    pub const fn superblock(&self) -> &Superblock {
        self.geometry.superblock()
    }

    /// Where each level lies.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The root hash all is checked against.
    #[must_use]
    pub const fn root_hash(&self) -> &RootHash {
        &self.root_hash
    }

    fn block_size(&self) -> u64 {
        u64::from(self.superblock().data_block_size.bytes())
    }

    /// Checks the one block whose digest is the root hash, and returns it when it is a hash block.
    fn check_top(&self) -> Result<Option<Arc<[u8]>>> {
        let (block, offset, part) = match self.geometry.levels().last() {
            Some(level) => {
                let offset = self.geometry.offset_of(level, 0);
                (read_vec(&self.hash, offset, self.geometry.block_bytes())?, offset, "hash-tree")
            }
            None => {
                let mut block = Vec::new();
                self.read_data(0, 1, &mut block)?;
                (block, 0, "data")
            }
        };
        let found = RootHash::from_digest(self.hasher.digest(&block));
        if found != self.root_hash {
            let fault = Unverified::RootHash { found: found.to_hex(), expected: self.root_hash.to_hex() };
            return Err(Error::from(fault).at_offset(offset).within(part));
        }
        Ok((!self.geometry.levels().is_empty()).then(|| Arc::from(block)))
    }

    /// Checks in each level's last block that it has a last digest and only zeros behind it.
    ///
    /// No data has an all-zero digest, so this binds the number of blocks to the root hash.
    fn check_tails(&self) -> Result<()> {
        let wrong = || Unverified::HashTail { data_blocks: self.superblock().data_blocks };
        for (at, level) in self.geometry.levels().iter().enumerate().rev() {
            let last = level.blocks.saturating_sub(1);
            let block = self.checked_block(at, last)?;
            let digest = self.digest_in(&block, level.digests.saturating_sub(1));
            let tail = level.digests.checked_sub(last.saturating_mul(self.geometry.digests_per_block()));
            let tail = tail
                .and_then(|digests| usize::try_from(digests).ok())
                .and_then(|digests| digests.checked_mul(self.geometry.digest_bytes()))
                .and_then(|start| block.get(start..));
            let empty = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
            if digest.is_none_or(empty) || !tail.is_some_and(empty) {
                return Err(Error::from(wrong()).at_offset(self.geometry.offset_of(level, last)));
            }
        }
        Ok(())
    }

    /// The digest of block `below` of the level below, in the hash block that holds it.
    pub(super) fn digest_in<'b>(&self, block: &'b [u8], below: u64) -> Option<&'b [u8]> {
        let slot = usize::try_from(below.checked_rem(self.geometry.digests_per_block())?).ok()?;
        let start = slot.checked_mul(self.geometry.digest_bytes())?;
        block.get(start..)?.get(..self.superblock().algorithm.digest_bytes())
    }

    /// A hash block, checked against the levels above it up to the nearest one that was checked before.
    pub(super) fn checked_block(&self, level: usize, block: u64) -> Result<Arc<[u8]>> {
        let mut missing = Vec::new();
        let mut key = Key { level, block };
        let mut checked = loop {
            let is_top = key.level.checked_add(1) == Some(self.geometry.levels().len());
            if let Some(top) = self.top.as_ref().filter(|_| is_top) {
                break Arc::clone(top);
            }
            if let Some(block) = self.cache.find(key) {
                break block;
            }
            missing.push(key);
            let up = key.level.checked_add(1).filter(|_| !is_top);
            let above = key.block.checked_div(self.geometry.digests_per_block());
            let (Some(level), Some(block)) = (up, above) else {
                return Err(Corrupt::VerityDataBlocks { found: self.superblock().data_blocks }.into());
            };
            key = Key { level, block };
        };
        while let Some(key) = missing.pop() {
            let block: Arc<[u8]> = Arc::from(self.read_hash_block(key, &checked)?);
            self.cache.insert(key, Arc::clone(&block));
            checked = block;
        }
        Ok(checked)
    }

    /// Reads a hash block once and checks it against the block above it.
    fn read_hash_block(&self, key: Key, above: &[u8]) -> Result<Vec<u8>> {
        let level = self.geometry.levels().get(key.level).copied();
        let level = level.ok_or(Corrupt::VerityDataBlocks { found: self.superblock().data_blocks })?;
        let offset = self.geometry.offset_of(&level, key.block);
        let block = read_vec(&self.hash, offset, self.geometry.block_bytes())?;
        let (expected, found) = (self.digest_in(above, key.block), self.hasher.digest(&block));
        if expected != Some(&found) {
            let level = u32::try_from(key.level).unwrap_or(u32::MAX);
            let (found, expected) = (const_hex::encode(found), hex_or_none(expected));
            let fault = Unverified::HashBlock { level, block: key.block, found, expected };
            return Err(Error::from(fault).at_offset(offset));
        }
        Ok(block)
    }

    /// What blocks are hashed with.
    pub(super) const fn hasher(&self) -> &BlockHasher {
        &self.hasher
    }

    /// A hash block and its digest, not compared with anything.
    pub(super) fn read_hash(&self, key: Key) -> Result<(Arc<[u8]>, Digest)> {
        let level = self.geometry.levels().get(key.level);
        let offset = level.map_or(0, |level| self.geometry.offset_of(level, key.block));
        let block = read_vec(&self.hash, offset, self.geometry.block_bytes())?;
        let digest = self.hasher.digest(&block);
        Ok((Arc::from(block), digest))
    }

    /// Fills `buf` with data from block `first` on, not compared with anything.
    pub(super) fn read_plain(&self, first: u64, buf: &mut [u8]) -> Result<()> {
        self.data.read_exact_at(first.saturating_mul(self.block_size()), buf)
    }

    /// Fills `buf` with data blocks, without checking them.
    fn read_data(&self, first: u64, count: u64, buf: &mut Vec<u8>) -> Result<()> {
        let len = count.saturating_mul(self.block_size());
        let beyond = Corrupt::OutOfBounds { end: len, size: self.geometry.data_bytes() };
        buf.resize(usize::try_from(len).map_err(|_| beyond)?, 0);
        self.data.read_exact_at(first.saturating_mul(self.block_size()), buf)
    }

    /// Fills `buf` with data blocks, read once, and checks them; the first that does not match is reported.
    fn read_checked(&self, first: u64, count: u64, buf: &mut Vec<u8>) -> Result<()> {
        self.read_with(first, count, buf, |blocks, task_bytes, wrong| {
            if blocks.len() <= task_bytes {
                return wrong((0, blocks));
            }
            crate::threads::ready();
            blocks.par_chunks(task_bytes).enumerate().find_map_first(wrong)
        })
    }

    /// The same, all on the caller's thread.
    pub(super) fn read_checked_here(&self, first: u64, count: u64, buf: &mut Vec<u8>) -> Result<()> {
        self.read_with(first, count, buf, |blocks, task_bytes, wrong| {
            blocks.chunks(task_bytes).enumerate().find_map(wrong)
        })
    }

    /// Reads data blocks, and has `find` look for the first part of so many bytes that has a wrong block.
    fn read_with(
        &self,
        first: u64,
        count: u64,
        buf: &mut Vec<u8>,
        find: impl FnOnce(&[u8], usize, &Wrong<'_>) -> Option<(u64, Digest)>,
    ) -> Result<()> {
        self.read_data(first, count, buf)?;
        let leaves = self.leaves(first, count).within("hash-tree")?;
        let block_bytes = usize::try_from(self.block_size()).unwrap_or(usize::MAX);
        let task_bytes = block_bytes.saturating_mul(TASK_BLOCKS);
        let wrong = |(task, blocks): (usize, &[u8])| {
            let before = u64::try_from(task.saturating_mul(TASK_BLOCKS)).unwrap_or(u64::MAX);
            self.first_wrong(&leaves, first, first.saturating_add(before), blocks)
        };
        match find(buf, task_bytes, &wrong) {
            None => Ok(()),
            Some((block, found)) => {
                let offset = block.saturating_mul(self.block_size());
                let (found, expected) =
                    (const_hex::encode(found), hex_or_none(self.expected_digest(&leaves, first, block)));
                let fault = Unverified::DataBlock { block, found, expected };
                Err(Error::from(fault).at_offset(offset).within("data"))
            }
        }
    }

    /// The first of `blocks`, which start at block `from`, that is not what a leaf promises, and its digest.
    fn first_wrong(
        &self,
        leaves: &[Arc<[u8]>],
        first: u64,
        from: u64,
        blocks: &[u8],
    ) -> Option<(u64, Digest)> {
        let block_bytes = usize::try_from(self.block_size()).unwrap_or(usize::MAX);
        let slot_bytes = self.root_hash.as_bytes().len();
        let mut slots = [0; TASK_BLOCKS * Digest::MOST_BYTES];
        self.hasher.digest_all(blocks, block_bytes, &mut slots, slot_bytes);
        let found = blocks.chunks_exact(block_bytes).zip(slots.chunks_exact(slot_bytes.max(1)));
        (from..)
            .zip(found)
            .find(|(block, (_, digest))| self.expected_digest(leaves, first, *block) != Some(*digest))
            .map(|(block, (_, digest))| (block, Digest::new(digest)))
    }

    /// The checked blocks of level 0 that hold the digests of `count` data blocks; none when there is no level.
    fn leaves(&self, first: u64, count: u64) -> Result<Vec<Arc<[u8]>>> {
        let leaf_of = |block: u64| block.checked_div(self.geometry.digests_per_block()).unwrap_or(0);
        if self.geometry.levels().is_empty() || count == 0 {
            return Ok(Vec::new());
        }
        let last = first.saturating_add(count).saturating_sub(1);
        (leaf_of(first)..=leaf_of(last)).map(|leaf| self.checked_block(0, leaf)).collect()
    }

    /// The promised digest of a data block, out of the leaves for a run that starts at block `first`.
    fn expected_digest<'l>(&'l self, leaves: &'l [Arc<[u8]>], first: u64, block: u64) -> Option<&'l [u8]> {
        if self.geometry.levels().is_empty() {
            return Some(self.root_hash.as_bytes());
        }
        let per_block = self.geometry.digests_per_block();
        let leaf = block.checked_div(per_block)?.checked_sub(first.checked_div(per_block)?)?;
        self.digest_in(leaves.get(usize::try_from(leaf).ok()?)?, block)
    }
}

impl<D: ReadAt, H: ReadAt> ReadAt for Reader<D, H> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let size = self.geometry.data_bytes();
        let end = u64::try_from(buf.len()).ok().and_then(|len| offset.checked_add(len)).unwrap_or(u64::MAX);
        if end > size {
            return Err(Error::from(Corrupt::OutOfBounds { end, size }).at_offset(offset));
        }
        let beyond = || Corrupt::OutOfBounds { end, size };
        let mut rest = buf;
        let mut at = offset;
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            let first = at.checked_div(self.block_size()).ok_or_else(beyond)?;
            let count = end.div_ceil(self.block_size()).saturating_sub(first).min(BATCH_BLOCKS);
            self.read_checked(first, count, &mut blocks)?;
            let skip = at.checked_rem(self.block_size()).and_then(|skip| usize::try_from(skip).ok());
            let bytes = skip.and_then(|skip| blocks.get(skip..)).ok_or_else(beyond)?;
            let len = bytes.len().min(rest.len());
            let (here, after) = rest.split_at_mut_checked(len).ok_or_else(beyond)?;
            here.copy_from_slice(bytes.get(..len).ok_or_else(beyond)?);
            at = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
            rest = after;
        }
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64> {
        Ok(self.geometry.data_bytes())
    }
}

/// Looks at the blocks of a task, whose number comes with them, for the first wrong one.
type Wrong<'a> = dyn Fn((usize, &[u8])) -> Option<(u64, Digest)> + Sync + 'a;

fn hex_or_none(digest: Option<&[u8]>) -> String {
    digest.map_or_else(|| "none".to_owned(), const_hex::encode)
}

/// How far a copy or a check has come.
///
/// ```
/// # use confext_ddi::{Limits, digest::Salt, id::Uuid, verity::{Superblock, build}};
/// # let data = vec![7_u8; 200 * 4096];
/// # let tree = build(&data, &Superblock::new(Uuid::from_bytes([1; 16]), 200, Salt::default()))?;
/// use confext_ddi::verity::{Reader, copy_verified};
/// use std::ops::ControlFlow;
///
/// // `tree` is the hash tree over `data`, 200 blocks.
/// let reader = Reader::new(&data, &tree.bytes, tree.root_hash, &Limits::default())?;
/// let mut percent = 0;
/// copy_verified(&reader, |_| Ok(()), |progress| {
///     percent = progress.done_bytes * 100 / progress.total_bytes;
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(percent, 100);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// Bytes read, checked and handed on.
    pub done_bytes: u64,
    /// Bytes there are.
    pub total_bytes: u64,
}

/// Reads all data blocks once, in order, and hands each batch to `sink` after it was checked.
///
/// What the sink gets is the memory that was hashed; nothing is read again. `progress` is called after each batch and
/// may stop the copy. On any error the sink has got only checked bytes, but not all of them.
///
/// # Errors
///
/// `data-block`, `hash-block`; `cancelled` when `progress` said so; an I/O error of `sink` or of reading.
pub fn copy_verified<D: ReadAt, H: ReadAt>(
    reader: &Reader<D, H>,
    mut sink: impl FnMut(&[u8]) -> std::io::Result<()>,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<()> {
    let total_bytes = reader.geometry.data_bytes();
    let blocks = reader.superblock().data_blocks;
    let mut first = 0_u64;
    let mut batch = Vec::new();
    while first < blocks {
        let count = blocks.saturating_sub(first).min(BATCH_BLOCKS);
        reader.read_checked(first, count, &mut batch)?;
        sink(&batch)?;
        first = first.saturating_add(count);
        let done_bytes = first.saturating_mul(reader.block_size());
        if progress(Progress { done_bytes, total_bytes }).is_break() {
            return Err(Refused::Cancelled { done: done_bytes, total: total_bytes }.into());
        }
    }
    Ok(())
}

/// Many threads read one reader.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Reader<&[u8], std::fs::File>>();
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Salt;
    use crate::id::Uuid;
    use crate::verity::{Tree, build, verify};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// Data without two equal blocks.
    fn data(blocks: u64) -> Vec<u8> {
        (0..blocks).flat_map(|block| [block.to_le_bytes(); 512].concat()).collect()
    }

    fn tree(data: &[u8], blocks: u64) -> Tree {
        let salt = Salt::new(*b"salt").unwrap();
        build(data, &Superblock::new(Uuid::from_bytes([1; 16]), blocks, salt)).unwrap()
    }

    fn open<D: ReadAt>(data: D, tree: &Tree) -> Result<Reader<D, &[u8]>> {
        Reader::new(data, &tree.bytes[..], tree.root_hash, &Limits::default())
    }

    fn collect<D: ReadAt, H: ReadAt>(reader: &Reader<D, H>) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        copy_verified(
            reader,
            |bytes| {
                all.extend_from_slice(bytes);
                Ok(())
            },
            |_| ControlFlow::Continue(()),
        )?;
        Ok(all)
    }

    /// A source that counts how often each 4096-byte block is read, and lies from the second time on.
    struct Fickle<'a> {
        bytes: &'a [u8],
        reads: Mutex<BTreeMap<u64, u32>>,
    }

    impl ReadAt for Fickle<'_> {
        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            self.bytes.read_exact_at(offset, buf)?;
            for (at, block) in buf.chunks_mut(4096).enumerate() {
                let mut reads = self.reads.lock().unwrap();
                let count = reads.entry(offset / 4096 + at as u64).or_default();
                *count += 1;
                if *count > 1 {
                    block.fill(0xee);
                }
            }
            Ok(())
        }

        fn size_bytes(&self) -> Result<u64> {
            self.bytes.size_bytes()
        }
    }

    #[test]
    fn every_size_around_a_level_reads_back() {
        for blocks in [1, 2, 127, 128, 129, 256, 257, 300] {
            let data = data(blocks);
            let tree = tree(&data, blocks);
            let reader = open(&data, &tree).unwrap();
            assert_eq!(reader.size_bytes().unwrap(), blocks * 4096);
            assert_eq!(collect(&reader).unwrap(), data, "{blocks}");
            verify(&reader).unwrap();
        }
    }

    #[test]
    fn data_behind_the_last_block_cannot_be_read() {
        let data = data(3);
        let tree = tree(&data, 2);
        let reader = open(&data, &tree).unwrap();
        let mut buf = [0; 2];
        assert!(reader.read_exact_at(8190, &mut buf).is_ok());
        assert_eq!(reader.read_exact_at(8191, &mut buf).unwrap_err().code(), "out-of-bounds");
        assert_eq!(reader.read_exact_at(u64::MAX, &mut buf).unwrap_err().code(), "out-of-bounds");
        assert_eq!(collect(&reader).unwrap(), data[..8192]);
    }

    #[test]
    fn each_block_is_read_once() {
        let data = data(600);
        let tree = tree(&data, 600);
        let source = Fickle { bytes: &data, reads: Mutex::default() };
        // The superblock shares no block with the tree, so the tree's blocks are counted alone.
        let hashes = Fickle { bytes: &tree.bytes, reads: Mutex::default() };
        let reader = Reader::new(&source, &hashes, tree.root_hash, &Limits::default()).unwrap();
        assert_eq!(collect(&reader).unwrap(), data);
        for reads in [&source.reads, &hashes.reads] {
            assert!(reads.lock().unwrap().values().all(|count| *count == 1));
        }
        assert_eq!(source.reads.lock().unwrap().len(), 600);
        // Read again, the source lies: nothing of it is served.
        let mut buf = [0; 5];
        let error = reader.read_exact_at(4096 * 7 + 1, &mut buf).unwrap_err();
        assert_eq!((error.code(), error.offset(), buf), ("data-block", Some(4096 * 7), [0; 5]));
        let text = error.to_string();
        let promised = const_hex::encode(reader.hasher.digest(&data[7 * 4096..8 * 4096]));
        assert!(text.starts_with("data: data block 7 does not match the hash tree: found digest "), "{text}");
        assert!(text.ends_with(&format!(", expected {promised} (at byte 28672)")), "{text}");
    }

    #[test]
    fn the_cache_may_be_as_small_as_nothing() {
        let data = data(400);
        let tree = tree(&data, 400);
        for hash_cache_bytes in [0, 4095, 4096, 8192] {
            let limits = Limits { hash_cache_bytes, ..Limits::default() };
            let reader = Reader::new(&data, &tree.bytes, tree.root_hash, &limits).unwrap();
            assert_eq!(collect(&reader).unwrap(), data);
        }
    }

    #[test]
    fn many_threads_read_one_reader() {
        let data = data(700);
        let tree = tree(&data, 700);
        let limits = Limits { hash_cache_bytes: 8192, ..Limits::default() };
        let reader = Reader::new(&data, &tree.bytes, tree.root_hash, &limits).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(collect(&reader).unwrap(), data));
            }
        });
    }

    #[test]
    fn every_changed_byte_is_found() {
        for blocks in [1, 3] {
            let data = data(blocks);
            let tree = tree(&data, blocks);
            for at in 0..data.len() {
                let mut wrong = data.clone();
                wrong[at] ^= 0x10;
                let error = open(&wrong, &tree).and_then(|reader| verify(&reader)).unwrap_err();
                assert_eq!(error.code(), if blocks == 1 { "root-hash" } else { "data-block" }, "{at}");
                assert_eq!(error.offset(), Some(at as u64 / 4096 * 4096));
            }
            for at in 0..tree.bytes.len() {
                let mut wrong = tree.clone();
                wrong.bytes[at] ^= 0x10;
                let result = open(&data, &wrong).and_then(|reader| collect(&reader));
                // Free are the UUID and what lies between the superblock and the tree.
                if (16..32).contains(&at) || (512..4096).contains(&at) {
                    assert_eq!(result.unwrap(), data, "{at}");
                } else {
                    assert!(result.is_err(), "{at}");
                }
            }
        }
    }

    #[test]
    fn changed_hash_blocks_are_named() {
        let data = data(300);
        let tree = tree(&data, 300);
        // Level 1 is block 1, level 0 blocks 2 to 4 of the hash area.
        for (at, code, offset) in [
            (4096, "root-hash", 4096),
            (8191, "root-hash", 4096),
            (3 * 4096 + 9, "hash-block", 3 * 4096),
            (5 * 4096 - 1, "hash-block", 4 * 4096),
        ] {
            let mut wrong = tree.clone();
            wrong.bytes[at] ^= 1;
            let error = open(&data, &wrong).and_then(|reader| verify(&reader)).unwrap_err();
            assert_eq!((error.code(), error.offset()), (code, Some(offset)), "{at}");
            assert_eq!((error.path().as_str(), error.family()), ("hash-tree", "unverified"));
        }
    }

    #[test]
    fn another_number_of_blocks_does_not_fit_the_tree() {
        for (made, said, code) in [
            (100, 99, "hash-tail"),
            (100, 101, "hash-tail"),
            (100, 128, "hash-tail"),
            (128, 127, "hash-tail"),
            (2, 1, "root-hash"),
            (300, 257, "hash-tail"),
            (300, 384, "hash-tail"),
            (300, 256, "hash-tail"),
            (129, 128, "hash-tail"),
            (128, 129, "hash-tail"),
        ] {
            let data = data(400);
            let mut wrong = tree(&data, made);
            wrong.bytes[72..80].copy_from_slice(&u64::to_le_bytes(said));
            wrong.bytes.resize(16 * 4096, 0);
            assert_eq!(open(&data, &wrong).map(|_| ()).unwrap_err().code(), code, "{made} {said}");
        }
    }

    #[test]
    fn truncated_areas_and_wrong_hashes_are_refused() {
        let data = data(129);
        let tree = tree(&data, 129);
        let open = |data: &[u8], hash: &[u8], root| {
            Reader::new(data, hash, root, &Limits::default()).map(|_| ()).unwrap_err()
        };
        let root = tree.root_hash;
        assert_eq!(open(&data, &[], root).code(), "out-of-bounds");
        assert_eq!(open(&data, &tree.bytes[..511], root).code(), "out-of-bounds");
        for len in (512..tree.bytes.len()).step_by(512) {
            assert_eq!(open(&data, &tree.bytes[..len], root).code(), "verity-hash-area");
        }
        assert_eq!(open(&data[1..], &tree.bytes, root).code(), "verity-data-area");
        assert_eq!(open(&data, &tree.bytes, RootHash::from_bytes([0; 32])).code(), "root-hash");
    }

    #[test]
    fn a_copy_can_be_stopped_and_reports_the_sink() {
        let data = data(600);
        let tree = tree(&data, 600);
        let reader = open(&data, &tree).unwrap();
        let mut seen = Vec::new();
        let stop = |progress: Progress| {
            seen.push((progress.done_bytes, progress.total_bytes));
            if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let error = copy_verified(&reader, |_| Ok(()), stop).unwrap_err();
        assert_eq!(error.code(), "cancelled");
        assert_eq!(seen, [(256 * 4096, 600 * 4096), (512 * 4096, 600 * 4096)]);
        let full = |_: &[u8]| Err(std::io::ErrorKind::StorageFull.into());
        let error = copy_verified(&reader, full, |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(error.code(), "io");
    }

    #[test]
    fn nothing_wrong_reaches_the_sink() {
        let data = data(600);
        let tree = tree(&data, 600);
        let mut wrong = data.clone();
        wrong[300 * 4096] ^= 1;
        wrong[310 * 4096] ^= 1;
        let reader = open(&wrong, &tree).unwrap();
        let mut got = Vec::new();
        let sink = |bytes: &[u8]| {
            got.extend_from_slice(bytes);
            Ok(())
        };
        let error = copy_verified(&reader, sink, |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!((error.code(), error.offset()), ("data-block", Some(300 * 4096)));
        assert_eq!(got, data[..256 * 4096]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_range_reads_as_the_data(start in 0..300_usize * 4096, len in 0..200_000_usize) {
            let data = data(300);
            let tree = tree(&data, 300);
            let reader = open(&data, &tree).unwrap();
            let end = (start + len).min(data.len());
            prop_assert_eq!(read_vec(&reader, start as u64, end - start).unwrap(), &data[start..end]);
        }

        #[test]
        fn changed_areas_give_the_same_data_or_an_error(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
            in_superblock: bool,
        ) {
            let data = data(130);
            let mut tree = tree(&data, 130);
            let end = if in_superblock { 512 } else { tree.bytes.len() };
            for (at, byte) in changes {
                tree.bytes[at.index(end)] = byte;
            }
            if let Ok(read) = open(&data, &tree).and_then(|reader| collect(&reader)) {
                prop_assert_eq!(read, data);
            }
        }
    }
}
