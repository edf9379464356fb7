//! Building a hash tree.

use super::hasher::BlockHasher;
use super::{Geometry, HashArea, Superblock};
use crate::digest::{Digest, RootHash};
use crate::error::{Corrupt, LimitExceeded, Result};
use crate::read::ReadAt;
use crate::threads;

/// Leaves that are worked out before they are handed on, in bytes: those of 512 MiB of data in blocks of 4096 bytes. All
/// processors wait for the last one at the end of each batch, so that there should be few.
const BATCH_BYTES: u64 = 4 << 20;
/// Data that one task reads and hashes: stays in the processor's second cache.
pub(super) const TASK_BYTES: usize = 256 << 10;

/// A hash tree as it stands on disk, and its root hash.
///
/// ```
/// use confext_ddi::{digest::Salt, id::Uuid, verity::{Superblock, build}};
///
/// let superblock = Superblock::new(Uuid::from_bytes([1; 16]), 2, Salt::default());
/// let tree = build(&[0; 2 * 4096][..], &superblock)?;
/// // The superblock's block and one of digests.
/// assert_eq!(tree.bytes.len(), 2 * 4096);
/// // One bit of the data, and it is another tree.
/// let mut changed = [0; 2 * 4096];
/// changed[4096] = 1;
/// assert_ne!(build(&changed[..], &superblock)?.root_hash, tree.root_hash);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
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
    let mut growing = Growing::start(geometry, &mut sink)?;
    let most = BATCH_BYTES.checked_div(u64_of(geometry.block_bytes())).unwrap_or(0).max(1);
    let total = geometry.data_bytes();
    while growing.next_byte() < total {
        let len =
            most.saturating_mul(growing.leaf_data_bytes()).min(total.saturating_sub(growing.next_byte()));
        let leaves = growing.leaves(&Read(data), len)?;
        growing.add(len, &leaves, &mut sink)?;
    }
    growing.finish(&mut sink)
}

fn check_data_size<R: ReadAt + ?Sized>(data: &R, geometry: &Geometry) -> Result<()> {
    let (found, expected) = (data.size_bytes()?, geometry.data_bytes());
    if found < expected { Err(Corrupt::VerityDataArea { found, expected }.into()) } else { Ok(()) }
}

/// Takes the parts of a tree, each with its offset in the hash device.
type Sink<'s> = &'s mut dyn FnMut(u64, &[u8]) -> Result<()>;

/// A tree over data that comes part by part, front to back: of each level above the leaves, the block that is not full yet.
///
/// The digests of a part are worked out ([`Growing::leaves`]) apart from adding them ([`Growing::add`]), so that meanwhile
/// something else can happen to the part.
pub(crate) struct Growing<'g> {
    geometry: &'g Geometry,
    hasher: BlockHasher,
    /// How many bytes of data were added.
    next_byte: u64,
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

impl<'g> Growing<'g> {
    /// Starts a tree, with its superblock if there is to be one.
    pub(crate) fn start(geometry: &'g Geometry, sink: Sink<'_>) -> Result<Self> {
        if let HashArea::Superblock(start) = geometry.area() {
            let mut header = geometry.superblock().to_bytes().to_vec();
            let len = geometry.tree_start().saturating_sub(start);
            header.resize(usize::try_from(len).unwrap_or(header.len()), 0);
            sink(start, &header)?;
        }
        let open = || Open { block: vec![0; geometry.block_bytes()], ..Open::default() };
        let levels = geometry.levels().iter().map(|_| open()).collect();
        let hasher = BlockHasher::new(geometry.superblock());
        Ok(Self { geometry, hasher, next_byte: 0, levels, root_hash: None })
    }

    /// How many bytes of data one leaf covers. Every part but the last one has a multiple of it.
    pub(crate) fn leaf_data_bytes(&self) -> u64 {
        let block_bytes = u64_of(self.geometry.data_block_bytes());
        match self.geometry.levels() {
            [] => block_bytes,
            _ => self.geometry.digests_per_block().saturating_mul(block_bytes).max(1),
        }
    }

    const fn next_byte(&self) -> u64 {
        self.next_byte
    }

