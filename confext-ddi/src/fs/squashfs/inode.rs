//! Inodes, and the contents of files.

use super::metadata::Cursor;
use super::{Squashfs, add, raw, wrong};
use crate::ReadAt;
use crate::error::Result;
use crate::fs::{FileType, Metadata, decode_device};
use std::sync::PoisonError;
use zerocopy::little_endian::U32;

#[derive(Debug, Clone)]
pub(in crate::fs) struct Inode {
    id: u64,
    meta: Metadata,
    pub(super) content: Content,
    pub(super) xattr: Option<u32>,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    None,
    Directory { start: u32, offset: u16 },
    File { start: u64, fragment: Option<(u32, u32)>, blocks: Cursor },
    Symlink { target: Cursor },
}

/// What follows the header, by kind.
struct Body {
    content: Content,
    size: u64,
    nlink: u32,
    device: Option<u32>,
    xattr: u32,
}

impl Inode {
    pub(super) fn read<R: ReadAt>(fs: &Squashfs<R>, id: u64) -> Result<Self> {
        let superblock = &fs.superblock;
        let mut cursor = Cursor::from_reference(superblock.inode_table, id, superblock.directory_table)?;
        let header: raw::InodeHeader = cursor.read_value(fs)?;
        let kind = header.kind.get();
        let file_type = file_type(kind)?;
        let body = Body::read(fs, &mut cursor, kind)?;
        let meta = Metadata {
            file_type,
            mode: header.mode.get() & 0o7777,
            uid: owner(fs, header.uid.get())?,
            gid: owner(fs, header.gid.get())?,
            size_bytes: body.size,
            mtime_sec: header.mtime.get().into(),
            mtime_nsec: 0,
            nlink: body.nlink,
            rdev: body.device.map(decode_device),
            ino: header.serial.get().into(),
        };
        let xattr = Some(body.xattr).filter(|&xattr| xattr != raw::NONE);
        Ok(Self { id, meta, content: body.content, xattr })
    }

    pub(super) fn metadata(&self) -> Metadata {
        self.meta.clone()
    }
}

impl Body {
    fn read<R: ReadAt>(fs: &Squashfs<R>, cursor: &mut Cursor, kind: u16) -> Result<Self> {
        match kind {
            1 | 8 => Self::directory(fs, cursor, kind == 8),
            2 | 9 => Self::file(fs, cursor, kind == 9),
            3 | 10 => Self::symlink(fs, cursor, kind == 10),
            4 | 5 | 11 | 12 => {
                let raw: raw::Device = cursor.read_value(fs)?;
                let xattr = xattr_index(fs, cursor, kind > 7)?;
                let (nlink, device) = (raw.nlink.get(), Some(raw.device.get()));
                Ok(Self { content: Content::None, size: 0, nlink, device, xattr })
            }
            _ => {
                let nlink = cursor.read_value::<U32, _>(fs)?.get();
                let xattr = xattr_index(fs, cursor, kind > 7)?;
                Ok(Self { content: Content::None, size: 0, nlink, device: None, xattr })
            }
        }
    }

    fn directory<R: ReadAt>(fs: &Squashfs<R>, cursor: &mut Cursor, extended: bool) -> Result<Self> {
        let (start, offset, size, nlink, xattr) = if extended {
            let raw: raw::ExtendedDirectory = cursor.read_value(fs)?;
            (raw.start, raw.offset, raw.size.get(), raw.nlink, raw.xattr.get())
        } else {
            let raw: raw::BasicDirectory = cursor.read_value(fs)?;
            (raw.start, raw.offset, raw.size.get().into(), raw.nlink, raw::NONE)
        };
        let content = Content::Directory { start: start.get(), offset: offset.get() };
        Ok(Self { content, size: size.into(), nlink: nlink.get(), device: None, xattr })
    }

    fn file<R: ReadAt>(fs: &Squashfs<R>, cursor: &mut Cursor, extended: bool) -> Result<Self> {
        let (start, size, nlink, fragment, offset, xattr) = if extended {
            let raw: raw::ExtendedFile = cursor.read_value(fs)?;
            (raw.start.get(), raw.size.get(), raw.nlink.get(), raw.fragment, raw.offset, raw.xattr.get())
        } else {
            let raw: raw::BasicFile = cursor.read_value(fs)?;
            (raw.start.get().into(), raw.size.get().into(), 1, raw.fragment, raw.offset, raw::NONE)
        };
        let fragment = (fragment.get() != raw::NONE).then(|| (fragment.get(), offset.get()));
        let content = Content::File { start, fragment, blocks: *cursor };
        Ok(Self { content, size, nlink, device: None, xattr })
    }

    fn symlink<R: ReadAt>(fs: &Squashfs<R>, cursor: &mut Cursor, extended: bool) -> Result<Self> {
        let raw: raw::Symlink = cursor.read_value(fs)?;
        let content = Content::Symlink { target: *cursor };
        let size = raw.size.get();
        let mut xattr = raw::NONE;
        if extended {
            if size > 4095 {
                return Err(wrong("link size", size, "at most 4095"));
            }
            let mut target = vec![0; usize::try_from(size).unwrap_or(0)];
            cursor.read(fs, &mut target)?;
            xattr = xattr_index(fs, cursor, true)?;
        }
        Ok(Self { content, size: size.into(), nlink: raw.nlink.get(), device: None, xattr })
    }
}

fn xattr_index<R: ReadAt>(fs: &Squashfs<R>, cursor: &mut Cursor, extended: bool) -> Result<u32> {
    if extended { Ok(cursor.read_value::<U32, _>(fs)?.get()) } else { Ok(raw::NONE) }
}

