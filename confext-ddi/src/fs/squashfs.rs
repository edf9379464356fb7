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
use crate::read::read_struct;
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
        let raw: raw::Superblock = read_struct(reader, 0)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Unverified;
    use crate::fs::{self, FileSystem, FileType};
    use backhand::compression::Compressor;
    use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};

    fn image(compressor: Compressor) -> Vec<u8> {
        let header = |mode, uid| NodeHeader::new(mode, uid, 2, 1_234_567_890);
        let mut writer = FilesystemWriter::default();
        writer.set_compressor(FilesystemCompressor::new(compressor, None).unwrap());
        writer.set_block_size(4096);
        writer.push_dir("etc", header(0o755, 0)).unwrap();
        writer.push_file(&b"small"[..], "etc/small", header(0o4755, 70_000)).unwrap();
        writer.push_file(&b""[..], "etc/empty", header(0o644, 0)).unwrap();
        let large: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        writer.push_file(std::io::Cursor::new(large), "etc/large", header(0o600, 1)).unwrap();
        writer.push_symlink("/etc/small", "link", header(0o777, 0)).unwrap();
        writer.push_char_device(0x103, "null", header(0o666, 0)).unwrap();
        writer.push_fifo("fifo", header(0o600, 0)).unwrap();
        for index in 0..600 {
            let name = format!("etc/file-{index}");
            writer
                .push_file(std::io::Cursor::new(name.clone().into_bytes()), name, header(0o644, 0))
                .unwrap();
        }
        let mut out = std::io::Cursor::new(Vec::new());
        writer.write(&mut out).unwrap();
        out.into_inner()
    }

    fn open<'a>(image: &'a [u8]) -> Result<Box<dyn FileSystem + 'a>> {
        fs::open(image, FsType::Squashfs, &Limits::default())
    }

    #[test]
    fn images_of_another_writer_are_read() {
        for compressor in [Compressor::Gzip, Compressor::Xz, Compressor::Zstd] {
            let image = image(compressor);
            let fs = open(&image).unwrap();
            assert_eq!(fs.fs_type(), FsType::Squashfs);
            let small = fs.stat(b"etc/small").unwrap();
            assert_eq!(
                (small.file_type, small.mode, small.uid, small.gid),
                (FileType::Regular, 0o4755, 70_000, 2)
            );
            assert_eq!((small.mtime_sec, small.size_bytes, small.nlink), (1_234_567_890, 5, 1));
            assert_eq!(fs.read(b"etc/small").unwrap(), b"small");
            assert_eq!(fs.read(b"etc/empty").unwrap(), b"");
            let large = fs.read(b"etc/large").unwrap();
            assert!(large.chunks(4).zip(0_u32..).all(|(bytes, index)| bytes == index.to_le_bytes()));
            // Backwards, so that no position is of use, then on from there.
            for offset in [36_000, 8190, 4096, 0, 5000, 39_990] {
                let mut buf = [0; 100];
                let count = fs.read_at(b"etc/large", offset, &mut buf).unwrap();
                assert_eq!(&buf[..count], &large[offset as usize..][..count]);
                assert_eq!(count, 100.min(large.len() - offset as usize));
            }
            assert_eq!(fs.read_link(b"link").unwrap(), b"/etc/small");
            assert_eq!(fs.stat(b"null").unwrap().rdev, Some((1, 3)));
            assert_eq!(fs.stat(b"fifo").unwrap().file_type, FileType::Fifo);
            assert_eq!(fs.read(b"etc/file-599").unwrap(), b"etc/file-599");
            assert_eq!(fs.read_dir(b"etc").unwrap().len(), 603);
            assert_eq!(fs.xattrs(b"etc").unwrap(), []);
        }
    }

    #[test]
    fn each_damaged_field_has_its_code() {
        let image = image(Compressor::Gzip);
        for (what, at, bytes, code) in [
            ("magic", 0, &[0][..], "file-system"),
            ("block size", 12, &[0, 0x20], "file-system"),
            ("block log", 22, &[13], "file-system"),
            ("no compression of that number", 20, &[9], "file-system"),
            ("lzo", 20, &[3], "file-system-feature"),
            ("another compression", 20, &[6], "compressed-data"),
            ("version", 28, &[3], "file-system-feature"),
            ("owners", 26, &[0], "file-system"),
            ("root", 34, &[0xff, 0xff], "file-system"),
            ("end", 44, &[1], "out-of-bounds"),
            ("id table", 55, &[1], "file-system"),
            ("attribute table", 56, &[0; 8], "file-system"),
            ("inode table", 64, &[0; 8], "file-system"),
            ("inode table", 64, &[0xff; 8], "file-system"),
            ("directory table", 72, &[0xff; 8], "file-system"),
            ("fragment table", 80, &[0; 8], "file-system"),
            ("fragments", 16, &[0], "file-system"),
        ] {
            let mut damaged = image.clone();
            damaged[at..at + bytes.len()].copy_from_slice(bytes);
            let found = open(&damaged).and_then(|fs| fs.read(b"etc/small"));
            assert_eq!(found.map_err(|error| error.code()), Err(code), "{what}");
        }
        for len in (0..image.len()).step_by(7) {
            let _ = open(&image[..len]).and_then(|fs| fs.read(b"etc/small"));
        }
    }

    #[test]
    fn a_failed_check_below_comes_out_as_it_was() {
        struct Tampered(Vec<u8>);
        impl ReadAt for Tampered {
            fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
                if offset > 0 {
                    Err(Unverified::DataBlock { block: 1, found: String::new(), expected: String::new() }
                        .into())
                } else {
                    self.0.read_exact_at(offset, buf)
                }
            }
            fn size_bytes(&self) -> Result<u64> {
                self.0.size_bytes()
            }
        }
        let fs = fs::open(Tampered(image(Compressor::Zstd)), FsType::Squashfs, &Limits::default()).unwrap();
        let error = fs.stat(b"").unwrap_err();
        assert_eq!((error.code(), error.path().as_str()), ("data-block", "squashfs"));
    }
}
