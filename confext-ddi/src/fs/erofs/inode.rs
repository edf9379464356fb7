//! Inodes, checked.

use super::superblock::Superblock;
use super::{add, overflow};
use crate::ReadAt;
use crate::erofs::{self as raw, CompactInode, ExtendedInode};
use crate::error::{Corrupt, Error, Result, Unsupported};
use crate::fs::{FileType, Metadata};
use crate::read::read_struct;
use std::num::NonZeroU64;

/// How the content is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// There is no content: devices, pipes, sockets.
    None,
    /// All zero.
    Hole,
    /// In blocks that follow each other.
    Plain { start: u32 },
    /// As plain, but the last block follows the inode.
    Inline { start: u32 },
    /// In chunks, whose places are listed after the inode.
    Chunks { chunk_size: NonZeroU64, indexed: bool },
    /// Compressed.
    Compressed,
}

#[derive(Debug, Clone)]
pub(in crate::fs) struct Inode {
    pub(super) id: u64,
    pub(super) size_bytes: u64,
    pub(super) layout: Layout,
    /// Where the extended attributes are: `xattr_offset..end`.
    pub(super) xattr_offset: u64,
    /// Where inode and attributes end: inline data and chunk lists follow.
    pub(super) end: u64,
    meta: Metadata,
}

/// The fields that both sizes of inode have.
struct Common {
    format: u16,
    xattr_count: u16,
    mode: u16,
    size: u64,
    union: u32,
    uid: u32,
    gid: u32,
    mtime_sec: i64,
    mtime_nsec: u32,
    nlink: u32,
}

impl Inode {
    pub(super) fn read<R: ReadAt>(reader: &R, superblock: &Superblock, id: u64) -> Result<Self> {
        let offset = id
            .checked_mul(raw::SLOT_BYTES)
            .and_then(|offset| offset.checked_add(superblock.metadata_offset))
            .ok_or_else(overflow)?;
        Self::read_inner(reader, superblock, id, offset).map_err(|error| error.at_offset(offset))
    }

    fn read_inner<R: ReadAt>(reader: &R, superblock: &Superblock, id: u64, offset: u64) -> Result<Self> {
        let compact: CompactInode = read_struct(reader, offset)?;
        let (common, len): (_, u64) = if compact.format.get() & 1 == 0 {
            (Common::from_compact(&compact, superblock)?, 32)
        } else {
            (Common::from_extended(&read_struct(reader, offset)?), 64)
        };
        let file_type = FileType::from_mode(common.mode)
            .ok_or_else(|| wrong("file mode", common.mode, "one of the seven file types"))?;
        if common.mtime_nsec >= 1_000_000_000 {
            return Err(wrong("modification time", common.mtime_nsec, "nanoseconds below one second"));
        }
        let xattr_offset = add(offset, len)?;
        let xattr_bytes = match common.xattr_count {
            0 => 0,
            count => u64::from(count).saturating_sub(1).saturating_mul(4).saturating_add(12),
        };
        let end = add(xattr_offset, xattr_bytes)?;
        let layout = common.layout(file_type, superblock)?;
        if let Layout::Inline { .. } = layout {
            check_inline(common.size, end, superblock.block_size)?;
        }
        let is_device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
        let meta = Metadata {
            file_type,
            mode: common.mode & 0o7777,
            uid: common.uid,
            gid: common.gid,
            size_bytes: common.size,
            mtime_sec: common.mtime_sec,
            mtime_nsec: common.mtime_nsec,
            nlink: common.nlink,
            rdev: is_device.then(|| crate::fs::decode_device(common.union)),
            ino: id,
        };
        Ok(Self { id, size_bytes: common.size, layout, xattr_offset, end, meta })
    }

    pub(super) fn metadata(&self) -> Metadata {
        self.meta.clone()
    }
}

impl Common {
    fn from_compact(raw: &CompactInode, superblock: &Superblock) -> Result<Self> {
        let mtime_sec = superblock.epoch.checked_add(raw.mtime.get().into()).ok_or_else(|| {
            wrong("modification time", raw.mtime.get(), "a number of 64 bits with the epoch")
        })?;
        Ok(Self {
            format: raw.format.get(),
            xattr_count: raw.xattr_count.get(),
            mode: raw.mode.get(),
            size: raw.size.get().into(),
            union: raw.union.get(),
            uid: raw.uid.get().into(),
            gid: raw.gid.get().into(),
            mtime_sec,
            mtime_nsec: superblock.fixed_nsec,
            nlink: raw.nlink.get().into(),
        })
    }

    fn from_extended(raw: &ExtendedInode) -> Self {
        Self {
            format: raw.format.get(),
            xattr_count: raw.xattr_count.get(),
            mode: raw.mode.get(),
            size: raw.size.get(),
            union: raw.union.get(),
            uid: raw.uid.get(),
            gid: raw.gid.get(),
            mtime_sec: i64::from_le_bytes(raw.mtime.to_bytes()),
            mtime_nsec: raw.mtime_nsec.get(),
            nlink: raw.nlink.get(),
        }
    }

    fn layout(&self, file_type: FileType, superblock: &Superblock) -> Result<Layout> {
        if self.format & !0xf != 0 {
            return Err(unsupported("inode format", self.format));
        }
        let layout = (self.format >> 1) & 0x7;
        let has_content = matches!(file_type, FileType::Regular | FileType::Directory | FileType::Symlink);
        match layout {
            5.. => Err(unsupported("data layout", layout)),
            _ if !has_content => Ok(Layout::None),
            raw::FLAT_PLAIN if self.union == raw::NULL_ADDRESS => Ok(Layout::Hole),
            raw::FLAT_PLAIN => Ok(Layout::Plain { start: self.union }),
            raw::FLAT_INLINE => Ok(Layout::Inline { start: self.union }),
            raw::CHUNK_BASED => {
                let format = self.union & 0xffff;
                if format & !0x3f != 0 {
                    return Err(unsupported("chunk format", format));
                }
                let bits = u32::from(superblock.block_bits).saturating_add(format & 0x1f);
                let chunk_size = 1_u64.checked_shl(bits).and_then(NonZeroU64::new).ok_or_else(overflow)?;
                Ok(Layout::Chunks { chunk_size, indexed: format & 0x20 != 0 })
            }
            _ => Ok(Layout::Compressed),
        }
    }
}

/// The last block of inline data lies in the block its inode ends in.
fn check_inline(size: u64, end: u64, block: NonZeroU64) -> Result<()> {
    let tail = match size {
        0 => 0,
        size => (size.saturating_sub(1) % block).saturating_add(1),
    };
    let room = block.get().saturating_sub(end % block);
    if tail > room && tail > 0 {
        return Err(wrong("inline data", tail, "data that ends in the block of its inode"));
    }
    Ok(())
}

fn wrong(what: &'static str, found: impl Into<u64>, expected: &'static str) -> Error {
    Corrupt::FileSystem { what, found: found.into(), expected }.into()
}

fn unsupported(what: &'static str, found: impl Into<u64>) -> Error {
    Unsupported::FileSystemFeature { what, found: found.into() }.into()
}
