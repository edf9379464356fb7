//! Parity: whatever is damaged, what is repaired is as it was, and what is not is told.

use super::limits;
use confext_ddi::digest::Salt;
use confext_ddi::id::Uuid;
use confext_ddi::verity::fec::{Area, Coverage, Parts, Roots, encode, repair};
use confext_ddi::verity::{Superblock, build};
use confext_ddi::write::Memory;

const BLOCK: usize = 4096;

/// The input is a number of roots, a number of blocks, and damage: where (two bytes each for block and byte) and what.
/// Blocks past the last are parity.
pub fn fec(bytes: &[u8]) {
    let [roots, blocks, damage @ ..] = bytes else { return };
    let roots = Roots::new(roots % 24).unwrap_or_default();
    let blocks = usize::from(*blocks) % 160 + 1;
    let data: Vec<u8> = (0..blocks * BLOCK).map(|at| (at / BLOCK + at % 251).to_le_bytes()[0]).collect();
    let count = u64::try_from(blocks).expect("a small number");
    let superblock = Superblock::new(Uuid::from_bytes([3; 16]), count, Salt::default());
    let tree = build(&data, &superblock).expect("memory can be read");
    let hash = tree.bytes[BLOCK..].to_vec();
    let hash_blocks = u64::try_from(hash.len() / BLOCK).expect("a small number");
    let coverage =
        Coverage::new(superblock.data_block_size, roots, count, hash_blocks).expect("small numbers");
    let mut fec = Vec::new();
    let sink = |parity: &[u8]| {
        fec.extend_from_slice(parity);
        Ok(())
    };
    encode(&data, &hash, &coverage, sink).expect("memory takes it");

    let mut all = [&data[..], &hash, &fec].concat();
    for place in damage.chunks_exact(5).take(64) {
        let [block, byte] = [0, 2].map(|at| usize::from(u16::from_le_bytes([place[at], place[at + 1]])));
        let at = block % (all.len() / BLOCK) * BLOCK + byte % BLOCK;
        all[at] ^= place[4];
    }
    let fec = all.split_off(data.len() + hash.len());
    let right = [&data[..], &hash].concat();
    let wrong: Vec<usize> = (0..right.len() / BLOCK)
        .filter(|at| all[at * BLOCK..][..BLOCK] != right[at * BLOCK..][..BLOCK])
        .collect();
    let damaged_hash = Memory::new(all.split_off(data.len()));
    let damaged_data = Memory::new(all);
    let parts = Parts { data: &damaged_data, hash: &damaged_hash, fec: &fec };
    let report = repair(&parts, &superblock, &tree.root_hash, roots, &limits()).expect("everything fits");
    let same = damaged_data.into_inner() == data && damaged_hash.into_inner() == hash;
    assert_eq!(same, report.is_whole());
    let number = |block: &confext_ddi::verity::fec::Block| {
        let at = usize::try_from(block.block).expect("a small number");
        if block.area == Area::Data { at } else { at + blocks }
    };
    let told: Vec<usize> = report.repaired.iter().chain(&report.unrepairable).map(number).collect();
    assert!(told.iter().all(|block| wrong.contains(block)));
    assert!(told.len() == wrong.len() || report.unchecked_blocks > 0);
}
