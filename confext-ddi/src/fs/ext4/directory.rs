//! Directories: entries one after the other; the hashes that some have beside them look like empty entries.

use super::inode::{Content, Inode};
use super::{Ext4, raw, wrong};
use crate::ReadAt;
use crate::error::{Corrupt, LimitExceeded, Result};
use crate::fs::FileType;
use crate::fs::node::Child;
use zerocopy::FromBytes as _;

/// The longest entry, rounded up. There is no reason for a directory that is larger than all its entries could be.
const MOST_ENTRY_BYTES: u64 = 264;

/// All entries but `.` and `..`.
pub(super) fn list<R: ReadAt>(fs: &Ext4<R>, directory: &Inode) -> Result<Vec<Child>> {
    let mut children = Vec::new();
    if let Content::Inline(_) = directory.content {
        let bytes = fs.inline_content(directory)?;
        // The number of the parent comes first. What is in the attribute has entries of its own: none crosses.
        let (inside, beyond) = bytes.split_at_checked(60).unwrap_or((&bytes, &[]));
        for entries in [inside.get(4..).unwrap_or_default(), beyond] {
            read_entries(fs, entries, &mut children)?;
        }
    } else {
        let block_size = fs.superblock.block_size.get();
        let (found, most) = (directory.meta.size_bytes, fs.limits.entries.saturating_mul(MOST_ENTRY_BYTES));
        if found > most.saturating_add(block_size) {
            return Err(LimitExceeded::Bytes { what: "directory", found, most }.into());
        }
        let mut block = vec![0; usize::try_from(block_size).unwrap_or_default()];
        for at in 0..found.div_ceil(block_size) {
            fs.read_content(directory, at.saturating_mul(block_size), &mut block)?;
            check(directory, at, &block)?;
            read_entries(fs, &block, &mut children)?;
        }
    }
    children.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if children.windows(2).any(|pair| matches!(pair, [a, b] if a.name == b.name)) {
        return Err(wrong("directory", directory.number, "each name once"));
    }
    Ok(children)
}

/// Checks the checksum of a block with entries. Blocks of hashes are not used, and not checked.
fn check(directory: &Inode, number: u64, block: &[u8]) -> Result<()> {
    let (Some(seed), Some((covered, tail))) = (directory.checksum, block.split_last_chunk::<12>()) else {
        return Ok(());
    };
    let [0, 0, 0, 0, 12, 0, 0, raw::TAIL_TYPE, a, b, c, d] = *tail else {
        // Hashes are in the first block, behind two entries, and in blocks that look like one empty entry.
        let empty = raw::DirectoryEntry::read_from_prefix(block).is_ok_and(|(entry, _)| {
            entry.inode.get() == 0
                && matches!(usize::from(entry.len.get()), len if len == block.len() || len == 0)
        });
        if directory.is_indexed && (number == 0 || empty) {
            return Ok(());
        }
        return Err(wrong("directory block", number, "a checksum at its end"));
    };
    let (found, expected) = (u32::from_le_bytes([a, b, c, d]), seed.over(covered).value());
    if found != expected {
        return Err(Corrupt::MetadataChecksum { what: "directory block", number, found, expected }.into());
    }
    Ok(())
}

fn read_entries<R: ReadAt>(fs: &Ext4<R>, bytes: &[u8], children: &mut Vec<Child>) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let malformed = || wrong("directory entry", rest.len(), "a whole entry with its name");
        let (entry, after) = raw::DirectoryEntry::read_from_prefix(rest).map_err(|_| malformed())?;
        // In the largest blocks, a length that does not fit is written as one of these.
        let len = match usize::from(entry.len.get()) {
            0 | 0xffff if bytes.len() > 0xffff => rest.len(),
            len => len,
        };
        if len < 8 || !len.is_multiple_of(4) {
            return Err(malformed());
        }
        let next = rest.get(len..).ok_or_else(malformed)?;
        if entry.inode.get() != 0 {
            let name_len = usize::from(entry.name_len);
            let name = after.get(..name_len).filter(|_| name_len.saturating_add(8) <= len);
            let name = name.ok_or_else(malformed)?;
            add(fs, entry, name, children)?;
        }
        rest = next;
    }
    Ok(())
}

fn add<R: ReadAt>(
    fs: &Ext4<R>,
    entry: raw::DirectoryEntry,
    name: &[u8],
    children: &mut Vec<Child>,
) -> Result<()> {
    if matches!(name, b"." | b"..") {
        return Ok(());
    }
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
        return Err(wrong("name in a directory", name.len(), "a name without slash and NUL"));
    }
    let id = u64::from(entry.inode.get());
    let file_type = match entry.file_type {
        1 if fs.superblock.has_types => FileType::Regular,
        2 if fs.superblock.has_types => FileType::Directory,
        3 if fs.superblock.has_types => FileType::CharDevice,
        4 if fs.superblock.has_types => FileType::BlockDevice,
        5 if fs.superblock.has_types => FileType::Fifo,
        6 if fs.superblock.has_types => FileType::Socket,
        7 if fs.superblock.has_types => FileType::Symlink,
        // Not said here: only the inode knows.
        _ => Inode::read(fs, id)?.meta.file_type,
    };
    let found = u64::try_from(children.len()).unwrap_or(u64::MAX).saturating_add(1);
    if found > fs.limits.entries {
        let most = fs.limits.entries;
        return Err(LimitExceeded::Count { what: "entries of a directory", found, most }.into());
    }
    children.push(Child { name: name.to_vec(), file_type, id });
    Ok(())
}
