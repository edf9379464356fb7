//! EROFS, read through [`ReadAt`]: every layout that Linux 7 reads.
//!
//! Content comes from one of three places: blocks of the image or of another device (`data.rs`), metadata behind an
//! inode, or clusters that are unpacked (`compressed.rs`). Directories, links and attributes are content like that of
//! any file. Metadata is either in the image or, with the feature "metabox", the content of an inode, which may be
//! compressed itself.
//!
//! *Spec:* "EROFS on-disk format" of the Linux kernel's documentation; `fs/erofs/erofs_fs.h` of the kernel.

mod compressed;
mod data;
mod device;
mod directory;
mod inode;
mod meta;
mod raw;
mod superblock;
#[cfg(test)]
mod tests;
mod xattr;

use super::node::{Child, Inodes};
use super::{FileType, Metadata, Xattr};
use crate::erofs as format;
use crate::error::{Corrupt, Error, Result, ResultExt as _, Unsupported};
use crate::fstype::FsType;
use crate::{Limits, ReadAt};
use device::Devices;
use inode::Inode;
use meta::{Area, Meta};
use std::sync::OnceLock;
use superblock::Superblock;

/// An EROFS file system.
pub(super) struct Erofs<R> {
    devices: Devices<R>,
    superblock: Superblock,
    limits: Limits,
    /// The inode whose content is metadata.
    metabox: Option<Inode>,
    /// The inode whose content is the ends of files that were packed together.
    packed: OnceLock<Inode>,
    prefixes: OnceLock<xattr::Prefixes>,
    cache: compressed::Cache,
}

impl<R: ReadAt> Erofs<R> {
    /// `others` are the devices that the image lists besides itself: all of them, or none if the image holds them all.
    pub(super) fn open(reader: R, others: Vec<R>, limits: &Limits) -> Result<Self> {
        let superblock = Superblock::read(&reader)?;
        let devices = Devices::open(reader, others, &superblock).within("devices").within("erofs")?;
        let metabox = superblock.metabox;
        let mut erofs = Self {
            devices,
            superblock,
            limits: limits.clone(),
            metabox: None,
            packed: OnceLock::new(),
            prefixes: OnceLock::new(),
            cache: compressed::Cache::default(),
        };
        if let Some(id) = metabox {
            erofs.metabox = Some(erofs.special_inode(id).within("metabox").within("erofs")?);
        }
        Ok(erofs)
    }

    /// An inode of the superblock that no directory lists.
    fn special_inode(&self, id: u64) -> Result<Inode> {
        let inode = Inode::read(self, id)?;
        if inode.file_type() == FileType::Regular {
            Ok(inode)
        } else {
            Err(wrong("inode for metadata", id, "a regular file"))
        }
    }

    fn meta(&self, area: Area) -> Meta<'_, R> {
        Meta::new(self, area)
    }

    /// Reads from the inode of packed ends.
    fn read_packed(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let id = self.superblock.packed.ok_or_else(|| wrong("fragment", offset, "an inode for fragments"))?;
        let packed = match self.packed.get() {
            Some(inode) => inode,
            None => {
                let inode = self.special_inode(id)?;
                self.packed.get_or_init(|| inode)
            }
        };
        self.read_content(packed, offset, buf)
    }

    /// Reads the content of anything that has one, within its size.
    fn read_content(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        if offset.checked_add(len).is_none_or(|end| end > inode.size_bytes) {
            return Err(wrong("file size", inode.size_bytes, "at least the end of what is read of it"));
        }
        match inode.layout {
            inode::Layout::Compressed { .. } => compressed::read(self, inode, offset, buf),
            _ => data::read(self, inode, offset, buf),
        }
    }
}

fn add(a: u64, b: u64) -> Result<u64> {
    a.checked_add(b).ok_or_else(|| overflow().into())
}

const fn overflow() -> Corrupt {
    Corrupt::FileSystem { what: "offset", found: u64::MAX, expected: "a number of 64 bits" }
}

fn wrong(what: &'static str, found: impl TryInto<u64>, expected: &'static str) -> Error {
    Corrupt::FileSystem { what, found: found.try_into().unwrap_or(u64::MAX), expected }.into()
}

fn unsupported(what: &'static str, found: impl Into<u64>) -> Error {
    Unsupported::FileSystemFeature { what, found: found.into() }.into()
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
        Inode::read(self, id)
    }

    fn metadata(&self, inode: &Inode) -> Metadata {
        inode.metadata()
    }

    fn list(&self, directory: &Inode) -> Result<Vec<Child>> {
        directory::list(self, directory)
    }

    fn read(&self, file: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read_content(file, offset, buf)
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
