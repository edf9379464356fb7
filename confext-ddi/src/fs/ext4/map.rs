//! From the blocks of a file to blocks of the device.

use super::inode::{Content, Inode};
use super::{Ext4, raw, wrong};
use crate::ReadAt;
use crate::error::{Corrupt, Error, Result};
use crate::read::{read_struct, read_vec};
use zerocopy::FromBytes as _;

/// Levels of a tree of extents above its leaves: more are never needed.
const MOST_LEVELS: u16 = 5;
/// Longer extents are this much shorter, and read as zeros.
const UNWRITTEN: u64 = 32768;
/// Numbers of blocks in an inode itself.
const DIRECT: u64 = 12;

/// Consecutive blocks of a file: where they are, or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: Option<u64>,
    /// At least 1.
    pub(super) blocks: u64,
}

/// Where a file's block is, and how many follow it directly.
pub(super) fn find<R: ReadAt>(fs: &Ext4<R>, inode: &Inode, block: u64) -> Result<Run> {
    match &inode.content {
        Content::Extents(root) => in_extents(fs, inode, root, block),
        Content::Blocks(numbers) => in_pointers(fs, numbers, block),
        Content::Inline(_) => Err(wrong("file size", inode.meta.size_bytes, "less than there is room for")),
    }
}

fn in_extents<R: ReadAt>(fs: &Ext4<R>, inode: &Inode, root: &[u8], block: u64) -> Result<Run> {
    let mut node = root.to_vec();
    let mut depth = None;
    // Where the next piece begins, as far as it was seen: a hole ends there.
    let mut next = u64::from(u32::MAX).saturating_add(1);
    if block >= next {
        return Err(wrong("file size", inode.meta.size_bytes, "at most 2^32 blocks"));
    }
    loop {
        let (header, rest) = raw::ExtentHeader::read_from_prefix(&node).map_err(|_| tree("a header"))?;
        let room = rest.len() / 12;
        let count = usize::from(header.entries.get());
        if header.magic.get() != raw::EXTENT_MAGIC || count > room {
            return Err(tree("a header with its magic and as many entries as there is room for"));
        }
        let found_depth = header.depth.get();
        if found_depth > MOST_LEVELS
            || depth.is_some_and(|depth: u16| depth.checked_sub(1) != Some(found_depth))
        {
            return Err(tree("levels that count down to 0"));
        }
        depth = Some(found_depth);
        if found_depth == 0 {
            let (extents, _) = <[raw::Extent]>::ref_from_prefix_with_elems(rest, count)
                .map_err(|_| tree("whole entries"))?;
            return in_leaf(extents, block, next);
        }
        let (indexes, _) = <[raw::ExtentIndex]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| tree("whole entries"))?;
        let after = indexes.partition_point(|index| u64::from(index.block.get()) <= block);
        if let Some(index) = indexes.get(after) {
            next = next.min(index.block.get().into());
        }
        let Some(index) = after.checked_sub(1).and_then(|at| indexes.get(at)) else {
            return hole(block, next);
        };
        let child = u64::from(index.leaf_low.get()) | u64::from(index.leaf_high.get()) << 32;
        node = read_node(fs, inode, child)?;
    }
}

fn in_leaf(extents: &[raw::Extent], block: u64, next: u64) -> Result<Run> {
    let after = extents.partition_point(|extent| u64::from(extent.block.get()) <= block);
    let next = extents.get(after).map_or(next, |extent| next.min(extent.block.get().into()));
    let Some(extent) = after.checked_sub(1).and_then(|at| extents.get(at)) else { return hole(block, next) };
    let len = u64::from(extent.len.get());
    let (len, written) = if len > UNWRITTEN { (len.saturating_sub(UNWRITTEN), false) } else { (len, true) };
    let within = block.saturating_sub(extent.block.get().into());
    let Some(blocks) = len.checked_sub(within).filter(|blocks| *blocks > 0) else { return hole(block, next) };
    let start = u64::from(extent.start_low.get()) | u64::from(extent.start_high.get()) << 32;
    Ok(Run { start: written.then(|| start.saturating_add(within)), blocks })
}

fn hole(block: u64, next: u64) -> Result<Run> {
    match next.checked_sub(block) {
        Some(blocks) if blocks > 0 => Ok(Run { start: None, blocks }),
        _ => Err(tree("entries in ascending order")),
    }
}

/// Reads a block of a tree of extents, and checks its checksum.
fn read_node<R: ReadAt>(fs: &Ext4<R>, inode: &Inode, block: u64) -> Result<Vec<u8>> {
    let mut node = fs.read_block(block)?;
    if let Some(seed) = inode.checksum {
        let (header, _) = raw::ExtentHeader::read_from_prefix(&node).map_err(|_| tree("a header"))?;
        let end = usize::from(header.most.get()).saturating_mul(12).saturating_add(12);
        let stored = node.get(end..).and_then(|rest| rest.first_chunk());
        let stored = stored.ok_or_else(|| tree("a checksum behind its entries"))?;
        let found = u32::from_le_bytes(*stored);
        let expected = seed.over(node.get(..end).unwrap_or_default()).value();
        if found != expected {
            return Err(
                Corrupt::MetadataChecksum { what: "extent block", number: block, found, expected }.into()
            );
        }
        node.truncate(end);
    }
    Ok(node)
}

fn in_pointers<R: ReadAt>(fs: &Ext4<R>, numbers: &[u8; 60], block: u64) -> Result<Run> {
    let number = |at: u64| {
        let start = usize::try_from(at).ok().and_then(|at| at.checked_mul(4)).unwrap_or(usize::MAX);
        let bytes = numbers.get(start..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let run = |block: u32| Run { start: (block != 0).then_some(block.into()), blocks: 1 };
    if block < DIRECT {
        return Ok(run(number(block)));
    }
    let per_block = fs.superblock.block_size.get() / 4;
    let mut rest = block.saturating_sub(DIRECT);
    let mut span = 1_u64;
    for level in 0..3_u64 {
        let reach = span.saturating_mul(per_block);
        if rest >= reach {
            rest = rest.saturating_sub(reach);
            span = reach;
            continue;
        }
        let mut at = number(DIRECT.saturating_add(level));
        let mut span = span;
        loop {
            if at == 0 {
                // All that this number would lead to is a hole.
                let within = rest.checked_rem(span.saturating_mul(per_block)).unwrap_or(0);
                let blocks = span.saturating_mul(per_block).saturating_sub(within);
                return Ok(Run { start: None, blocks });
            }
            let index = rest.checked_div(span).and_then(|index| index.checked_rem(per_block)).unwrap_or(0);
            let offset = fs.superblock.offset_of(at.into())?.saturating_add(index.saturating_mul(4));
            at = read_struct::<raw::Pointer, _>(&fs.reader, offset)?.block.get();
            if span == 1 {
                return Ok(run(at));
            }
            span = span.checked_div(per_block).unwrap_or(1).max(1);
        }
    }
    Err(wrong("file size", block, "as many blocks as can be numbered"))
}

fn tree(expected: &'static str) -> Error {
    wrong("tree of extents", 0_u32, expected)
}

impl<R: ReadAt> Ext4<R> {
    /// Reads a block of the device.
    pub(super) fn read_block(&self, block: u64) -> Result<Vec<u8>> {
        let len = usize::try_from(self.superblock.block_size.get()).unwrap_or_default();
        read_vec(&self.reader, self.superblock.offset_of(block)?, len)
    }
}
