//! squashfs 4.0, read through [`ReadAt`].
//!
//! Structure is read here, block by block as it is needed; unpacking a block is left to the decoders of the `backhand`
//! crate. Its own reader is not used: it unpacks all metadata at once and builds every path by recursion, so that a
//! small hostile image takes any amount of memory or overflows the stack, and it knows neither extended attributes nor
//! inode numbers.
//!
//! Not read: lzma and lzo compression (`file-system-feature`).
//!
//! *Spec:* the squashfs 4.0 format of the Linux kernel.

mod block;
mod directory;
mod inode;
mod metadata;
mod raw;
mod xattr;

use super::node::{Child, Inodes};
use super::{Metadata, Xattr};
use crate::error::{Corrupt, Error, Result, ResultExt as _, Unsupported};
use crate::fstype::FsType;
use crate::{Limits, ReadAt};
use block::{Blocks, Compression};
use inode::Inode;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Mutex;

/// A squashfs file system.
pub(super) struct Squashfs<R> {
    reader: R,
    superblock: Superblock,
    limits: Limits,
    blocks: Mutex<Blocks>,
    position: Mutex<Option<inode::Position>>,
}

/// The superblock, checked.
#[derive(Debug, Clone)]
struct Superblock {
    compression: Compression,
    block_size: NonZeroU64,
    ids: u16,
    fragments: u32,
    root: u64,
    bytes_used: u64,
    id_table: u64,
    xattr_table: Option<u64>,
    inode_table: u64,
    directory_table: u64,
    fragment_table: Option<u64>,
}

impl<R: ReadAt> Squashfs<R> {
    pub(super) fn open(reader: R, limits: &Limits) -> Result<Self> {
        let superblock = Superblock::read(&reader).within("superblock").within("squashfs")?;
        Ok(Self {
            reader,
            superblock,
            limits: limits.clone(),
            blocks: Mutex::new(Blocks::default()),
            position: Mutex::new(None),
        })
    }
}

impl Superblock {
    fn read<R: ReadAt>(reader: &R) -> Result<Self> {
        let raw: raw::Superblock = raw::read(reader, 0)?;
        if raw.magic.get() != raw::MAGIC {
            return Err(wrong("magic", raw.magic.get(), "0x73717368"));
        }
        if (raw.major.get(), raw.minor.get()) != (4, 0) {
            let (what, found) = ("version other than 4.0", u64::from(raw.major.get()));
            return Err(Unsupported::FileSystemFeature { what, found }.into());
        }
        let block_size = NonZeroU32::new(raw.block_size.get()).unwrap_or(NonZeroU32::MIN);
        let sizes_agree = 1_u32.checked_shl(raw.block_log.get().into()) == Some(block_size.get());
        if !sizes_agree || !(4096..=1 << 20).contains(&block_size.get()) {
            return Err(wrong(
                "block size",
                block_size.get(),
                "a power of two from 4096 to 1048576, twice the same",
            ));
        }
        let size = reader.size_bytes()?;
        let bytes_used = raw.bytes_used.get();
        if bytes_used > size {
            return Err(Corrupt::OutOfBounds { end: bytes_used, size }.into());
        }
        let table = |what, offset: u64| {
            if (raw::SUPERBLOCK_BYTES..=bytes_used).contains(&offset) {
                Ok(offset)
            } else {
                Err(wrong(what, offset, "an offset between superblock and end"))
            }
        };
        let optional = |what, offset| {
            if offset == raw::ABSENT { Ok(None) } else { table(what, offset).map(Some) }
        };
        let (inode_table, directory_table) = (raw.inode_table.get(), raw.directory_table.get());
        if inode_table > directory_table {
            return Err(wrong("inode table", inode_table, "an offset before the directory table"));
        }
        Ok(Self {
            compression: Compression::from_raw(raw.compression.get())?,
            block_size: NonZeroU64::from(block_size),
            ids: raw.ids.get(),
            fragments: raw.fragments.get(),
            root: raw.root.get(),
            bytes_used,
            id_table: table("id table", raw.id_table.get())?,
            xattr_table: optional("attribute table", raw.xattr_table.get())?,
            inode_table: table("inode table", inode_table)?,
            directory_table: table("directory table", directory_table)?,
            fragment_table: optional("fragment table", raw.fragment_table.get())?,
        })
    }
}

fn wrong(what: &'static str, found: impl TryInto<u64>, expected: &'static str) -> Error {
    Corrupt::FileSystem { what, found: found.try_into().unwrap_or(u64::MAX), expected }.into()
}

fn add(a: u64, b: u64) -> Result<u64> {
    a.checked_add(b).ok_or_else(|| wrong("offset", u64::MAX, "a number of 64 bits"))
}

impl<R: ReadAt> Inodes for Squashfs<R> {
    type Inode = Inode;

    fn fs_type(&self) -> FsType {
        FsType::Squashfs
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
        inode::read_file(self, file, offset, buf)
    }

    fn target(&self, link: &Inode) -> Result<Vec<u8>> {
        inode::read_target(self, link)
    }

    fn xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>> {
        xattr::read(self, inode)
    }
}
