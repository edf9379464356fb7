//! Extended attributes: in the inode, in a block, and large values in inodes of their own.

use super::inode::Inode;
use super::{Ext4, raw, wrong};
use crate::ReadAt;
use crate::error::{Corrupt, LimitExceeded, Result, Unsupported};
use crate::fs::Xattr;
use zerocopy::FromBytes as _;

/// The attribute that holds the rest of a file's content.
const DATA: (u8, &[u8]) = (7, b"data");

/// All attributes of an inode, unsorted.
pub(super) fn read<R: ReadAt>(fs: &Ext4<R>, inode: &Inode) -> Result<Vec<Xattr>> {
    let mut xattrs = Vec::new();
    let mut total = 0_u64;
    each(fs, inode, |entry, name, values| {
        if (entry.name_index, name) == DATA {
            return Ok(());
        }
        let size =
            u64::from(entry.value_size.get()).saturating_add(name.len().try_into().unwrap_or(u64::MAX));
        total = total.saturating_add(size);
        if total > fs.limits.xattr_bytes {
            let most = fs.limits.xattr_bytes;
            return Err(LimitExceeded::Bytes { what: "extended attributes", found: total, most }.into());
        }
        let value = value(fs, entry, values)?;
        let value = if matches!(entry.name_index, 2 | 3) { acl(&value)? } else { value };
        xattrs.push(([prefix(entry.name_index)?, name].concat(), value));
        Ok(())
    })?;
    Ok(xattrs)
}

/// The part of a file's content that is in its attributes.
pub(super) fn inline_data<R: ReadAt>(fs: &Ext4<R>, inode: &Inode) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    entries(&inode.xattrs, |entry, name| {
        if (entry.name_index, name) == DATA {
            data = value(fs, entry, &inode.xattrs)?;
        }
        Ok(())
    })?;
    Ok(data)
}

/// Calls `found` with each entry, its name, and what the place of its value counts from.
fn each<R: ReadAt>(
    fs: &Ext4<R>,
    inode: &Inode,
    mut found: impl FnMut(raw::XattrEntry, &[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    entries(&inode.xattrs, |entry, name| found(entry, name, &inode.xattrs))?;
    if let Some(number) = inode.xattr_block {
        let block = read_block(fs, number)?;
        let list = block.get(size_of::<raw::XattrHeader>()..).unwrap_or_default();
        entries(list, |entry, name| found(entry, name, &block))?;
    }
    Ok(())
}

fn read_block<R: ReadAt>(fs: &Ext4<R>, number: u64) -> Result<Vec<u8>> {
    let block = fs.read_block(number)?;
    let (header, _) = raw::XattrHeader::read_from_prefix(&block)
        .map_err(|_| wrong("attribute block", block.len(), "a header"))?;
    if header.magic.get() != raw::XATTR_MAGIC || header.blocks.get() != 1 {
        return Err(wrong("attribute block", header.magic.get(), "0xea020000, and one block"));
    }
    if let Some(seed) = fs.superblock.checksum {
        let (before, after) = (block.get(..16).unwrap_or_default(), block.get(20..).unwrap_or_default());
        let expected = seed.over(&number.to_le_bytes()).over(before).over(&[0; 4]).over(after).value();
        let found = header.checksum.get();
        if found != expected {
            return Err(Corrupt::MetadataChecksum { what: "attribute block", number, found, expected }.into());
        }
    }
    Ok(block)
}

/// Goes through a list of entries: four zero bytes, or no more room, end it.
fn entries(list: &[u8], mut found: impl FnMut(raw::XattrEntry, &[u8]) -> Result<()>) -> Result<()> {
    let mut rest = list;
    while rest.first_chunk::<4>().is_some_and(|start| *start != [0; 4]) {
        let malformed = || wrong("attribute", rest.len(), "a whole entry with its name");
        let (entry, after) = raw::XattrEntry::read_from_prefix(rest).map_err(|_| malformed())?;
        let len = usize::from(entry.name_len);
        found(entry, after.get(..len).ok_or_else(malformed)?)?;
        rest = after.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

fn value<R: ReadAt>(fs: &Ext4<R>, entry: raw::XattrEntry, values: &[u8]) -> Result<Vec<u8>> {
    let size = entry.value_size.get();
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    if entry.value_inode.get() == 0 {
        let start = usize::from(entry.value_offset.get());
        let value =
            if len == 0 { Some(&[][..]) } else { values.get(start..).and_then(|rest| rest.get(..len)) };
        return Ok(value
            .ok_or_else(|| wrong("attribute value", size, "a value inside of its block"))?
            .to_vec());
    }
    let inode = Inode::read(fs, entry.value_inode.get().into())?;
    if !inode.is_value || inode.meta.size_bytes != u64::from(size) {
        return Err(wrong("attribute value", inode.meta.size_bytes, "an inode for a value of its size"));
    }
    if u64::from(size) > fs.limits.xattr_bytes {
        let (found, most) = (size.into(), fs.limits.xattr_bytes);
        return Err(LimitExceeded::Bytes { what: "extended attributes", found, most }.into());
    }
    let mut value = vec![0; len];
    fs.read_content(&inode, 0, &mut value)?;
    Ok(value)
}

fn prefix(index: u8) -> Result<&'static [u8]> {
    match index {
        0 => Ok(b""),
        1 => Ok(b"user."),
        2 => Ok(b"system.posix_acl_access"),
        3 => Ok(b"system.posix_acl_default"),
        4 => Ok(b"trusted."),
        6 => Ok(b"security."),
        7 => Ok(b"system."),
        found => {
            Err(Unsupported::FileSystemFeature { what: "attribute of another kind", found: found.into() }
                .into())
        }
    }
}

/// An access control list as the kernel hands it out: each entry with a number, also where it means nobody.
fn acl(stored: &[u8]) -> Result<Vec<u8>> {
    let malformed = || wrong("access control list", stored.len(), "version 1 and whole entries");
    let (version, mut rest) = stored.split_first_chunk::<4>().ok_or_else(malformed)?;
    if u32::from_le_bytes(*version) != 1 {
        return Err(malformed());
    }
    let mut list = 2_u32.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let (entry, after) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        let (raw, _) = raw::AclEntry::read_from_prefix(entry).map_err(|_| malformed())?;
        list.extend_from_slice(entry);
        // A named user or group.
        let (id, after) = match raw.tag.get() {
            2 | 8 => after.split_first_chunk::<4>().ok_or_else(malformed)?,
            _ => (&[0xff; 4], after),
        };
        list.extend_from_slice(id);
        rest = after;
    }
    Ok(list)
}
