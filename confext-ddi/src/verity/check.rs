//! Checking all of an image: every block that is not what the root hash promises, not only the first.

use super::Reader;
use super::cache::Key;
use super::reader::Progress;
use super::tree::{TASK_BYTES, u64_of};
use crate::digest::Digest;
use crate::error::{Error, Refused, Result, ResultExt as _, Unverified};
use crate::read::ReadAt;
use crate::threads;
use crate::units::ByteRange;
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Data that is checked between two calls of `progress`.
const BATCH_BYTES: u64 = 64 << 20;

/// What is wrong with a block.
///
/// ```
/// # use confext_ddi::{Limits, digest::Salt, id::Uuid, verity::{Superblock, build}};
/// # let data = vec![7_u8; 200 * 4096];
/// # let tree = build(&data, &Superblock::new(Uuid::from_bytes([1; 16]), 200, Salt::default()))?;
/// use confext_ddi::verity::{Fault, Reader, check};
/// use std::ops::ControlFlow;
///
/// // `tree` is the hash tree over `data`, 200 blocks.
/// // A leaf of the tree changed: what is below it nobody can check.
/// let mut tree = tree;
/// tree.bytes[2 * 4096] ^= 1;
/// let reader = Reader::new(&data, &tree.bytes, tree.root_hash, &Limits::default())?;
/// let report = check(&reader, 10, |_| ControlFlow::Continue(()))?;
/// let faults: Vec<_> = report.ranges.iter().map(|damage| (damage.level, damage.fault)).collect();
/// assert_eq!(faults, [(Some(0), Fault::Changed), (None, Fault::Unchecked)]);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Its digest is not the one that the tree holds.
    Changed,
    /// A hash block above it is changed, so that nobody can say.
    Unchecked,
}

/// Blocks that follow each other and have the same fault.
///
/// ```
/// # use confext_ddi::{Limits, digest::Salt, id::Uuid, verity::{Superblock, build}};
/// # let data = vec![7_u8; 200 * 4096];
/// # let tree = build(&data, &Superblock::new(Uuid::from_bytes([1; 16]), 200, Salt::default()))?;
/// use confext_ddi::verity::{Reader, check};
/// use std::ops::ControlFlow;
///
/// // `tree` is the hash tree over `data`, 200 blocks.
/// // Two blocks of data side by side changed.
/// let mut data = data;
/// data[5 * 4096] ^= 1;
/// data[6 * 4096] ^= 1;
/// let reader = Reader::new(&data, &tree.bytes, tree.root_hash, &Limits::default())?;
/// let damage = check(&reader, 10, |_| ControlFlow::Continue(()))?.ranges[0];
/// assert_eq!((damage.level, damage.first_block, damage.blocks), (None, 5, 2));
/// assert_eq!((damage.range.start(), damage.range.end()), (5 * 4096, 7 * 4096));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// The level of the hash tree, from 0 at its leaves; `None` for blocks of data.
    pub level: Option<u32>,
    /// What is wrong.
    pub fault: Fault,
    /// The first of them, counted from the start of the data or of the level.
    pub first_block: u64,
    /// How many there are.
    pub blocks: u64,
    /// Where they are, in bytes: in the data, or in the source of the hash area; for a whole image, in the image.
    pub range: ByteRange,
}

/// What a check of all blocks came to.
///
/// ```
/// # use confext_ddi::{Limits, digest::Salt, id::Uuid, verity::{Superblock, build}};
/// # let data = vec![7_u8; 200 * 4096];
/// # let tree = build(&data, &Superblock::new(Uuid::from_bytes([1; 16]), 200, Salt::default()))?;
/// use confext_ddi::verity::{Reader, check};
/// use std::ops::ControlFlow;
///
/// // `tree` is the hash tree over `data`, 200 blocks.
/// let mut data = data;
/// data[5 * 4096] ^= 1;
/// let reader = Reader::new(&data, &tree.bytes, tree.root_hash, &Limits::default())?;
/// let report = check(&reader, 10, |_| ControlFlow::Continue(()))?;
/// assert!(!report.is_whole());
/// assert_eq!((report.changed_data_blocks, report.changed_hash_blocks), (1, 0));
/// assert_eq!(report.to_error().map(|error| error.code()), Some("data-block"));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Damage: the levels of the tree from the top down, then the data, each in order.
    pub ranges: Vec<Damage>,
    /// How many more such ranges there are than `ranges` was allowed to have.
    pub omitted: u64,
    /// How many blocks of data are changed.
    pub changed_data_blocks: u64,
    /// How many hash blocks are changed.
    pub changed_hash_blocks: u64,
    /// How many blocks of both could not be checked.
    pub unchecked_blocks: u64,
    #[serde(skip)]
    first: Option<First>,
    #[serde(skip)]
    last: Option<Damage>,
}

