//! Hashing blocks with their salt, one at a time or many at once.

use super::many::{Prefixed, prefixed};
use super::{HashType, Superblock};
use crate::digest::{Digest, HashAlgorithm, Salt};
use sha2::digest::Output;

/// Blocks that are handed to the hash function at once, whose digests are on the stack meanwhile.
const AT_ONCE: usize = 64;

/// A hash function over a salt and a block; a salt that comes first is hashed beforehand.
#[derive(Debug, Clone)]
pub(super) struct BlockHasher {
    salted: Salted,
    /// What comes behind a block.
    behind: Salt,
    /// The same hash function for many blocks at once, where there is one.
    many: Option<Prefixed>,
}

#[derive(Debug, Clone)]
enum Salted {
    Sha1(sha1::Sha1),
    Sha224(sha2::Sha224),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl BlockHasher {
    pub(super) fn new(superblock: &Superblock) -> Self {
        let salt = superblock.salt.clone();
        let (before, behind) = match superblock.hash_type {
            HashType::Normal => (salt, Salt::default()),
            HashType::Original => (Salt::default(), salt),
        };
        let salted = match superblock.algorithm {
            HashAlgorithm::Sha1 => Salted::Sha1(start(&before)),
            HashAlgorithm::Sha224 => Salted::Sha224(start(&before)),
            HashAlgorithm::Sha256 => Salted::Sha256(start(&before)),
            HashAlgorithm::Sha384 => Salted::Sha384(start(&before)),
            HashAlgorithm::Sha512 => Salted::Sha512(start(&before)),
        };
        let can_be = superblock.algorithm == HashAlgorithm::Sha256 && behind.as_bytes().is_empty();
        let many = if can_be { prefixed(before.as_bytes()) } else { None };
        Self { salted, behind, many }
    }

    pub(super) fn digest(&self, block: &[u8]) -> Digest {
        let behind = self.behind.as_bytes();
        match &self.salted {
            Salted::Sha1(salted) => Digest::new(&finish(salted, block, behind)),
            Salted::Sha224(salted) => Digest::new(&finish(salted, block, behind)),
            Salted::Sha256(salted) => Digest::new(&finish(salted, block, behind)),
            Salted::Sha384(salted) => Digest::new(&finish(salted, block, behind)),
            Salted::Sha512(salted) => Digest::new(&finish(salted, block, behind)),
        }
    }

    /// Hashes each `block_bytes` of `blocks` into the start of each `slot_bytes` of `slots`, on this thread.
    pub(super) fn digest_all(&self, blocks: &[u8], block_bytes: usize, slots: &mut [u8], slot_bytes: usize) {
        let mut slots = slots.chunks_exact_mut(slot_bytes.max(1));
        let block_bytes = block_bytes.max(1);
        let Some(many) = &self.many else {
            for (block, slot) in blocks.chunks_exact(block_bytes).zip(slots) {
                put(slot, &self.digest(block));
            }
            return;
        };
        let mut digests = [[0; 32]; AT_ONCE];
        for blocks in blocks.chunks(block_bytes.saturating_mul(AT_ONCE)) {
            many.digest_each(blocks, block_bytes, &mut digests);
            for (_, digest) in blocks.chunks_exact(block_bytes).zip(&digests) {
                put(slots.next().unwrap_or_default(), digest);
            }
        }
    }
}

fn put(slot: &mut [u8], digest: &[u8]) {
    for (to, from) in slot.iter_mut().zip(digest) {
        *to = *from;
    }
}

fn start<D: sha2::Digest>(salt: &Salt) -> D {
    D::new_with_prefix(salt.as_bytes())
}

fn finish<D: sha2::Digest + Clone>(salted: &D, block: &[u8], behind: &[u8]) -> Output<D> {
    salted.clone().chain_update(block).chain_update(behind).finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Uuid;
    use proptest::prelude::*;
    use sha2::Digest as _;

    fn superblock(algorithm: HashAlgorithm, hash_type: HashType, salt: &[u8]) -> Superblock {
        let mut superblock = Superblock::new(Uuid::from_bytes([0; 16]), 1, Salt::new(salt).unwrap());
        (superblock.algorithm, superblock.hash_type) = (algorithm, hash_type);
        superblock
    }

    #[test]
    fn the_salt_is_before_or_behind() {
        let hasher = |hash_type| BlockHasher::new(&superblock(HashAlgorithm::Sha256, hash_type, b"a"));
        assert_eq!(hasher(HashType::Normal).digest(b"bc")[..], sha2::Sha256::digest(b"abc")[..]);
        assert_eq!(hasher(HashType::Original).digest(b"bc")[..], sha2::Sha256::digest(b"bca")[..]);
    }

    #[test]
    fn known_answers() {
        for (algorithm, start) in [
            (HashAlgorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (HashAlgorithm::Sha224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            (HashAlgorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (HashAlgorithm::Sha384, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"),
            (HashAlgorithm::Sha512, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"),
        ] {
            let digest = BlockHasher::new(&superblock(algorithm, HashType::Normal, b"a")).digest(b"bc");
            assert_eq!(digest.len(), algorithm.digest_bytes());
            assert!(const_hex::encode(&digest[..]).starts_with(start), "{algorithm}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Many at once come to the same as one by one, whatever the salt, the number and the size of blocks.
        #[test]
        fn many_are_each_alone(
            salt in proptest::collection::vec(any::<u8>(), 0..=256),
            bits in 9_u32..=12, count in 0_usize..150, seed: u8, original: bool,
            algorithm in proptest::sample::select(HashAlgorithm::ALL.to_vec()),
        ) {
            let block_bytes = 1_usize << bits;
            let blocks: Vec<u8> =
                (0..count * block_bytes).map(|at| (at / 7) as u8 ^ (at / block_bytes) as u8 ^ seed).collect();
            let hash_type = if original { HashType::Original } else { HashType::Normal };
            let hasher = BlockHasher::new(&superblock(algorithm, hash_type, &salt));
            let mut slots = vec![0xee; count * 64];
            hasher.digest_all(&blocks, block_bytes, &mut slots, 64);
            for (block, slot) in blocks.chunks(block_bytes).zip(slots.chunks(64)) {
                let (digest, rest) = slot.split_at(algorithm.digest_bytes());
                prop_assert_eq!(digest, &hasher.digest(block)[..]);
                prop_assert!(rest.iter().all(|byte| *byte == 0xee));
            }
        }
    }
}
