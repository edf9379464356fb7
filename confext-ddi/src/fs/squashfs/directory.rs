//! Directories: runs of entries whose inodes share a metadata block.

use super::inode::{Content, Inode, file_type};
use super::metadata::Cursor;
use super::{Squashfs, raw, wrong};
use crate::ReadAt;
use crate::error::{LimitExceeded, Result};
use crate::fs::node::Child;

/// All entries.
pub(super) fn list<R: ReadAt>(fs: &Squashfs<R>, directory: &Inode) -> Result<Vec<Child>> {
    let Content::Directory { start, offset } = directory.content else {
        return Err(wrong("inode type", 0_u64, "that of a directory"));
    };
    // The recorded size counts `.` and `..`, which are not stored, as three bytes.
    let mut rest = directory.metadata().size_bytes.saturating_sub(3);
    let table = fs.superblock.directory_table;
    let mut cursor = Cursor::new(table, start.into(), offset.into(), fs.superblock.bytes_used)?;
    let mut children = Vec::new();
    while rest > 0 {
        let header: raw::DirectoryHeader = cursor.read_value(fs)?;
        rest = take(rest, 12)?;
        let count = header.count.get();
        if count > 255 {
            return Err(wrong("directory run", count, "at most 256 entries"));
        }
        for _ in 0..=count {
            let entry: raw::DirectoryEntry = cursor.read_value(fs)?;
            let len = u64::from(entry.name_len.get()).saturating_add(1);
            rest = take(rest, len.saturating_add(8))?;
            let mut name = vec![0; usize::try_from(len).unwrap_or(0)];
            cursor.read(fs, &mut name)?;
            check_name(&name)?;
            let id = (u64::from(header.start.get()) << 16) | u64::from(entry.offset.get());
            children.push(Child { name, file_type: file_type(entry.kind.get())?, id });
        }
        let found = u64::try_from(children.len()).unwrap_or(u64::MAX);
        let most = fs.limits.entries;
        if found > most {
            return Err(LimitExceeded::Count { what: "entries of a directory", found, most }.into());
        }
    }
    children.sort_by(|a, b| a.name.cmp(&b.name));
    if children.windows(2).any(|pair| matches!(pair, [a, b] if a.name == b.name)) {
        return Err(wrong("directory", children.len(), "each name once"));
    }
    Ok(children)
}

fn take(rest: u64, len: u64) -> Result<u64> {
    rest.checked_sub(len).ok_or_else(|| wrong("directory size", rest, "whole entries"))
}

fn check_name(name: &[u8]) -> Result<()> {
    let valid = name.len() <= 255
        && !matches!(name, b"." | b"..")
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    if valid {
        Ok(())
    } else {
        Err(wrong(
            "directory entry name",
            name.len(),
            "1 to 255 bytes without NUL and slash, not a dot entry",
        ))
    }
}