/// The first changed block, for an error.
#[derive(Debug, Clone, PartialEq, Eq)]
struct First {
    level: Option<u32>,
    block: u64,
    offset: u64,
    found: Digest,
    expected: Digest,
}

impl Report {
    /// Whether every block is what the root hash promises.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.changed_data_blocks == 0 && self.changed_hash_blocks == 0
    }

    /// The first changed block as an error, if there is one: `hash-block` or `data-block`.
    #[must_use]
    pub fn to_error(&self) -> Option<Error> {
        let first = self.first.as_ref()?;
        let (found, expected) = (const_hex::encode(first.found), const_hex::encode(first.expected));
        let block = first.block;
        let (fault, part) = match first.level {
            None => (Unverified::DataBlock { block, found, expected }, "data"),
            Some(level) => (Unverified::HashBlock { level, block, found, expected }, "hash-tree"),
        };
        Err::<(), Error>(Error::from(fault).at_offset(first.offset)).within(part).err()
    }

    /// Moves the places of data and of hash blocks by where their sources start. The error of [`Report::to_error`] stays.
    pub(crate) fn shift(&mut self, data_start: u64, hash_start: u64) {
        for damage in &mut self.ranges {
            let start = if damage.level.is_none() { data_start } else { hash_start };
            let moved = start.checked_add(damage.range.start());
            let moved = moved.and_then(|start| ByteRange::with_len(start, damage.range.len_bytes()));
            damage.range = moved.unwrap_or(damage.range);
        }
    }

    /// Notes one more block, or several of one fault that follow each other.
    fn add(&mut self, damage: Damage, most: usize) {
        let count = match (damage.fault, damage.level) {
            (Fault::Unchecked, _) => &mut self.unchecked_blocks,
            (Fault::Changed, None) => &mut self.changed_data_blocks,
            (Fault::Changed, Some(_)) => &mut self.changed_hash_blocks,
        };
        *count = count.saturating_add(damage.blocks);
        let joined = self.last.and_then(|last| join(last, damage));
        self.last = Some(joined.unwrap_or(damage));
        let listed = self.ranges.len();
        match (joined, self.ranges.last_mut()) {
            (Some(joined), Some(last)) if self.omitted == 0 => *last = joined,
            (Some(_), _) => {}
            (None, _) if listed < most => self.ranges.push(damage),
            (None, _) => self.omitted = self.omitted.saturating_add(1),
        }
    }
}

/// Both as one, when the second follows the first.
fn join(first: Damage, second: Damage) -> Option<Damage> {
    let follows = first.level == second.level
        && first.fault == second.fault
        && first.range.end() == second.range.start();
    let range = ByteRange::new(first.range.start(), second.range.end()).filter(|_| follows)?;
    Some(Damage { blocks: first.blocks.checked_add(second.blocks)?, range, ..first })
}

