//! EROFS, read through [`ReadAt`].
//!
//! Metadata and uncompressed files are read here; the contents of compressed files are left to the `erofs-rs` crate
//! (see `compressed.rs`). That crate could read everything, but finds a name by going through all blocks of a directory
//! and gives no way to list a directory by inode, so that a walk is quadratic; it reads a file block by block; and what
//! this project writes is uncompressed, so that the code that matters is small, strict and ours.
//!
//! Not read: extra devices, 48-bit block addresses, compressed metadata (`file-system-feature`).
//!
//! *Spec:* "EROFS on-disk format" of the Linux kernel's documentation.

mod compressed;
mod directory;
mod inode;
mod raw;
mod superblock;
mod xattr;

use super::node::{Child, Inodes};
use super::{Metadata, Xattr};
use crate::error::{Corrupt, Result, Unsupported};
use crate::fstype::FsType;
use crate::{Limits, ReadAt};
use inode::{Inode, Layout};
use superblock::Superblock;

/// An EROFS file system.
pub(super) struct Erofs<R> {
    reader: R,
    superblock: Superblock,
    limits: Limits,
}

impl<R: ReadAt> Erofs<R> {
    pub(super) fn open(reader: R, limits: &Limits) -> Result<Self> {
        let superblock = Superblock::read(&reader)?;
        Ok(Self { reader, superblock, limits: limits.clone() })
    }

    /// Reads the content of anything that has one; `buf` ends before it does.
    fn read_content(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let extent = self.extent(inode, at)?;
            let len = usize::try_from(extent.len_bytes).unwrap_or(usize::MAX).min(rest.len());
            let (part, next) = rest.split_at_mut_checked(len).unwrap_or((&mut [], &mut []));
            match extent.start {
                Some(start) => self.reader.read_exact_at(start, part)?,
                None => part.fill(0),
            }
            rest = next;
            at = at.saturating_add(extent.len_bytes);
        }
        Ok(())
    }

    /// Where the content from `offset` on is, as far as it is in one piece.
    fn extent(&self, inode: &Inode, offset: u64) -> Result<Extent> {
        let rest =
            inode.size_bytes.checked_sub(offset).filter(|&rest| rest > 0).ok_or(Corrupt::FileSystem {
                what: "file size",
                found: inode.size_bytes,
                expected: "more than the offset of a read",
            })?;
        let block = self.superblock.block_size;
        match inode.layout {
            Layout::Hole => Ok(Extent { start: None, len_bytes: rest }),
            Layout::Plain { start } => {
                Ok(Extent { start: Some(add(self.block_offset(start)?, offset)?), len_bytes: rest })
            }
            Layout::Inline { start } => {
                // The last block, also when it is full, follows the inode.
                let last = inode.size_bytes.saturating_sub(1);
                let tail = last.saturating_sub(last % block);
                if offset < tail {
                    let start = add(self.block_offset(start)?, offset)?;
                    return Ok(Extent { start: Some(start), len_bytes: tail.saturating_sub(offset) });
                }
                let start = add(inode.end, offset.saturating_sub(tail))?;
                Ok(Extent { start: Some(start), len_bytes: rest })
            }
            Layout::Chunks { chunk_size, indexed } => {
                let within = offset % chunk_size;
                let len_bytes = rest.min(chunk_size.get().saturating_sub(within));
                let start = match self.chunk_start(inode, offset / chunk_size, indexed)? {
                    Some(start) => Some(add(start, within)?),
                    None => None,
                };
                Ok(Extent { start, len_bytes })
            }
            Layout::Compressed => {
                Err(Unsupported::FileSystemFeature { what: "compressed directory or link", found: 1 }.into())
            }
            Layout::None => Err(Corrupt::FileSystem {
                what: "data layout",
                found: 0,
                expected: "one for a file with content",
            }
            .into()),
        }
    }

    /// The byte offset of a chunk, `None` for a hole.
    fn chunk_start(&self, inode: &Inode, chunk: u64, indexed: bool) -> Result<Option<u64>> {
        let unit: u64 = if indexed { 8 } else { 4 };
        let table = inode.end.checked_next_multiple_of(unit).ok_or_else(overflow)?;
        let at = chunk.checked_mul(unit).and_then(|offset| table.checked_add(offset)).ok_or_else(overflow)?;
        let block = if indexed {
            let index: raw::ChunkIndex = raw::read(&self.reader, at)?;
            if index.device_id.get() != 0 {
                let found = u64::from(index.device_id.get());
                return Err(Unsupported::FileSystemFeature { what: "extra devices", found }.into());
            }
            index.block.get()
        } else {
            raw::read::<zerocopy::little_endian::U32, _>(&self.reader, at)?.get()
        };
        if block == raw::NO_BLOCK { Ok(None) } else { self.block_offset(block).map(Some) }
    }

    fn block_offset(&self, block: u32) -> Result<u64> {
        u64::from(block).checked_mul(self.superblock.block_size.get()).ok_or_else(|| overflow().into())
    }
}

/// A piece of content: where it is, or a hole.
struct Extent {
    start: Option<u64>,
    len_bytes: u64,
}

fn add(a: u64, b: u64) -> Result<u64> {
    a.checked_add(b).ok_or_else(|| overflow().into())
}

const fn overflow() -> Corrupt {
    Corrupt::FileSystem { what: "offset", found: u64::MAX, expected: "a number of 64 bits" }
}

impl<R: ReadAt> Inodes for Erofs<R> {
    type Inode = Inode;

    fn fs_type(&self) -> FsType {
        FsType::Erofs
    }

    fn root(&self) -> u64 {
        self.superblock.root
    }

    fn inode(&self, id: u64) -> Result<Inode> {
        Inode::read(&self.reader, &self.superblock, id)
    }

    fn metadata(&self, inode: &Inode) -> Metadata {
        inode.metadata()
    }

    fn list(&self, directory: &Inode) -> Result<Vec<Child>> {
        directory::list(self, directory)
    }

    fn read(&self, file: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
        match file.layout {
            Layout::Compressed => compressed::read(&self.reader, file.id, offset, buf),
            _ => self.read_content(file, offset, buf),
        }
    }

    fn target(&self, link: &Inode) -> Result<Vec<u8>> {
        // The size was checked to be that of a path.
        let mut target = vec![0; usize::try_from(link.size_bytes).unwrap_or(0)];
        self.read_content(link, 0, &mut target)?;
        Ok(target)
    }

    fn xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>> {
        xattr::read(self, inode)
    }
}
