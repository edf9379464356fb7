//! Building a hash tree.

use super::{Geometry, Superblock};
use crate::digest::{RootHash, Salt};
use crate::error::{Corrupt, LimitExceeded, Result, ResultExt as _};
use crate::read::ReadAt;
use rayon::prelude::*;
use sha2::Digest as _;

/// Blocks read and hashed at a time: 4 MiB of data keep all processors busy and memory small.
const BATCH_BLOCKS: u64 = 1024;
/// Blocks hashed by one task: fewer would cost more to hand out than to hash.
const TASK_BLOCKS: usize = 16;

/// A hash tree as it stands on disk, and its root hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The digest of the top of the tree.
    pub root_hash: RootHash,
    /// Superblock, padded to a hash block, and all levels.
    pub bytes: Vec<u8>,
}

/// SHA-256 over a salt and a block, with the salt hashed beforehand.
#[derive(Debug, Clone)]
pub(super) struct BlockHasher(sha2::Sha256);

impl BlockHasher {
    pub(super) fn new(salt: &Salt) -> Self {
        Self(sha2::Sha256::new_with_prefix(salt.as_bytes()))
    }

    pub(super) fn digest(&self, block: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(block).finalize().into()
    }

    /// Hashes each `block_bytes` of `blocks` into each `digest_bytes` of `digests`, on all processors.
    fn digest_all(&self, blocks: &[u8], block_bytes: usize, digests: &mut [u8], digest_bytes: usize) {
        let blocks = blocks.par_chunks_exact(block_bytes);
        let digests = digests.par_chunks_exact_mut(digest_bytes);
        blocks.zip(digests).with_min_len(TASK_BLOCKS).for_each(|(block, digest)| {
            for (to, from) in digest.iter_mut().zip(self.digest(block)) {
                *to = from;
            }
        });
    }
}

/// Hashes `data` into a tree, bit-identical to what `veritysetup format` writes with the same superblock.
///
/// Data behind the last block that `superblock` counts is not read. Memory is the tree and 4 MiB.
///
/// # Errors
///
/// `verity-data-blocks`, `verity-overflow`, `verity-data-area` when `data` is shorter than the superblock says, and
/// whatever reading `data` brings.
pub fn build<R: ReadAt + ?Sized>(data: &R, superblock: &Superblock) -> Result<Tree> {
    let geometry = Geometry::new(superblock)?;
    let found = data.size_bytes()?;
    let expected = geometry.data_bytes();
    if found < expected {
        return Err(Corrupt::VerityDataArea { found, expected }.into());
    }
    // The data is that long, so a tree of less than a fifteenth of it is no surprise.
    let hash_area_bytes = usize::try_from(geometry.hash_area_bytes()).map_err(|_| LimitExceeded::Bytes {
        what: "hash tree",
        found: geometry.hash_area_bytes(),
        most: u64::try_from(usize::MAX).unwrap_or(u64::MAX),
    })?;
    let mut bytes = vec![0; hash_area_bytes];
    for (to, from) in bytes.iter_mut().zip(superblock.to_bytes()) {
        *to = from;
    }
    let hasher = BlockHasher::new(&superblock.salt);
    let root_hash = fill(data, superblock, &geometry, &hasher, &mut bytes).within("hash-tree")?;
    Ok(Tree { root_hash, bytes })
}

/// Fills the levels from the leaves up. Each level lies directly before the one below it.
fn fill<R: ReadAt + ?Sized>(
    data: &R,
    superblock: &Superblock,
    geometry: &Geometry,
    hasher: &BlockHasher,
    bytes: &mut [u8],
) -> Result<RootHash> {
    let outside = || Corrupt::OutOfBounds { end: geometry.hash_area_bytes(), size: 0 };
    let mut above = bytes;
    let mut below: Option<&[u8]> = None;
    for level in geometry.levels() {
        let start = usize::try_from(level.first_block)
            .ok()
            .and_then(|block| block.checked_mul(geometry.block_bytes()))
            .ok_or_else(outside)?;
        let (rest, here) = above.split_at_mut_checked(start).ok_or_else(outside)?;
        match below {
            None => hash_data(data, superblock, hasher, here, geometry.digest_bytes())?,
            Some(blocks) => hasher.digest_all(blocks, geometry.block_bytes(), here, geometry.digest_bytes()),
        }
        (above, below) = (rest, Some(&*here));
    }
    let mut top = [0; 32];
    match below {
        None => hash_data(data, superblock, hasher, &mut top, geometry.digest_bytes())?,
        Some(block) => top = hasher.digest(block),
    }
    Ok(RootHash::from_bytes(top))
}

/// Reads all data blocks once, in order, and hashes them into `digests`.
fn hash_data<R: ReadAt + ?Sized>(
    data: &R,
    superblock: &Superblock,
    hasher: &BlockHasher,
    digests: &mut [u8],
    digest_bytes: usize,
) -> Result<()> {
    let overflow = || Corrupt::VerityOverflow {
        data_blocks: superblock.data_blocks,
        block_size: superblock.data_block_size.bytes(),
    };
    let block_bytes = usize::try_from(superblock.data_block_size.bytes()).map_err(|_| overflow())?;
    let mut digests = digests;
    let mut buf = Vec::new();
    let mut done = 0_u64;
    while done < superblock.data_blocks {
        let count_u64 = superblock.data_blocks.saturating_sub(done).min(BATCH_BLOCKS);
        let count = usize::try_from(count_u64).map_err(|_| overflow())?;
        buf.resize(count.checked_mul(block_bytes).ok_or_else(overflow)?, 0);
        let offset = done.checked_mul(u64::from(superblock.data_block_size.bytes())).ok_or_else(overflow)?;
        data.read_exact_at(offset, &mut buf)?;
        let len = count.checked_mul(digest_bytes).ok_or_else(overflow)?;
        let (here, rest) = digests.split_at_mut_checked(len).ok_or_else(overflow)?;
        hasher.digest_all(&buf, block_bytes, here, digest_bytes);
        digests = rest;
        done = done.saturating_add(count_u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256;
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