/// Checks every block of data and hash tree, on all processors of the current `rayon` thread pool, and reports all that
/// are changed.
///
/// At most `most` ranges are listed; all are counted. `progress` is called from time to time and may stop the check.
/// Memory does not grow with the image.
///
/// # Errors
///
/// `cancelled` when `progress` said so; an I/O error of reading. Damage is no error.
pub fn check<D: ReadAt, H: ReadAt>(
    reader: &Reader<D, H>,
    most: usize,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Report> {
    let mut check = Check { reader, most, report: Report::default() };
    let geometry = reader.geometry();
    let total = geometry.data_bytes();
    let blocks = geometry.superblock().data_blocks;
    // The top was checked when the reader was made, and is kept; level 0 is checked with its data.
    for level in (1..geometry.levels().len().saturating_sub(1)).rev() {
        for block in 0..geometry.levels().get(level).map_or(0, |level| level.blocks) {
            let key = Key { level, block };
            let hash = check.hash_block(key)?;
            check.note_hash(key, &hash);
        }
    }
    let per_leaf = geometry.digests_per_block();
    let leaf_data = per_leaf.saturating_mul(u64_of(geometry.data_block_bytes())).max(1);
    let batch = BATCH_BYTES.checked_div(leaf_data).unwrap_or(0).max(1);
    let (mut leaf, mut done) = (0_u64, 0_u64);
    while done < blocks {
        check.leaves(leaf, batch)?;
        leaf = leaf.saturating_add(batch);
        done = leaf.saturating_mul(per_leaf).min(blocks);
        let done_bytes = done.saturating_mul(u64_of(geometry.data_block_bytes()));
        if progress(Progress { done_bytes, total_bytes: total }).is_break() {
            return Err(Refused::Cancelled { done: done_bytes, total }.into());
        }
    }
    Ok(check.report)
}

/// Checks all data and the whole hash tree.
///
/// # Errors
///
/// `data-block`, `hash-block`: the first of what [`check`] reports; an I/O error of reading.
pub fn verify<D: ReadAt, H: ReadAt>(reader: &Reader<D, H>) -> Result<()> {
    check(reader, 0, |_| ControlFlow::Continue(()))?.to_error().map_or(Ok(()), Err)
}

struct Check<'r, D, H> {
    reader: &'r Reader<D, H>,
    most: usize,
    report: Report,
}

/// A hash block after its check.
enum Hash {
    Right(Arc<[u8]>),
    Changed { found: Digest, expected: Digest },
    Unchecked,
}

/// Some data below one leaf.
struct Task {
    first: u64,
    count: usize,
    /// `None` when the only block of data has the root hash for its digest.
    leaf: Option<Arc<[u8]>>,
}

/// A changed block of data.
struct Wrong {
    block: u64,
    found: Digest,
    expected: Digest,
}

