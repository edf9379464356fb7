//! Finding damaged blocks by their hashes and writing them anew from the parity.

use super::code::Code;
use super::covered::Covered;
use super::report::{Area, Block, Report};
use super::{Coverage, Roots, Tell};
use crate::digest::RootHash;
use crate::error::{Corrupt, LimitExceeded, Result, ResultExt as _, Unsupported};
use crate::limits::Limits;
use crate::read::ReadAt;
use crate::verity::cache::{Cache, Key};
use crate::verity::hasher::BlockHasher;
use crate::verity::{Geometry, Superblock};
use crate::write::WriteAt;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often everything is looked through. A mended hash block shows damage that helps to mend another one; chains of
/// that are no accident, and their length must not be up to who made them.
const MAX_PASSES: u32 = 8;
/// Data blocks read and hashed at a time, in bytes, unless a block is larger.
const RUN_BYTES: u64 = 1 << 20;

/// What is repaired, and from what.
///
/// ```
/// # use confext_ddi::{Limits, digest::Salt, id::Uuid, units::BlockSize, write::Memory};
/// # use confext_ddi::verity::{Superblock, build, fec::{Coverage, Roots, encode}};
/// # let (bytes, roots) = (vec![7_u8; 200 * 4096], Roots::default());
/// # let superblock = Superblock::new(Uuid::from_bytes([1; 16]), 200, Salt::default());
/// # let tree = build(&bytes, &superblock)?;
/// # let hash_bytes = tree.bytes[4096..].to_vec();
/// # let coverage = Coverage::new(BlockSize::B4096, roots, 200, 3)?;
/// # let mut fec = Vec::new();
/// # encode(&bytes, &hash_bytes, &coverage, |part| Ok(fec.extend_from_slice(part)))?;
/// # let (data, hash) = (Memory::new(bytes), Memory::new(hash_bytes));
/// use confext_ddi::verity::fec::{Parts, repair};
///
/// // `data` and the tree in `hash` are 203 blocks; `fec` is their parity, of two roots.
/// let parts = Parts { data: &data, hash: &hash, fec: &fec };
/// let report = repair(&parts, &superblock, &tree.root_hash, roots, &Limits::default())?;
/// // Nothing is damaged, so nothing was written.
/// assert!(report.is_whole() && report.repaired.is_empty());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug)]
pub struct Parts<'a, D: ?Sized, H: ?Sized, F: ?Sized> {
    /// The data: a copy, damaged blocks of it are overwritten.
    pub data: &'a D,
    /// The hash area from the first block of the tree on, behind the superblock's: a copy, too.
    pub hash: &'a H,
    /// The parity, from its first byte on.
    pub fec: &'a F,
}

/// Finds all damage to data and hash tree, and overwrites each damaged block that the parity brings back.
///
/// A block is damaged when its digest is not the one the block above it holds, up to the root hash. Nothing is written
/// that does not have that digest. Where the damage is known, it counts once against the roots of a round; damage that
/// no digest shows, because the hash block above is damaged as well, counts twice. Parity may be damaged like
/// everything else.
///
/// `superblock` says what the tree is like; the one on disk is not covered and not read. Memory is
/// [`Limits::hash_cache_bytes`], some copies of one round (255 blocks), and 50 bytes for each damaged block.
///
/// # Errors
///
/// `fec-block-sizes`, `fec-overflow`, `fec-area`, `verity-data-blocks`, `verity-overflow`, `verity-data-area`,
/// `verity-hash-area`; `limit-count` when more blocks are damaged than [`Limits::damaged_blocks`]; an I/O error.
pub fn repair<D, H, F>(
    parts: &Parts<'_, D, H, F>,
    superblock: &Superblock,
    root_hash: &RootHash,
    roots: Roots,
    limits: &Limits,
) -> Result<Report>
where
    D: WriteAt + ?Sized,
    H: WriteAt + ?Sized,
    F: ReadAt + ?Sized,
{
    repair_told(parts, (superblock, root_hash), roots, limits, &mut |_| Ok(()))
}

