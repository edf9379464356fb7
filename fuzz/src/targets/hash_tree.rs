//! Hash trees: what is made in parts, several blocks at a time, is what the definition says, block by block.

use super::limits;
use confext_ddi::digest::Salt;
use confext_ddi::id::Uuid;
use confext_ddi::units::BlockSize;
use confext_ddi::verity::{Reader, Superblock, build, check};
use sha2::Digest as _;
use std::ops::ControlFlow;

/// What is hashed at most.
const MOST_BYTES: usize = 256 << 10;

/// The input is the sizes of data and hash blocks, how many bytes of salt, how many blocks, which block to change
/// afterwards, the salt, and what data is made of.
pub fn hash_tree(bytes: &[u8]) {
    let [data_bits, hash_bits, salt_bytes, count, changed, rest @ ..] = bytes else { return };
    // 512 to 65536 bytes.
    let [data_bytes, hash_bytes] = [data_bits, hash_bits].map(|bits| 512_usize << (bits % 8));
    let (salt, pattern) = rest.split_at(usize::from(*salt_bytes).min(rest.len()));
    let count = usize::from(*count).clamp(1, MOST_BYTES / data_bytes);
    let byte = |at: usize| {
        let number = (at / data_bytes * 7 + at / 251).to_le_bytes()[0];
        number ^ pattern.get(at % pattern.len().max(1)).copied().unwrap_or_default()
    };
    let mut data: Vec<u8> = (0..count * data_bytes).map(byte).collect();
    let size = |bytes: usize| BlockSize::new(u32::try_from(bytes).expect("it is small")).expect("it is one");
    let blocks = u64::try_from(count).expect("a small number");
    let salt = Salt::new(salt).expect("at most 255 bytes");
    let mut superblock = Superblock::new(Uuid::from_bytes([4; 16]), blocks, salt.clone());
    (superblock.data_block_size, superblock.hash_block_size) = (size(data_bytes), size(hash_bytes));

    let tree = build(&data, &superblock).expect("memory can be read");
    let (root_hash, levels) = naive_tree(&data, data_bytes, hash_bytes, salt.as_bytes());
    assert_eq!(tree.root_hash.as_bytes(), root_hash);
    let (header, found) = tree.bytes.split_at(hash_bytes);
    assert!(header.starts_with(&superblock.to_bytes()) && found == levels);

    let damage = |data: &[u8]| {
        let reader = Reader::new(data, &tree.bytes[..], tree.root_hash, &limits());
        // The only block of data is looked at when the reader is made.
        reader.map(|reader| check(&reader, 9, |_| ControlFlow::Continue(())).expect("memory can be read"))
    };
    assert!(damage(&data).expect("it is right").is_whole());
    let wrong = usize::from(*changed) % count;
    data[wrong * data_bytes + usize::from(*changed)] ^= 1;
    match damage(&data) {
        Err(error) => assert!(count == 1 && error.code() == "root-hash"),
        Ok(report) => {
            let found: Vec<_> =
                report.ranges.iter().map(|range| (range.level, range.first_block, range.blocks)).collect();
            assert_eq!(found, [(None, u64::try_from(wrong).expect("a small number"), 1)]);
        }
    }
}

/// The root hash, and the levels as they are stored: top first.
fn naive_tree(data: &[u8], data_bytes: usize, hash_bytes: usize, salt: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let digest =
        |block: &[u8]| sha2::Sha256::new().chain_update(salt).chain_update(block).finalize().to_vec();
    let mut stored = Vec::new();
    let mut digests: Vec<Vec<u8>> = data.chunks(data_bytes).map(digest).collect();
    while digests.len() > 1 {
        let mut level: Vec<u8> = Vec::new();
        for block in digests.chunks(hash_bytes / 32) {
            level.extend(block.concat());
            level.resize(level.len().next_multiple_of(hash_bytes), 0);
        }
        digests = level.chunks(hash_bytes).map(digest).collect();
        stored.splice(0..0, level);
    }
    (digests.concat(), stored)
}