impl<D: ReadAt, H: ReadAt> Check<'_, D, H> {
    /// Reads and checks one hash block.
    fn hash_block(&self, key: Key) -> Result<Hash> {
        let up = key.level.saturating_add(1);
        let per_block = self.reader.geometry().digests_per_block();
        let above = key.block.checked_div(per_block).unwrap_or(0);
        let is_top = up >= self.reader.geometry().levels().len();
        let expected = if is_top {
            Digest::new(self.reader.root_hash().as_bytes())
        } else {
            match self.reader.checked_block(up, above) {
                Ok(above) => Digest::new(self.reader.digest_in(&above, key.block).unwrap_or_default()),
                Err(error) if error.family() == "unverified" => return Ok(Hash::Unchecked),
                Err(error) => return Err(error),
            }
        };
        let (block, found) = self.reader.read_hash(key).within("hash-tree")?;
        if found == expected { Ok(Hash::Right(block)) } else { Ok(Hash::Changed { found, expected }) }
    }

    /// Notes what is wrong with a hash block.
    fn note_hash(&mut self, key: Key, hash: &Hash) {
        let fault = match hash {
            Hash::Right(_) => return,
            Hash::Changed { .. } => Fault::Changed,
            Hash::Unchecked => Fault::Unchecked,
        };
        let geometry = self.reader.geometry();
        let level = u32::try_from(key.level).ok();
        let offset = geometry.levels().get(key.level).map_or(0, |level| geometry.offset_of(level, key.block));
        if let Hash::Changed { found, expected } = hash {
            let (found, expected) = (*found, *expected);
            self.report.first.get_or_insert(First { level, block: key.block, offset, found, expected });
        }
        let range = ByteRange::with_len(offset, u64_of(geometry.block_bytes())).unwrap_or(ByteRange::EMPTY);
        self.report.add(Damage { level, fault, first_block: key.block, blocks: 1, range }, self.most);
    }

    /// Checks up to `count` leaves from `first` on, then the data below those that are right.
    fn leaves(&mut self, first: u64, count: u64) -> Result<()> {
        let geometry = self.reader.geometry();
        let Some(level) = geometry.levels().first() else {
            return self.data(vec![Task { first: 0, count: 1, leaf: None }], &[]);
        };
        let end = first.saturating_add(count).min(level.blocks);
        let hash = |(): &mut (), block| self.hash_block(Key { level: 0, block });
        let hashes = threads::map_init((first..end).collect(), || (), hash)?;
        let per_leaf = geometry.digests_per_block();
        let per_task = u64_of(TASK_BYTES.checked_div(geometry.data_block_bytes()).unwrap_or(0)).max(1);
        let blocks = geometry.superblock().data_blocks;
        let (mut tasks, mut unchecked) = (Vec::new(), Vec::new());
        for (leaf, hash) in (first..end).zip(hashes) {
            self.note_hash(Key { level: 0, block: leaf }, &hash);
            let start = leaf.saturating_mul(per_leaf);
            let stop = start.saturating_add(per_leaf).min(blocks);
            let Hash::Right(hash) = hash else {
                unchecked.push((start, stop));
                continue;
            };
            let mut at = start;
            while at < stop {
                let count = stop.saturating_sub(at).min(per_task);
                let leaf = Some(Arc::clone(&hash));
                tasks.push(Task { first: at, count: usize::try_from(count).unwrap_or(0), leaf });
                at = at.saturating_add(count);
            }
        }
        self.data(tasks, &unchecked)
    }

    /// Checks data, and notes it in order with what cannot be checked.
    fn data(&mut self, tasks: Vec<Task>, unchecked: &[(u64, u64)]) -> Result<()> {
        let wrong = |(buf, slots): &mut (Vec<u8>, Vec<u8>), task: Task| self.wrong(&task, buf, slots);
        let lists = threads::map_init(tasks, || (Vec::new(), Vec::new()), wrong)?;
        let block_bytes = u64_of(self.reader.geometry().data_block_bytes());
        let damage = |fault, first: u64, end: u64| {
            let range = first.checked_mul(block_bytes).zip(end.checked_mul(block_bytes));
            let range = range.and_then(|(start, end)| ByteRange::new(start, end)).unwrap_or(ByteRange::EMPTY);
            Damage { level: None, fault, first_block: first, blocks: end.saturating_sub(first), range }
        };
        let mut all: Vec<Damage> =
            unchecked.iter().map(|(first, end)| damage(Fault::Unchecked, *first, *end)).collect();
        for Wrong { block, found, expected } in lists.into_iter().flatten() {
            let offset = block.saturating_mul(block_bytes);
            self.report.first.get_or_insert(First { level: None, block, offset, found, expected });
            all.push(damage(Fault::Changed, block, block.saturating_add(1)));
        }
        all.sort_by_key(|damage| damage.first_block);
        all.into_iter().for_each(|damage| self.report.add(damage, self.most));
        Ok(())
    }

    /// Reads the data of a task once and returns what is changed of it.
    fn wrong(&self, task: &Task, buf: &mut Vec<u8>, slots: &mut Vec<u8>) -> Result<Vec<Wrong>> {
        let geometry = self.reader.geometry();
        let (block_bytes, slot_bytes) =
            (geometry.data_block_bytes(), self.reader.root_hash().as_bytes().len());
        buf.resize(task.count.saturating_mul(block_bytes), 0);
        slots.resize(task.count.saturating_mul(slot_bytes), 0);
        self.reader.read_plain(task.first, buf).within("data")?;
        self.reader.hasher().digest_all(buf, block_bytes, slots, slot_bytes);
        let mut wrong = Vec::new();
        for (block, found) in (task.first..).zip(slots.chunks_exact(slot_bytes.max(1))) {
            let expected = match &task.leaf {
                Some(leaf) => self.reader.digest_in(leaf, block).unwrap_or_default(),
                None => self.reader.root_hash().as_bytes(),
            };
            if found != expected {
                wrong.push(Wrong { block, found: Digest::new(found), expected: Digest::new(expected) });
            }
        }
        Ok(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Salt;
    use crate::id::Uuid;
    use crate::limits::Limits;
    use crate::units::BlockSize;
    use crate::verity::{Superblock, Tree, build};

    /// Hash blocks of 512 bytes hold 16 digests: 300 blocks have 19 leaves, 2 blocks above them and a top.
    fn sample() -> (Vec<u8>, Tree) {
        let data: Vec<u8> = (0..300_u32).flat_map(|block| block.to_le_bytes().repeat(128)).collect();
        let mut superblock = Superblock::new(Uuid::from_bytes([1; 16]), 300, Salt::new(*b"salt").unwrap());
        superblock.data_block_size = BlockSize::new(512).unwrap();
        superblock.hash_block_size = BlockSize::new(512).unwrap();
        let tree = build(&data, &superblock).unwrap();
        (data, tree)
    }

    fn checked(data: &[u8], tree: &Tree, most: usize) -> Report {
        let reader = Reader::new(data, &tree.bytes[..], tree.root_hash, &Limits::default()).unwrap();
        check(&reader, most, |_| ControlFlow::Continue(())).unwrap()
    }

    fn ranges(report: &Report) -> Vec<(Option<u32>, Fault, u64, u64, u64)> {
        let flat = |d: &Damage| (d.level, d.fault, d.first_block, d.blocks, d.range.start());
        report.ranges.iter().map(flat).collect()
    }

    #[test]
    fn every_changed_block_is_reported() {
        let (mut data, tree) = sample();
        assert!(checked(&data, &tree, 10).is_whole());
        for block in [0, 15, 16, 17, 250, 299] {
            data[block * 512 + 7] ^= 1;
        }
        let report = checked(&data, &tree, 10);
        let expected = [(0, 1), (15, 3), (250, 1), (299, 1)]
            .map(|(first, count)| (None, Fault::Changed, first, count, first * 512));
        assert_eq!(ranges(&report), expected);
        assert_eq!((report.changed_data_blocks, report.omitted, report.is_whole()), (6, 0, false));
        let error = report.to_error().unwrap();
        assert_eq!((error.code(), error.offset(), error.path().as_str()), ("data-block", Some(0), "data"));
        let report = checked(&data, &tree, 2);
        assert_eq!(ranges(&report), expected[..2]);
        assert_eq!((report.changed_data_blocks, report.omitted), (6, 2));
    }

    #[test]
    fn what_is_below_a_changed_hash_block_cannot_be_checked() {
        let (mut data, mut tree) = sample();
        data[100 * 512] ^= 1;
        data[40 * 512] ^= 1;
        // Superblock, top, two blocks of level 1, then the leaves: leaf 6 has the digests of blocks 96 to 111.
        tree.bytes[(4 + 6) * 512] ^= 1;
        let report = checked(&data, &tree, 10);
        assert_eq!(
            ranges(&report),
            [
                (Some(0), Fault::Changed, 6, 1, 10 * 512),
                (None, Fault::Changed, 40, 1, 40 * 512),
                (None, Fault::Unchecked, 96, 16, 96 * 512),
            ]
        );
        assert_eq!(report.to_error().unwrap().code(), "hash-block");
        // The first block of level 1: 16 leaves and 256 blocks of data.
        let (data, mut tree) = sample();
        tree.bytes[2 * 512] ^= 1;
        let report = checked(&data, &tree, 10);
        assert_eq!(
            ranges(&report),
            [
                (Some(1), Fault::Changed, 0, 1, 2 * 512),
                (Some(0), Fault::Unchecked, 0, 16, 4 * 512),
                (None, Fault::Unchecked, 0, 256, 0),
            ]
        );
        assert_eq!((report.changed_hash_blocks, report.unchecked_blocks), (1, 272));
    }

    #[test]
    fn a_check_can_be_stopped() {
        let (data, tree) = sample();
        let reader = Reader::new(&data, &tree.bytes, tree.root_hash, &Limits::default()).unwrap();
        assert_eq!(check(&reader, 1, |_| ControlFlow::Break(())).unwrap_err().code(), "cancelled");
    }
}