    /// Hashes the next `len` bytes of data, each block once, on all processors of the current `rayon` thread pool: the
    /// leaves over them, or the one digest where there are no leaves.
    fn leaves(&self, data: &impl Source, len: u64) -> Result<Vec<u8>> {
        if self.geometry.levels().is_empty() {
            let mut buf = Vec::new();
            let block = data.part(self.next_byte, self.geometry.data_block_bytes(), &mut buf)?;
            return Ok(self.hasher.digest(block).to_vec());
        }
        let count = len.div_ceil(self.leaf_data_bytes());
        let bytes = usize::try_from(count).unwrap_or(0).saturating_mul(self.geometry.block_bytes());
        let mut area = vec![0; bytes];
        let first = self.next_byte.checked_div(self.leaf_data_bytes()).unwrap_or(0);
        hash_leaves(data, self.geometry, &self.hasher, first, &mut area)?;
        Ok(area)
    }

    /// The leaves over the next part of the data, which is in memory.
    pub(crate) fn leaves_of(&self, part: &[u8]) -> Result<Vec<u8>> {
        let (found, expected) =
            (self.next_byte.saturating_add(u64_of(part.len())), self.geometry.data_bytes());
        let whole = u64_of(part.len()).is_multiple_of(self.leaf_data_bytes());
        if found > expected || (found < expected && !whole) {
            return Err(Corrupt::VerityDataArea { found, expected }.into());
        }
        self.leaves(&Given { start: self.next_byte, bytes: part }, u64_of(part.len()))
    }

    /// Adds what [`Growing::leaves`] made of the next `len` bytes of data.
    pub(crate) fn add(&mut self, len: u64, leaves: &[u8], sink: Sink<'_>) -> Result<()> {
        self.next_byte = self.next_byte.saturating_add(len);
        if self.geometry.levels().is_empty() {
            self.root_hash = Some(Digest::new(leaves));
            return Ok(());
        }
        self.put(0, leaves, sink)
    }

    /// Hands whole blocks of a level on, and their digests to the level above; the trees of all sizes are few levels high.
    fn put(&mut self, level: usize, blocks: &[u8], sink: Sink<'_>) -> Result<()> {
        let (block_bytes, slot_bytes) = (self.geometry.block_bytes(), self.geometry.digest_bytes());
        let Some((place, open)) = self.geometry.levels().get(level).zip(self.levels.get_mut(level)) else {
            return Ok(());
        };
        sink(self.geometry.offset_of(place, open.written), blocks)?;
        let count = blocks.len().checked_div(block_bytes).unwrap_or(0);
        open.written = open.written.saturating_add(u64_of(count));
        let above = level.saturating_add(1);
        if above >= self.levels.len() {
            self.root_hash = Some(self.hasher.digest(blocks));
            return Ok(());
        }
        let mut digests = vec![0; count.saturating_mul(slot_bytes)];
        let run = TASK_BYTES.checked_div(block_bytes).unwrap_or(0).max(1);
        let runs = blocks.chunks(run.saturating_mul(block_bytes));
        let runs: Vec<_> = runs.zip(digests.chunks_mut(run.saturating_mul(slot_bytes))).collect();
        let hash = |(): &mut (), (blocks, slots): (&[u8], &mut [u8])| {
            self.hasher.digest_all(blocks, block_bytes, slots, slot_bytes);
            Ok(())
        };
        threads::map_init(runs, || (), hash)?;
        digests.chunks_exact(slot_bytes).try_for_each(|digest| self.add_digest(above, digest, sink))
    }

    /// Adds a digest to the open block of a level, and hands the block on when it is full.
    fn add_digest(&mut self, level: usize, digest: &[u8], sink: Sink<'_>) -> Result<()> {
        let Some(open) = self.levels.get_mut(level) else { return Ok(()) };
        let start = usize::try_from(open.digests).unwrap_or(usize::MAX).saturating_mul(digest.len());
        let slot = open.block.get_mut(start..).unwrap_or_default();
        for (to, from) in slot.iter_mut().zip(digest) {
            *to = *from;
        }
        open.digests = open.digests.saturating_add(1);
        if open.digests == self.geometry.digests_per_block() { self.close(level, sink) } else { Ok(()) }
    }