/// The same, and `tell` hears how many more bytes of data are looked through, each once; and nothing more for each round
/// that is mended, for it to have a say.
pub(crate) fn repair_told<D, H, F>(
    parts: &Parts<'_, D, H, F>,
    (superblock, root_hash): (&Superblock, &RootHash),
    roots: Roots,
    limits: &Limits,
    tell: &mut Tell<'_>,
) -> Result<Report>
where
    D: WriteAt + ?Sized,
    H: WriteAt + ?Sized,
    F: ReadAt + ?Sized,
{
    let (data, hash) = (superblock.data_block_size, superblock.hash_block_size);
    if data != hash {
        return Err(Unsupported::FecBlockSizes { data: data.bytes(), hash: hash.bytes() }.into());
    }
    let geometry = Geometry::new(superblock)?;
    let hash_blocks = parts.hash.size_bytes()?.checked_div(u64::from(hash.bytes())).unwrap_or(0);
    let (found, expected) = (parts.hash.size_bytes()?, geometry.tree_bytes());
    if found < expected {
        return Err(Corrupt::VerityHashArea { found, expected }.into());
    }
    let coverage = Coverage::new(data, roots, superblock.data_blocks, hash_blocks)?;
    let (found, expected) = (parts.fec.size_bytes()?, coverage.fec_bytes());
    if found < expected {
        return Err(Corrupt::FecArea { found, expected }.into());
    }
    let cached = usize::try_from(limits.hash_cache_bytes).unwrap_or(usize::MAX);
    let mut repair = Repair {
        covered: Covered::new(parts.data, parts.hash, coverage)?,
        fec: parts.fec,
        code: Code::new(roots),
        hasher: BlockHasher::new(superblock),
        root_hash: root_hash.as_bytes().to_vec(),
        cache: Cache::new(cached.checked_div(geometry.block_bytes()).unwrap_or(0)),
        geometry,
        found: Found::default(),
        most: limits.damaged_blocks,
    };
    for pass in 0..MAX_PASSES {
        let before = repair.found.repaired.len();
        if pass == 0 {
            repair.pass(tell)?;
        } else {
            repair.pass(&mut |_| tell(0))?;
        }
        let found = &repair.found;
        if found.repaired.len() == before || (found.damaged.is_empty() && found.unchecked == 0) {
            break;
        }
    }
    Ok(repair.report())
}

/// A block that has a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Data(u64),
    Hash(Key),
}

/// What is known so far, by the numbers of covered blocks.
#[derive(Debug, Default)]
struct Found {
    repaired: BTreeSet<u64>,
    damaged: BTreeSet<u64>,
    unchecked: u64,
}

struct Repair<'a, D: ?Sized, H: ?Sized, F: ?Sized> {
    covered: Covered<'a, D, H>,
    fec: &'a F,
    code: Code,
    geometry: Geometry,
    hasher: BlockHasher,
    root_hash: Vec<u8>,
    /// Hash blocks that are right. A right block is never written again, so these stay true.
    cache: Cache,
    found: Found,
    most: u64,
}

