//! Inodes, checked.

use super::meta::Area;
use super::superblock::Superblock;
use super::{Erofs, add, overflow, raw, unsupported, wrong};
use crate::ReadAt;
use crate::erofs::{self as format, CompactInode, ExtendedInode};
use crate::error::Result;
use crate::fs::{FileType, Metadata};
use crate::read::read_struct;
use std::num::NonZeroU64;

/// How the content is stored. Starts are blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// There is no content: devices, pipes, sockets.
    None,
    /// All zero.
    Hole,
    /// In blocks that follow each other.
    Plain { start: u64 },
    /// As plain, but the last block follows the inode.
    Inline { start: u64 },
    /// In chunks, whose places are listed after the inode, in the form that `format` says.
    Chunks { chunk_size: NonZeroU64, format: u32 },
    /// Compressed.
    Compressed { compact: bool },
}

#[derive(Debug, Clone)]
pub(in crate::fs) struct Inode {
    pub(super) id: u64,
    /// Where the inode is, and what follows it.
    pub(super) area: Area,
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
    start_high: StartHigh,
    uid: u32,
    gid: u32,
    mtime_sec: i64,
    mtime_nsec: u32,
    nlink: u32,
}

/// The upper half of an inode's start block.
#[derive(Debug, Clone, Copy)]
enum StartHigh {
    /// The inode has 32-bit addresses.
    None,
    Bits(u16),
}

impl Inode {
    pub(super) fn read<R: ReadAt>(erofs: &Erofs<R>, id: u64) -> Result<Self> {
        let (area, slot) = Area::of_inode(id);
        let base = match area {
            Area::Image => erofs.superblock.metadata_offset,
            Area::Metabox => 0,
        };
        let offset = slot
            .checked_mul(format::SLOT_BYTES)
            .and_then(|offset| offset.checked_add(base))
            .ok_or_else(overflow)?;
        Self::read_inner(erofs, area, id, offset).map_err(|error| area.locate(error, offset))
    }

    fn read_inner<R: ReadAt>(erofs: &Erofs<R>, area: Area, id: u64, offset: u64) -> Result<Self> {
        let (meta, superblock) = (erofs.meta(area), &erofs.superblock);
        let compact: CompactInode = read_struct(&meta, offset)?;
        let (common, len): (_, u64) = if compact.format.get() & 1 == 0 {
            (Common::from_compact(&compact, superblock)?, 32)
        } else {
            (Common::from_extended(&read_struct(&meta, offset)?), 64)
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
        Ok(Self { id, area, size_bytes: common.size, layout, xattr_offset, end, meta })
    }

    pub(super) const fn file_type(&self) -> FileType {
        self.meta.file_type
    }

    pub(super) fn metadata(&self) -> Metadata {
        self.meta.clone()
    }
}

impl Common {
    fn from_compact(inode: &CompactInode, superblock: &Superblock) -> Result<Self> {
        let mtime_sec = superblock.epoch.checked_add(inode.mtime.get().into()).ok_or_else(|| {
            wrong("modification time", inode.mtime.get(), "a number of 64 bits with the epoch")
        })?;
        let one_link = inode.format.get() & raw::FORMAT_ONE_LINK != 0 && !is_directory(inode.mode.get());
        Ok(Self {
            format: inode.format.get(),
            xattr_count: inode.xattr_count.get(),
            mode: inode.mode.get(),
            size: inode.size.get().into(),
            union: inode.union.get(),
            start_high: if one_link { StartHigh::Bits(inode.nlink.get()) } else { StartHigh::None },
            uid: inode.uid.get().into(),
            gid: inode.gid.get().into(),
            mtime_sec,
            mtime_nsec: superblock.fixed_nsec,
            nlink: if one_link { 1 } else { inode.nlink.get().into() },
        })
    }

    fn from_extended(inode: &ExtendedInode) -> Self {
        Self {
            format: inode.format.get(),
            xattr_count: inode.xattr_count.get(),
            mode: inode.mode.get(),
            size: inode.size.get(),
            union: inode.union.get(),
            start_high: StartHigh::Bits(inode.start_high.get()),
            uid: inode.uid.get(),
            gid: inode.gid.get(),
            mtime_sec: i64::from_le_bytes(inode.mtime.to_bytes()),
            mtime_nsec: inode.mtime_nsec.get(),
            nlink: inode.nlink.get(),
        }
    }

    fn layout(&self, file_type: FileType, superblock: &Superblock) -> Result<Layout> {
        if self.format & !raw::FORMAT_KNOWN != 0 {
            return Err(unsupported("inode format", self.format));
        }
        let layout = (self.format >> 1) & 0x7;
        let has_content = matches!(file_type, FileType::Regular | FileType::Directory | FileType::Symlink);
        let (start, hole) = match self.start_high {
            StartHigh::None => (self.union.into(), format::NULL_ADDRESS.into()),
            StartHigh::Bits(high) => (u64::from(high) << 32 | u64::from(self.union), u64::MAX >> 16),
        };
        match layout {
            5.. => Err(unsupported("data layout", layout)),
            _ if !has_content => Ok(Layout::None),
            format::FLAT_PLAIN if start == hole => Ok(Layout::Hole),
            format::FLAT_PLAIN => Ok(Layout::Plain { start }),
            format::FLAT_INLINE => Ok(Layout::Inline { start }),
            format::CHUNK_BASED => {
                let format = self.union & 0xffff;
                if format & !raw::CHUNK_KNOWN != 0 {
                    return Err(unsupported("chunk format", format));
                }
                let bits = u32::from(superblock.block_bits).saturating_add(format & raw::CHUNK_BITS);
                let chunk_size = 1_u64.checked_shl(bits).and_then(NonZeroU64::new).ok_or_else(overflow)?;
                Ok(Layout::Chunks { chunk_size, format })
            }
            _ => Ok(Layout::Compressed { compact: layout == COMPACT_INDEX }),
        }
    }
}

/// The data layout with a compact index; the other compressed one is 1.
const COMPACT_INDEX: u16 = 3;

fn is_directory(mode: u16) -> bool {
    FileType::from_mode(mode) == Some(FileType::Directory)
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
