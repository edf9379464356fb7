//! [`Squashfs`]: a compressed file system, written by the library `backhand`.

use super::content::Content;
use super::erofs;
use super::format::{Keeps, MakeFileSystem, Target, effective};
use super::tree::{Device, Kind, Tree, Visit, show};
use crate::error::{Error, Result, ResultExt as _, Unsupported};
use crate::fstype::FsType;
use crate::units::ByteRange;
use backhand::compression::Compressor;
use backhand::{BackhandError, FilesystemCompressor, FilesystemWriter, NodeHeader};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// How the blocks of a squashfs are compressed.
///
/// ```
/// use confext_ddi::build::{Compression, MakeFileSystem as _, Meta, Squashfs, Tree, erofs};
/// use std::io::Cursor;
///
/// let mut tree = Tree::new();
/// tree.add_file("etc/app.conf", "answer = 42\n".repeat(10_000), Meta::new(0o644))?;
/// for compression in [Compression::Zstd, Compression::Xz, Compression::Gzip] {
///     let mut image = Cursor::new(Vec::new());
///     let size = Squashfs::new(compression).write(&tree, &erofs::Options::default(), &mut image)?;
///     assert!(size < 10_000);
/// }
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Zstandard: quick to read and small.
    #[default]
    Zstd,
    /// XZ: the smallest, slow.
    Xz,
    /// DEFLATE, which every kernel with squashfs reads.
    Gzip,
}

/// A squashfs, for images that have to be small. Blocks have 128 KiB.
///
/// It has no extended attributes, link targets of at most 255 bytes, times in whole seconds from 1970 to 2106, and copies in place of hard links, stored
/// once. The time of the root directory is 1970-01-01.
///
/// ```
/// use confext_ddi::build::{Builder, Compression, Meta, ReleaseFields, Squashfs, Tree};
/// use confext_ddi::{fstype::FsType, image::{self, Image}, release::Class};
///
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # let mut file = std::io::Cursor::new(Vec::new());
/// let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// builder.format(Squashfs::new(Compression::Xz)).unsigned().build(&mut file, None)?;
/// let image = Image::open(file.into_inner(), &image::Options::default())?;
/// assert_eq!(image.data().fs, Some(FsType::Squashfs));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Squashfs {
    /// How it is compressed.
    pub compression: Compression,
}

impl Squashfs {
    /// Compressed in this way.
    #[must_use]
    pub const fn new(compression: Compression) -> Self {
        Self { compression }
    }
}

const BLOCK_BYTES: u32 = 1 << 17;

impl MakeFileSystem for Squashfs {
    fn fs_type(&self) -> FsType {
        FsType::Squashfs
    }

    fn keeps(&self) -> Keeps {
        // The library refuses longer targets.
        let target_bytes = 255;
        Keeps { xattrs: false, hard_links: false, nanoseconds: false, root_time: false, target_bytes }
    }

    fn write(&self, tree: &Tree, options: &erofs::Options, out: &mut dyn Target) -> Result<u64> {
        let compressor = match self.compression {
            Compression::Zstd => Compressor::Zstd,
            Compression::Xz => Compressor::Xz,
            Compression::Gzip => Compressor::Gzip,
        };
        let first = Arc::new(Mutex::new(None));
        let made = || -> Result<u64, BackhandError> {
            let mut writer = FilesystemWriter::default();
            writer.set_compressor(FilesystemCompressor::new(compressor, None)?);
            writer.set_block_size(BLOCK_BYTES);
            writer.set_no_padding();
            writer.set_time(seconds(options.build_time.seconds()));
            for visit in tree.visits() {
                push(&mut writer, tree, &visit, options, &first)?;
            }
            let (_, size) = writer.write(out)?;
            Ok(size)
        };
        // A panic of the library is an error like any other; nothing of what it held is used afterwards.
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(made));
        // What kept a file from being read comes before what the library made of it.
        if let Some(error) = first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let failed = |found: String| Unsupported::FormatFailed { format: "squashfs", found };
        match made {
            Ok(Ok(size)) => Ok(size),
            Ok(Err(BackhandError::StdIo(error))) => Err(error.into()),
            Ok(Err(error)) => Err(failed(format!("{error:?}")).into()),
            Err(_) => Err(failed("a panic".to_owned()).into()),
        }
    }
}

/// The first error of a file that is read while the library writes.
type First = Arc<Mutex<Option<Error>>>;

fn push(
    writer: &mut FilesystemWriter<'_, '_, '_>,
    tree: &Tree,
    visit: &Visit,
    options: &erofs::Options,
    first: &First,
) -> Result<(), BackhandError> {
    let (node, path) = (tree.node(visit.node), visit.path.as_slice());
    let (mode, uid, gid) = (node.meta.mode, node.meta.uid, node.meta.gid);
    if path.is_empty() {
        writer.set_root_mode(mode);
        writer.set_root_uid(uid);
        writer.set_root_gid(gid);
        return Ok(());
    }
    let mtime = effective(node.meta.mtime, options);
    let header = NodeHeader::new(mode, uid, gid, seconds(mtime.seconds()));
    let at = Path::new(OsStr::from_bytes(path));
    match &node.kind {
        Kind::Directory(_) => writer.push_dir(at, header),
        Kind::File(content) => {
            let (content, path, first) = (Arc::clone(content), path.to_vec(), Arc::clone(first));
            writer.push_file(
                Reader { content, path, first, position: 0, buffer: Vec::new(), taken: 0 },
                at,
                header,
            )
        }
        Kind::Symlink(target) => writer.push_symlink(OsStr::from_bytes(target), at, header),
        Kind::Device(device @ Device::Character { .. }) => {
            writer.push_char_device(packed(*device), at, header)
        }
        Kind::Device(device @ Device::Block { .. }) => writer.push_block_device(packed(*device), at, header),
        Kind::Fifo => writer.push_fifo(at, header),
        Kind::Socket => writer.push_socket(at, header),
    }
}

/// Times were checked before: see `check_tree`.
fn seconds(seconds: i64) -> u32 {
    u32::try_from(seconds).unwrap_or_default()
}

/// Linux's 32-bit device number.
const fn packed(device: Device) -> u32 {
    let (major, minor) = device.number();
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// A content as something to read from, a window at a time.
struct Reader {
    content: Arc<dyn Content>,
    path: Vec<u8>,
    first: First,
    position: u64,
    buffer: Vec<u8>,
    taken: usize,
}

impl Reader {
    const WINDOW: u64 = 1 << 20;

    fn fill(&mut self) -> Result<()> {
        self.buffer.clear();
        self.taken = 0;
        let rest = self.content.size_bytes().saturating_sub(self.position);
        let range = ByteRange::with_len(self.position, rest.min(Self::WINDOW)).unwrap_or(ByteRange::EMPTY);
        if !range.is_empty() {
            self.content.copy(&[range], &mut self.buffer)?;
        }
        self.position = range.end().max(self.position);
        Ok(())
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.taken >= self.buffer.len()
            && let Err(error) = self.fill().within(show(&self.path))
        {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
            return Err(std::io::Error::other("a source could not be read"));
        }
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(rest) {
            *to = *from;
        }
        self.taken = self.taken.saturating_add(len);
        Ok(len)
    }
}