    /// Hands the open block of a level on.
    fn close(&mut self, level: usize, sink: Sink<'_>) -> Result<()> {
        let Some(open) = self.levels.get_mut(level) else { return Ok(()) };
        open.digests = 0;
        let empty = vec![0; open.block.len()];
        let block = std::mem::replace(&mut open.block, empty);
        self.put(level, &block, sink)
    }

    /// Hands on what is open, from the leaves up, and returns the top's digest.
    pub(crate) fn finish(mut self, sink: Sink<'_>) -> Result<RootHash> {
        let (found, expected) = (self.next_byte, self.geometry.data_bytes());
        if found != expected {
            return Err(Corrupt::VerityDataArea { found, expected }.into());
        }
        for level in 1..self.levels.len() {
            if self.levels.get(level).is_some_and(|open| open.digests > 0) {
                self.close(level, sink)?;
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

/// Where the blocks that are hashed come from.
trait Source: Sync {
    /// `len` bytes from `offset` of the data; `buf` is there for those that are not in memory.
    fn part<'b>(&'b self, offset: u64, len: usize, buf: &'b mut Vec<u8>) -> Result<&'b [u8]>;
}

struct Read<'r, R: ?Sized>(&'r R);

impl<R: ReadAt + ?Sized> Source for Read<'_, R> {
    fn part<'b>(&'b self, offset: u64, len: usize, buf: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        buf.resize(len, 0);
        self.0.read_exact_at(offset, buf)?;
        Ok(buf)
    }
}

/// A part of the data in memory, from `start` on.
struct Given<'p> {
    start: u64,
    bytes: &'p [u8],
}

impl Source for Given<'_> {
    fn part<'b>(&'b self, offset: u64, len: usize, _: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        let from = usize::try_from(offset.saturating_sub(self.start)).ok();
        let part = from.and_then(|from| self.bytes.get(from..)?.get(..len));
        let (end, size) =
            (offset.saturating_add(u64_of(len)), self.start.saturating_add(u64_of(self.bytes.len())));
        Ok(part.ok_or(Corrupt::OutOfBounds { end, size })?)
    }
}

/// Hashes the data below the leaves from `first` on into `area`, which is whole leaves of zeros.
fn hash_leaves(
    data: &impl Source,
    geometry: &Geometry,
    hasher: &BlockHasher,
    first: u64,
    area: &mut [u8],
) -> Result<()> {
    let (block_bytes, slot_bytes) = (geometry.data_block_bytes(), geometry.digest_bytes());
    let per_leaf = usize::try_from(geometry.digests_per_block()).unwrap_or(usize::MAX);
    let per_task = TASK_BYTES.checked_div(block_bytes).unwrap_or(0).clamp(1, per_leaf);
    let data_blocks = geometry.superblock().data_blocks;
    let mut tasks = Vec::new();
    for (leaf, bytes) in area.chunks_exact_mut(geometry.block_bytes()).enumerate() {
        let block = first.saturating_add(u64_of(leaf)).saturating_mul(geometry.digests_per_block());
        let (slots, _) = bytes.split_at_mut(per_leaf.saturating_mul(slot_bytes).min(bytes.len()));
        let slots = slots.chunks_mut(per_task.saturating_mul(slot_bytes)).enumerate();
        let slots =
            slots.map(|(task, slots)| (block.saturating_add(u64_of(task.saturating_mul(per_task))), slots));
        tasks.extend(slots.filter(|(block, _)| *block < data_blocks));
    }
    // One list, not lists in a list: of those each would begin with a buffer of its own.
    threads::map_init(tasks, Vec::new, |buf, (block, slots)| {
        let room = slots.len().checked_div(slot_bytes).unwrap_or(0);
        let count = usize::try_from(data_blocks.saturating_sub(block)).unwrap_or(usize::MAX).min(room);
        let offset = block.saturating_mul(u64_of(block_bytes));
        let blocks = data.part(offset, count.saturating_mul(block_bytes), buf)?;
        hasher.digest_all(blocks, block_bytes, slots, slot_bytes);
        Ok(())
    })
    .map(drop)
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
