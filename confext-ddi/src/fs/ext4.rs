//! ext4, and the ext2 and ext3 it grew from, read through [`ReadAt`].
//!
//! Own code, because the crates there are leave out what a manifest or an extraction needs: extended attributes, inode
//! and device numbers. The journal is not replayed: an image that needs it is refused. The checksums of superblock,
//! groups, inodes, extents, directories and attributes are checked where the file system has them.
//!
//! Not read: encryption, case-insensitive directories, compression, external journals (`file-system-feature`).
//!
//! *Spec:* the ext4 pages of the Linux kernel's documentation, "Data Structures and Algorithms".

mod checksum;
mod directory;
mod inode;
mod map;
mod raw;
mod superblock;
#[cfg(test)]
mod tests;
mod xattr;

use super::node::{Child, Inodes};
use super::{Metadata, Xattr};
use crate::error::{Corrupt, Error, Result, ResultExt as _};
use crate::fstype::FsType;
use crate::{Limits, ReadAt};
use inode::{Content, Inode};
use superblock::Superblock;

/// The inode of the root directory.
const ROOT: u64 = 2;

/// An ext4 file system.
pub(super) struct Ext4<R> {
    reader: R,
    superblock: Superblock,
    limits: Limits,
}

impl<R: ReadAt> Ext4<R> {
    pub(super) fn open(reader: R, limits: &Limits) -> Result<Self> {
        let superblock = Superblock::read(&reader).within("superblock").within("ext4")?;
        Ok(Self { reader, superblock, limits: limits.clone() })
    }

    /// Reads the content of anything that has one; what is behind its blocks is zero.
    fn read_content(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
        if let Content::Inline(_) = inode.content {
            let content = self.inline_content(inode)?;
            let from =
                usize::try_from(offset).ok().and_then(|offset| content.get(offset..)?.get(..buf.len()));
            buf.copy_from_slice(
                from.ok_or_else(|| wrong("file size", inode.meta.size_bytes, "that of its content"))?,
            );
            return Ok(());
        }
        let block_size = self.superblock.block_size;
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let (block, within) = (at / block_size, at % block_size);
            let run = map::find(self, inode, block)?;
            let run_bytes = run.blocks.saturating_mul(block_size.get()).saturating_sub(within);
            let len = usize::try_from(run_bytes).unwrap_or(usize::MAX).min(rest.len());
            let (part, next) = rest.split_at_mut_checked(len).unwrap_or((&mut [], &mut []));
            match run.start {
                Some(start) => {
                    // Every block of the run, not only the first, is one of the file system.
                    let blocks = within
                        .saturating_add(u64::try_from(len).unwrap_or(u64::MAX))
                        .div_ceil(block_size.get());
                    self.superblock.offset_of(start.saturating_add(blocks.saturating_sub(1)))?;
                    let start = self.superblock.offset_of(start)?.saturating_add(within);
                    self.reader.read_exact_at(start, part)?;
                }
                None => part.fill(0),
            }
            rest = next;
            at = at.saturating_add(u64::try_from(len.max(1)).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// The content that is in an inode itself, as long as the inode says.
    fn inline_content(&self, inode: &Inode) -> Result<Vec<u8>> {
        let Content::Inline(start) = inode.content else { return Ok(Vec::new()) };
        let mut content = start.to_vec();
        let len = usize::try_from(inode.meta.size_bytes).unwrap_or(usize::MAX);
        if len > content.len() {
            content.extend(xattr::inline_data(self, inode)?);
        }
        if len > content.len() {
            return Err(wrong("file size", inode.meta.size_bytes, "at most what is in its inode"));
        }
        content.truncate(len);
        Ok(content)
    }
}

fn wrong(what: &'static str, found: impl TryInto<u64>, expected: &'static str) -> Error {
    Corrupt::FileSystem { what, found: found.try_into().unwrap_or(u64::MAX), expected }.into()
}

fn multiply(a: u64, b: u64) -> Result<u64> {
    a.checked_mul(b).ok_or_else(|| wrong("offset", u64::MAX, "a number of 64 bits"))
}

impl<R: ReadAt> Inodes for Ext4<R> {
    type Inode = Inode;

    fn fs_type(&self) -> FsType {
        FsType::Ext4
    }

    fn root(&self) -> u64 {
        ROOT
    }

    fn inode(&self, id: u64) -> Result<Inode> {
        Inode::read(self, id)
    }

    fn metadata(&self, inode: &Inode) -> Metadata {
        inode.meta.clone()
    }

    fn list(&self, directory: &Inode) -> Result<Vec<Child>> {
        directory::list(self, directory)
    }

    fn read(&self, file: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read_content(file, offset, buf)
    }

    fn target(&self, link: &Inode) -> Result<Vec<u8>> {
        // The size was checked to be that of a path.
        let mut target = vec![0; usize::try_from(link.meta.size_bytes).unwrap_or(0)];
        self.read_content(link, 0, &mut target)?;
        Ok(target)
    }

    fn xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>> {
        xattr::read(self, inode)
    }
}
