//! Directories: blocks of entries and names, sorted through all blocks.

use super::inode::Inode;
use super::{Erofs, wrong};
use crate::ReadAt;
use crate::erofs::Dirent;
use crate::error::{LimitExceeded, Result};
use crate::fs::FileType;
use crate::fs::node::Child;
use zerocopy::FromBytes as _;

const ENTRY_BYTES: usize = size_of::<Dirent>();

/// All entries but `.` and `..`.
pub(super) fn list<R: ReadAt>(erofs: &Erofs<R>, directory: &Inode) -> Result<Vec<Child>> {
    let block_size = erofs.superblock.block_size.get();
    let mut children: Vec<Child> = Vec::new();
    let mut last_name: Vec<u8> = Vec::new();
    let mut offset = 0;
    while offset < directory.size_bytes {
        let len = block_size.min(directory.size_bytes.saturating_sub(offset));
        let mut block = vec![0; usize::try_from(len).unwrap_or(0)];
        erofs.read_content(directory, offset, &mut block)?;
        for entry in entries(&block)? {
            let (raw, name) = entry?;
            // Entries are found by bisection when mounted, so any other order hides some of them.
            if name <= last_name.as_slice() {
                return Err(wrong("directory", offset, "names in strictly ascending order"));
            }
            last_name = name.to_vec();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let file_type = file_type(raw.file_type)?;
            children.push(Child { name: name.to_vec(), file_type, id: raw.nid.get() });
        }
        let found = u64::try_from(children.len()).unwrap_or(u64::MAX);
        if found > erofs.limits.entries {
            let most = erofs.limits.entries;
            return Err(LimitExceeded::Count { what: "entries of a directory", found, most }.into());
        }
        offset = offset.saturating_add(len);
    }
    Ok(children)
}

/// The entries of one block with their names.
fn entries(block: &[u8]) -> Result<impl Iterator<Item = Result<(Dirent, &[u8])>>> {
    let (first, _) = Dirent::read_from_prefix(block)
        .map_err(|_| wrong("directory", block.len(), "at least one entry in a block"))?;
    let table = usize::from(first.name_offset.get());
    let inside = block.get(..table).filter(|_| table >= ENTRY_BYTES && table % ENTRY_BYTES == 0);
    let inside = inside.ok_or_else(|| wrong("directory entry table", table, "whole entries in the block"))?;
    let table = <[Dirent]>::ref_from_bytes(inside)
        .map_err(|_| wrong("directory entry table", table, "whole entries in the block"))?;
    Ok(table.iter().enumerate().map(move |(index, entry)| {
        let start = usize::from(entry.name_offset.get());
        let next = index.checked_add(1).and_then(|next| table.get(next));
        let end = next.map_or(block.len(), |next| usize::from(next.name_offset.get()));
        let mut name = block.get(start..end).filter(|_| start >= inside.len());
        if next.is_none() {
            // Only the last name of a block may be followed by zeros.
            name = name.and_then(|name| name.split(|&byte| byte == 0).next());
        }
        let name = name
            .filter(|name| {
                (1..=255).contains(&name.len()) && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
            })
            .ok_or_else(|| wrong("directory entry name", start, "1 to 255 bytes without NUL and slash"))?;
        Ok((*entry, name))
    }))
}

fn file_type(raw: u8) -> Result<FileType> {
    match raw {
        1 => Ok(FileType::Regular),
        2 => Ok(FileType::Directory),
        3 => Ok(FileType::CharDevice),
        4 => Ok(FileType::BlockDevice),
        5 => Ok(FileType::Fifo),
        6 => Ok(FileType::Socket),
        7 => Ok(FileType::Symlink),
        _ => Err(wrong("directory entry type", usize::from(raw), "1 to 7")),
    }
}