impl<D, H, F> Repair<'_, D, H, F>
where
    D: WriteAt + ?Sized,
    H: WriteAt + ?Sized,
    F: ReadAt + ?Sized,
{
    /// Looks through everything once, from the top of the tree down, and mends each level before the next is looked at.
    fn pass(&mut self, tell: &mut Tell<'_>) -> Result<()> {
        self.found.damaged.clear();
        self.found.unchecked = 0;
        for level in (0..self.geometry.levels().len()).rev() {
            let blocks = self.geometry.levels().get(level).map_or(0, |level| level.blocks);
            let mut rounds = BTreeSet::new();
            for block in 0..blocks {
                let key = Key { level, block };
                if self.right(key)?.is_some() {
                    continue;
                }
                if self.expected(Node::Hash(key))?.is_some() {
                    rounds.insert(self.add_damaged(Node::Hash(key))?);
                } else {
                    self.found.unchecked = self.found.unchecked.saturating_add(1);
                }
            }
            self.mend_all(&rounds, tell)?;
        }
        let rounds = self.scan_data(tell)?;
        self.mend_all(&rounds, tell)
    }

    /// Checks all data blocks, and returns the rounds of those that are damaged.
    fn scan_data(&mut self, tell: &mut Tell<'_>) -> Result<BTreeSet<u64>> {
        let block_bytes = self.covered.coverage.block_bytes();
        let most =
            RUN_BYTES.checked_div(u64::from(self.covered.coverage.block_size().bytes())).unwrap_or(0).max(1);
        let per_leaf = self.geometry.digests_per_block();
        let data_blocks = self.covered.coverage.data_blocks();
        let mut rounds = BTreeSet::new();
        let (mut first, mut run) = (0_u64, Vec::new());
        while first < data_blocks {
            let in_leaf = per_leaf.saturating_sub(first.checked_rem(per_leaf).unwrap_or(0));
            let count = data_blocks.saturating_sub(first).min(most).min(in_leaf);
            let leaf = Key { level: 0, block: first.checked_div(per_leaf).unwrap_or(0) };
            let leaf = if self.geometry.levels().is_empty() { None } else { Some(self.right(leaf)?) };
            if leaf == Some(None) {
                self.found.unchecked = self.found.unchecked.saturating_add(count);
            } else {
                let digests = leaf.flatten();
                run.resize(usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(block_bytes), 0);
                self.covered.read(first, &mut run)?;
                let is_wrong = |(at, block): (usize, &[u8])| {
                    let number = first.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
                    let expected = match &digests {
                        Some(leaf) => self.digest_in(leaf, number),
                        None => Some(&*self.root_hash),
                    };
                    (!self.is_right(block, expected)).then_some(number)
                };
                crate::threads::ready();
                let wrong: Vec<u64> =
                    run.par_chunks_exact(block_bytes).enumerate().filter_map(is_wrong).collect();
                for block in wrong {
                    rounds.insert(self.add_damaged(Node::Data(block))?);
                }
            }
            first = first.saturating_add(count);
            tell(count.saturating_mul(u64::from(self.covered.coverage.block_size().bytes())))?;
        }
        Ok(rounds)
    }

    /// Notes a damaged block and returns its round.
    fn add_damaged(&mut self, node: Node) -> Result<u64> {
        let block = self.number_of(node);
        self.found.damaged.insert(block);
        let found = self.found.damaged.len().saturating_add(self.found.repaired.len());
        let found = u64::try_from(found).unwrap_or(u64::MAX);
        if found > self.most {
            return Err(LimitExceeded::Count { what: "damaged blocks", found, most: self.most }.into());
        }
        Ok(self.covered.coverage.round_of(block))
    }

    fn mend_all(&mut self, rounds: &BTreeSet<u64>, tell: &mut Tell<'_>) -> Result<()> {
        rounds.iter().try_for_each(|round| {
            tell(0)?;
            self.mend(*round)
        })
    }

    /// Tries to mend the damaged blocks of a round, and writes those that come out right.
    fn mend(&mut self, round: u64) -> Result<()> {
        let coverage = self.covered.coverage;
        let width = coverage.block_bytes();
        let mut rows = vec![0; self.code.data_rows().saturating_mul(width)];
        for (at, row) in rows.chunks_exact_mut(width).enumerate() {
            self.covered.read(coverage.block_in(round, at), row)?;
        }
        let mut open = Vec::new();
        let mut suspects = Vec::new();
        for (at, row) in rows.chunks_exact(width).enumerate() {
            let Some(node) = self.node_of(coverage.block_in(round, at)) else { continue };
            match self.expected(node)? {
                Some(expected) if self.is_right(row, Some(&expected)) => {}
                Some(expected) => open.push((at, node, expected)),
                None if self.is_suspect(node, row)? => suspects.push(at),
                None => {}
            }
        }
        rows.extend(self.parity_rows(round)?);
        let damaged: Vec<usize> = open.iter().map(|(at, ..)| *at).collect();
        let all: Vec<usize> = damaged.iter().chain(&suspects).copied().collect();
        let mut tried: Option<&[usize]> = None;
        for erased in [&all[..], &damaged, &[]] {
            if open.is_empty() || tried == Some(erased) || erased.len() > usize::from(coverage.roots().get())
            {
                continue;
            }
            tried = Some(erased);
            let mut mended = rows.clone();
            self.code.correct(&mut mended, width, erased);
            let mut still_open = Vec::new();
            for (at, node, expected) in open {
                match mended.chunks_exact(width).nth(at) {
                    Some(block) if self.is_right(block, Some(&expected)) => self.write(node, block)?,
                    _ => still_open.push((at, node, expected)),
                }
            }
            open = still_open;
        }
        Ok(())
    }

    /// Puts a block that is right in its place.
    fn write(&mut self, node: Node, block: &[u8]) -> Result<()> {
        let number = self.number_of(node);
        let place = self.place_of(number);
        match place.area {
            Area::Data => self.covered.data.write_all_at(place.offset, block).within("data")?,
            Area::Hash => self.covered.hash.write_all_at(place.offset, block).within("hash-tree")?,
        }
        self.found.damaged.remove(&number);
        self.found.repaired.insert(number);
        Ok(())
    }

    /// The parity of a round, a row for each root.
    fn parity_rows(&self, round: u64) -> Result<Vec<u8>> {
        let coverage = &self.covered.coverage;
        let mut stored = vec![0; coverage.round_bytes()];
        let offset = round.saturating_mul(u64::try_from(stored.len()).unwrap_or(u64::MAX));
        self.fec.read_exact_at(offset, &mut stored).within("fec")?;
        let roots = usize::from(coverage.roots().get());
        let row = |root: usize| stored.iter().skip(root).step_by(roots.max(1)).copied();
        Ok((0..roots).flat_map(row).collect())
    }

    /// The digest that a block has to have; `None` when the hash block with it is not right itself.
    fn expected(&self, node: Node) -> Result<Option<Vec<u8>>> {
        let Some((above, slot)) = self.above(node) else { return Ok(Some(self.root_hash.clone())) };
        Ok(self.right(above)?.and_then(|above| self.digest_in(&above, slot).map(<[u8]>::to_vec)))
    }

    /// A hash block, when it is right and all above it are. The tree has few levels, so calling itself is no danger.
    fn right(&self, key: Key) -> Result<Option<Arc<[u8]>>> {
        if let Some(block) = self.cache.find(key) {
            return Ok(Some(block));
        }
        let Some(expected) = self.expected(Node::Hash(key))? else { return Ok(None) };
        let block = self.read_hash_block(key)?;
        if !self.is_right(&block, Some(&expected)) {
            return Ok(None);
        }
        let block: Arc<[u8]> = Arc::from(block);
        self.cache.insert(key, Arc::clone(&block));
        Ok(Some(block))
    }

    fn read_hash_block(&self, key: Key) -> Result<Vec<u8>> {
        let mut block = vec![0; self.covered.coverage.block_bytes()];
        self.covered.read(self.number_of(Node::Hash(key)), &mut block)?;
        Ok(block)
    }

    /// Whether the damaged hash block above names another digest: a hint where to look first, no more.
    fn is_suspect(&self, node: Node, block: &[u8]) -> Result<bool> {
        let Some((above, slot)) = self.above(node) else { return Ok(false) };
        let above = self.read_hash_block(above)?;
        Ok(!self.is_right(block, self.digest_in(&above, slot)))
    }

    fn is_right(&self, block: &[u8], expected: Option<&[u8]>) -> bool {
        expected == Some(&self.hasher.digest(block)[..])
    }

    /// The digest of a block, in the hash block that holds it.
    fn digest_in<'b>(&self, block: &'b [u8], below: u64) -> Option<&'b [u8]> {
        let slot = usize::try_from(below.checked_rem(self.geometry.digests_per_block())?).ok()?;
        block.get(slot.checked_mul(self.geometry.digest_bytes())?..)?.get(..self.root_hash.len())
    }

    /// The hash block that holds a block's digest, and which digest it is; `None` when that is the root hash.
    fn above(&self, node: Node) -> Option<(Key, u64)> {
        let (level, block) = match node {
            Node::Data(block) => (0, block),
            Node::Hash(key) => (key.level.checked_add(1)?, key.block),
        };
        self.geometry.levels().get(level)?;
        Some((Key { level, block: block.checked_div(self.geometry.digests_per_block())? }, block))
    }

    /// The first block of the tree, counted as the geometry counts: the level at the top is stored first.
    fn tree_start(&self) -> u64 {
        self.geometry.levels().last().map_or(0, |top| top.first_block)
    }

    /// The number of a block among those that are covered.
    fn number_of(&self, node: Node) -> u64 {
        match node {
            Node::Data(block) => block,
            Node::Hash(Key { level, block }) => {
                let first = self.geometry.levels().get(level).map_or(0, |level| level.first_block);
                let in_tree = first.saturating_sub(self.tree_start()).saturating_add(block);
                in_tree.saturating_add(self.covered.coverage.data_blocks())
            }
        }
    }

    /// The reverse of [`Repair::number_of`]; `None` for blocks behind the tree, which nothing is known of.
    fn node_of(&self, number: u64) -> Option<Node> {
        let Some(in_tree) = number.checked_sub(self.covered.coverage.data_blocks()) else {
            return Some(Node::Data(number));
        };
        self.geometry.levels().iter().enumerate().find_map(|(at, level)| {
            let block = in_tree.checked_sub(level.first_block.checked_sub(self.tree_start())?)?;
            (block < level.blocks).then_some(Node::Hash(Key { level: at, block }))
        })
    }

    /// Where a covered block is.
    fn place_of(&self, number: u64) -> Block {
        let coverage = &self.covered.coverage;
        let (area, block) = match number.checked_sub(coverage.data_blocks()) {
            Some(block) => (Area::Hash, block),
            None => (Area::Data, number),
        };
        Block { area, block, offset: block.saturating_mul(u64::from(coverage.block_size().bytes())) }
    }

    fn report(&self) -> Report {
        let list = |numbers: &BTreeSet<u64>| numbers.iter().map(|number| self.place_of(*number)).collect();
        Report {
            repaired: list(&self.found.repaired),
            unrepairable: list(&self.found.damaged),
            unchecked_blocks: self.found.unchecked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Salt;
    use crate::id::Uuid;
    use crate::verity::{Tree, build, fec};
    use crate::write::Memory;
    use proptest::prelude::*;

    const BLOCK: usize = 4096;

    /// Data, the tree behind its superblock, and their parity.
    struct Sample {
        data: Vec<u8>,
        hash: Vec<u8>,
        fec: Vec<u8>,
        superblock: Superblock,
        root_hash: RootHash,
        roots: Roots,
    }

    impl Sample {
        fn new(blocks: u64, roots: u8) -> Self {
            let data: Vec<u8> =
                (0..blocks).flat_map(|block| [(block + 1).to_le_bytes(); 512].concat()).collect();
            let salt = Salt::new(*b"salt").unwrap();
            let superblock = Superblock::new(Uuid::from_bytes([1; 16]), blocks, salt);
            let Tree { root_hash, bytes } = build(&data, &superblock).unwrap();
            let (hash, roots) = (bytes[BLOCK..].to_vec(), Roots::new(roots).unwrap());
            let hash_blocks = (hash.len() / BLOCK) as u64;
            let coverage = Coverage::new(superblock.data_block_size, roots, blocks, hash_blocks).unwrap();
            let mut fec = Vec::new();
            fec::encode(&data, &hash, &coverage, |bytes| {
                fec.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
            Self { data, hash, fec, superblock, root_hash, roots }
        }

        fn blocks(&self) -> usize {
            (self.data.len() + self.hash.len()) / BLOCK
        }

        fn rounds(&self) -> usize {
            self.blocks().div_ceil(usize::from(self.roots.data_rows()))
        }

        /// Repairs what `damage` leaves; what comes out, and whether it is as it was.
        fn repair(&self, damage: impl FnOnce(&mut [u8], &mut [u8])) -> (Report, bool) {
            let mut area = [&self.data[..], &self.hash].concat();
            let mut fec = self.fec.clone();
            damage(&mut area, &mut fec);
            let hash = Memory::new(area.split_off(self.data.len()));
            let data = Memory::new(area);
            let parts = Parts { data: &data, hash: &hash, fec: &fec };
            let limits = Limits::default();
            let report = repair(&parts, &self.superblock, &self.root_hash, self.roots, &limits).unwrap();
            (report, data.into_inner() == self.data && hash.into_inner() == self.hash)
        }
    }

    fn spoil(area: &mut [u8], block: usize) {
        for byte in &mut area[block * BLOCK..(block + 1) * BLOCK] {
            *byte = !*byte;
        }
    }

    fn numbers(sample: &Sample, blocks: &[Block]) -> Vec<usize> {
        let number = |block: &Block| match block.area {
            Area::Data => block.block as usize,
            Area::Hash => block.block as usize + sample.data.len() / BLOCK,
        };
        blocks.iter().map(number).collect()
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        for blocks in [1, 2, 128, 129, 600] {
            let (report, same) = Sample::new(blocks, 2).repair(|_, _| {});
            assert_eq!((report, same), (Report::default(), true));
        }
    }

    /// Each block once, also those of the tree.
    #[test]
    fn every_block_can_be_brought_back() {
        for (blocks, roots, every) in [(1, 2, 1), (3, 5, 1), (300, 2, 43)] {
            let sample = Sample::new(blocks, roots);
            for block in (0..sample.blocks()).filter(|at| at % every == 0 || *at >= 299) {
                let (report, same) = sample.repair(|area, _| spoil(area, block));
                assert!(same && report.is_whole(), "{blocks} {block}: {report:?}");
                assert_eq!(numbers(&sample, &report.repaired), [block]);
                let place = report.repaired[0];
                assert_eq!(place.offset, place.block * BLOCK as u64);
            }
        }
    }

    /// Damage that is located counts once: as many blocks of a round as there are roots.
    #[test]
    fn as_many_blocks_of_a_round_as_there_are_roots() {
        for roots in [2, 7, 24] {
            let sample = Sample::new(600, roots);
            let rounds = sample.rounds();
            let spoiled: Vec<usize> = (0..usize::from(roots)).map(|at| 1 + 3 * rounds * at).collect();
            assert!(spoiled.iter().all(|block| *block < 600), "{spoiled:?}");
            let (report, same) = sample.repair(|area, _| spoiled.iter().for_each(|at| spoil(area, *at)));
            assert!(same && report.is_whole(), "{roots}");
            assert_eq!(numbers(&sample, &report.repaired), spoiled);

            let (report, same) = sample.repair(|area, _| {
                spoiled.iter().for_each(|at| spoil(area, *at));
                spoil(area, 1 + rounds);
            });
            assert!(!same && !report.is_whole());
            assert_eq!((report.repaired.len(), report.unrepairable.len()), (0, spoiled.len() + 1));
            assert_eq!(report.unchecked_blocks, 0);
        }
    }

    /// More bad blocks than roots are no loss when their bad bytes are in different places.
    #[test]
    fn many_small_faults_in_one_round() {
        let sample = Sample::new(200, 2);
        let (report, same) =
            sample.repair(|area, _| (0..100).for_each(|at| area[at * BLOCK + 7 * at] ^= 0x10));
        assert!(same && report.repaired.len() == 100);
    }

    /// A tree of one block and the data below it, damaged together: which data is damaged shows only in the damaged
    /// block's own digests.
    #[test]
    fn tree_and_data_damaged_together() {
        let sample = Sample::new(100, 3);
        let (report, same) = sample.repair(|area, _| {
            spoil(area, 10);
            spoil(area, 20);
            area[100 * BLOCK + 4090] ^= 1;
        });
        assert!(same && report.is_whole(), "{report:?}");
        assert_eq!(numbers(&sample, &report.repaired), [10, 20, 100]);
    }

    #[test]
    fn what_is_below_an_unrepairable_hash_block_is_counted() {
        let sample = Sample::new(300, 2);
        // Level 1 is one block, level 0 three; the second of them and two more of its round are gone.
        let (rounds, leaf) = (sample.rounds(), 300 + 1 + 1);
        assert_eq!(rounds, 2);
        let (report, same) = sample.repair(|area, _| [leaf, 0, 2].iter().for_each(|at| spoil(area, *at)));
        assert!(!same && !report.is_whole());
        assert_eq!(numbers(&sample, &report.unrepairable), [0, 2, leaf]);
        assert_eq!(report.unchecked_blocks, 128);
    }

    #[test]
    fn damaged_parity_is_damage_like_any_other() {
        let sample = Sample::new(100, 4);
        // One root for the block, two for a byte of parity that nothing shows to be wrong.
        let (report, same) = sample.repair(|area, fec| {
            spoil(area, 5);
            for codeword in fec.chunks_mut(4) {
                codeword[3] ^= 1;
            }
        });
        assert!(same && report.repaired.len() == 1);
        let (report, same) = sample.repair(|area, fec| {
            spoil(area, 5);
            fec.fill(0);
        });
        assert!(!same && numbers(&sample, &report.unrepairable) == [5]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let sample = Sample::new(200, 2);
        let run = |data: usize, hash: usize, fec: usize, limits: &Limits, superblock: &Superblock| {
            let (data, hash) = (Memory::new(vec![0; data]), Memory::new(vec![0; hash]));
            let parts = Parts { data: &data, hash: &hash, fec: &vec![0; fec] };
            repair(&parts, superblock, &sample.root_hash, sample.roots, limits).unwrap_err().code()
        };
        let (data, hash, fec) = (sample.data.len(), sample.hash.len(), sample.fec.len());
        let limits = Limits::default();
        assert_eq!(run(data - 1, hash, fec, &limits, &sample.superblock), "verity-data-area");
        assert_eq!(run(data, hash - 1, fec, &limits, &sample.superblock), "verity-hash-area");
        assert_eq!(run(data, hash, fec - 1, &limits, &sample.superblock), "fec-area");
        let few = Limits { damaged_blocks: 0, ..Limits::default() };
        assert_eq!(run(data, hash, fec, &few, &sample.superblock), "limit-count");
        let mut lopsided = sample.superblock.clone();
        lopsided.hash_block_size = crate::units::BlockSize::new(8192).unwrap();
        assert_eq!(run(data, hash, fec, &limits, &lopsided), "fec-block-sizes");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10))]

        /// Whatever is damaged: what is repaired is as it was, what is not is told, nothing right is changed.
        #[test]
        fn damage_is_repaired_or_told(
            blocks in 1_u64..300,
            roots in 2_u8..6,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 0..40),
            parity in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 0..4),
        ) {
            let sample = Sample::new(blocks, roots);
            let whole = [&sample.data[..], &sample.hash].concat();
            let mut damaged = whole.clone();
            let (report, same) = sample.repair(|area, fec| {
                changes.iter().for_each(|(at, change)| area[at.index(area.len())] ^= change);
                parity.iter().for_each(|(at, change)| fec[at.index(fec.len())] ^= change);
                damaged.copy_from_slice(area);
            });
            let wrong: Vec<usize> = (0..sample.blocks())
                .filter(|at| damaged[at * BLOCK..][..BLOCK] != whole[at * BLOCK..][..BLOCK])
                .collect();
            prop_assert_eq!(same, report.is_whole());
            let mut told = numbers(&sample, &report.repaired);
            told.extend(numbers(&sample, &report.unrepairable));
            told.sort_unstable();
            if report.unchecked_blocks == 0 {
                prop_assert_eq!(told, wrong);
            } else {
                prop_assert!(told.iter().all(|block| wrong.contains(block)));
            }
        }
    }
}