fn owner<R: ReadAt>(fs: &Squashfs<R>, index: u16) -> Result<u32> {
    if index >= fs.superblock.ids {
        return Err(wrong("owner", index, "an index into the id table"));
    }
    Ok(fs.table_entry::<U32>(fs.superblock.id_table, index.into())?.get())
}

/// The type of a basic or extended inode, or of a directory entry.
pub(super) fn file_type(kind: u16) -> Result<FileType> {
    match kind {
        1 | 8 => Ok(FileType::Directory),
        2 | 9 => Ok(FileType::Regular),
        3 | 10 => Ok(FileType::Symlink),
        4 | 11 => Ok(FileType::BlockDevice),
        5 | 12 => Ok(FileType::CharDevice),
        6 | 13 => Ok(FileType::Fifo),
        7 | 14 => Ok(FileType::Socket),
        _ => Err(wrong("inode type", kind, "1 to 14")),
    }
}

/// How far the list of a file's blocks was followed, so that reading on does not start over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    file: u64,
    block: u64,
    start: u64,
    list: Cursor,
}

/// Reads from a file; `buf` ends before the file does.
pub(super) fn read_file<R: ReadAt>(
    fs: &Squashfs<R>,
    file: &Inode,
    offset: u64,
    buf: &mut [u8],
) -> Result<()> {
    let Content::File { start, fragment, blocks: list } = file.content else {
        return Err(wrong("inode type", 0_u64, "that of a file"));
    };
    let block_size = fs.superblock.block_size;
    let size = file.meta.size_bytes;
    let tail = if fragment.is_some() { size % block_size } else { 0 };
    // What is in the fragment has no entry in the list of blocks.
    let listed = size.saturating_sub(tail);
    let first = Position { file: file.id, block: 0, start, list };
    let mut position = resume(fs, file.id, offset / block_size).unwrap_or(first);
    let mut at = offset;
    let mut rest = buf;
    while !rest.is_empty() {
        let within = at % block_size;
        let block_len = block_size.get().min(size.saturating_sub(at.saturating_sub(within)));
        let len = usize::try_from(block_len.saturating_sub(within)).unwrap_or(usize::MAX).min(rest.len());
        let (part, next) = rest.split_at_mut_checked(len).unwrap_or((&mut [], &mut []));
        match fragment {
            Some((index, start)) if at >= listed => {
                read_fragment(fs, index, add(start.into(), within)?, part)?;
            }
            _ => {
                let (size, start) = advance(fs, &mut position, at / block_size)?;
                read_block(fs, start, size, (within, block_len), part)?;
            }
        }
        rest = next;
        at = add(at, u64::try_from(len.max(1)).unwrap_or(u64::MAX))?;
    }
    *fs.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
    Ok(())
}

fn resume<R>(fs: &Squashfs<R>, file: u64, block: u64) -> Option<Position> {
    let position = *fs.position.lock().unwrap_or_else(PoisonError::into_inner);
    position.filter(|position| position.file == file && position.block <= block)
}

/// Goes through the list up to `block` and returns its recorded size and place; the position stays before it.
fn advance<R: ReadAt>(fs: &Squashfs<R>, position: &mut Position, block: u64) -> Result<(u32, u64)> {
    loop {
        let mut list = position.list;
        let size = list.read_value::<U32, _>(fs)?.get();
        if position.block >= block {
            return Ok((size, position.start));
        }
        let start = add(position.start, u64::from(size & 0x00ff_ffff))?;
        *position = Position { file: position.file, block: add(position.block, 1)?, start, list };
    }
}

fn read_block<R: ReadAt>(
    fs: &Squashfs<R>,
    start: u64,
    size: u32,
    (within, block_len): (u64, u64),
    buf: &mut [u8],
) -> Result<()> {
    if size == 0 {
        // A hole.
        buf.fill(0);
        return Ok(());
    }
    let block = fs.data_block(start, size)?;
    if u64::try_from(block.bytes.len()) != Ok(block_len) {
        return Err(wrong("data block", block.bytes.len(), "as many bytes as the file has there"));
    }
    copy(&block.bytes, within, buf)
}

fn read_fragment<R: ReadAt>(fs: &Squashfs<R>, index: u32, offset: u64, buf: &mut [u8]) -> Result<()> {
    let list = fs.superblock.fragment_table.filter(|_| index < fs.superblock.fragments);
    let list = list.ok_or_else(|| wrong("fragment", index, "an index into the fragment table"))?;
    let fragment: raw::Fragment = fs.table_entry(list, index.into())?;
    let block = fs.data_block(fragment.start.get(), fragment.size.get())?;
    copy(&block.bytes, offset, buf)
}

fn copy(bytes: &[u8], offset: u64, buf: &mut [u8]) -> Result<()> {
    let source = usize::try_from(offset)
        .ok()
        .and_then(|offset| bytes.get(offset..)?.get(..buf.len()))
        .ok_or_else(|| wrong("offset in a block", offset, "an offset with enough data after it"))?;
    buf.copy_from_slice(source);
    Ok(())
}

/// The target of a link, whose size was checked.
pub(super) fn read_target<R: ReadAt>(fs: &Squashfs<R>, link: &Inode) -> Result<Vec<u8>> {
    let Content::Symlink { mut target } = link.content else {
        return Err(wrong("inode type", 0_u64, "that of a link"));
    };
    let mut bytes = vec![0; usize::try_from(link.meta.size_bytes).unwrap_or(0)];
    target.read(fs, &mut bytes)?;
    Ok(bytes)
}
