//! [`MakeFileSystem`]: file systems other than our own EROFS, and the check that what they made is what was asked for.

use super::erofs;
use super::tree::{Kind, Timestamp, Tree, show};
use crate::error::{Corrupt, Result, ResultExt as _, Unsupported};
use crate::fs::{self, FileSystem, FileType, Metadata};
use crate::fstype::FsType;
use crate::limits::Limits;
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom, Write};

/// What a file system is written to: empty, from position 0 on.
///
/// ```
/// use confext_ddi::build::Target;
/// use std::io::{self, Cursor, SeekFrom};
///
/// /// Makes room for a superblock, and says where the data starts.
/// fn reserve(out: &mut dyn Target) -> io::Result<u64> {
///     out.write_all(&[0; 4096])?;
///     out.seek(SeekFrom::End(0))
/// }
///
/// // Memory is as good a target as a file.
/// assert_eq!(reserve(&mut Cursor::new(Vec::new()))?, 4096);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Target: Read + Write + Seek + Send {}

impl<T: Read + Write + Seek + Send> Target for T {}

/// Makes the file system of an image.
///
/// What is made is read back and compared with the tree, entry by entry and byte by byte, before it is protected.
///
/// ```
/// use confext_ddi::build::{Builder, Keeps, MakeFileSystem, Meta, ReleaseFields, Target, Tree, erofs};
/// use confext_ddi::{Result, fstype::FsType, release::Class};
///
/// /// Stands for a program of others; this one has the crate's own EROFS made.
/// #[derive(Debug)]
/// struct Mkfs;
///
/// impl MakeFileSystem for Mkfs {
///     fn fs_type(&self) -> FsType {
///         FsType::Erofs
///     }
///
///     fn keeps(&self) -> Keeps {
///         Keeps::ALL
///     }
///
///     fn write(&self, tree: &Tree, options: &erofs::Options, mut out: &mut dyn Target) -> Result<u64> {
///         erofs::write(tree, options, &mut out)
///     }
/// }
///
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # let mut image = std::io::Cursor::new(Vec::new());
/// let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// let built = builder.format(Mkfs).unsigned().build(&mut image, None)?;
/// assert_eq!(built.partitions.len(), 2);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
pub trait MakeFileSystem: Send + Sync + std::fmt::Debug {
    /// Which file system it makes.
    fn fs_type(&self) -> FsType;

    /// What it keeps of entries.
    fn keeps(&self) -> Keeps;

    /// Writes `tree` to `out`, and returns how many bytes it has.
    ///
    /// # Errors
    ///
    /// What keeps it from being made.
    fn write(&self, tree: &Tree, options: &erofs::Options, out: &mut dyn Target) -> Result<u64>;
}

/// What a file system keeps of entries. An entry with extended attributes or a long link target is refused where a
/// part of it would be lost; hard links become copies, and fractions of seconds are cut.
///
/// ```
/// use confext_ddi::build::{Compression, Keeps, MakeFileSystem as _, Squashfs};
///
/// // A tree with SELinux labels cannot become a squashfs made here; it can become an EROFS.
/// let keeps = Squashfs::new(Compression::Zstd).keeps();
/// assert!(!keeps.xattrs && Keeps::ALL.xattrs);
/// assert_eq!(keeps.target_bytes, 255);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keeps {
    /// Extended attributes.
    pub xattrs: bool,
    /// Several names of one file.
    pub hard_links: bool,
    /// Fractions of seconds.
    pub nanoseconds: bool,
    /// The time of the root directory.
    pub root_time: bool,
    /// The longest target of a symbolic link, in bytes.
    pub target_bytes: usize,
}

impl Keeps {
    /// Everything.
    pub const ALL: Self = Self {
        xattrs: true,
        hard_links: true,
        nanoseconds: true,
        root_time: true,
        target_bytes: Tree::MAX_TARGET_BYTES,
    };
}

/// Refuses a tree of which a file system would lose extended attributes, or which has times it cannot have.
pub(super) fn check_tree(tree: &Tree, format: &dyn MakeFileSystem, options: &erofs::Options) -> Result<()> {
    let name = format.fs_type().as_str();
    for visit in tree.visits() {
        let node = tree.node(visit.node);
        let lost =
            |what: &'static str| Unsupported::FormatLoses { format: name, path: show(&visit.path), what };
        if !format.keeps().xattrs && !node.xattrs.is_empty() {
            return Err(lost("extended attributes").into());
        }
        if matches!(&node.kind, Kind::Symlink(target) if target.len() > format.keeps().target_bytes) {
            return Err(lost("a link target too long").into());
        }
        let mtime = effective(node.meta.mtime, options);
        if !format.keeps().nanoseconds && u32::try_from(mtime.seconds()).is_err() {
            return Err(lost("a time outside of 1970 to 2106").into());
        }
    }
    Ok(())
}

/// The time an entry gets.
pub(super) fn effective(mtime: Option<Timestamp>, options: &erofs::Options) -> Timestamp {
    let mtime = mtime.unwrap_or(options.build_time);
    options.latest_mtime.map_or(mtime, |latest| mtime.min(latest))
}

/// Compares what was made with what was asked for: every entry, all of it that the format keeps, every byte.
pub(super) fn compare(
    tree: &Tree,
    made: &dyn FileSystem,
    keeps: Keeps,
    options: &erofs::Options,
) -> Result<()> {
    let limits = Limits::default();
    let files = tree.files(&limits);
    let mut comparison = Comparison { tree, files: &files, made, keeps, options, inodes: HashMap::new() };
    let mut paths = std::iter::once(Ok(Vec::new()))
        .chain(fs::walk(made, b"", &limits)?.map(|entry| entry.map(|(path, _)| path)));
    for expected in tree.visits().map(|visit| visit.path) {
        let found = paths.next().transpose()?;
        if found.as_ref() != Some(&expected) {
            let found = found.map_or_else(|| "nothing".to_owned(), |path| format!("\"{}\"", show(&path)));
            return Err(differs(&expected, "entry", found, "it in its place"));
        }
        comparison.entry(&expected).within(show(&expected))?;
    }
    match paths.next().transpose()? {
        Some(path) => Err(differs(&path, "entry", "one more", "none")),
        None => Ok(()),
    }
}

struct Comparison<'c> {
    tree: &'c Tree,
    files: &'c dyn FileSystem,
    made: &'c dyn FileSystem,
    keeps: Keeps,
    options: &'c erofs::Options,
    /// Which inode of the tree each inode of the file system is.
    inodes: HashMap<u64, u64>,
}

impl Comparison<'_> {
    fn entry(&mut self, path: &[u8]) -> Result<()> {
        let (found, expected) = (self.made.stat(path)?, self.expected(path)?);
        let rest = |meta: &Metadata| {
            let size = if meta.file_type == FileType::Directory { 0 } else { meta.size_bytes };
            (meta.file_type, meta.mode, meta.uid, meta.gid, size, meta.rdev)
        };
        if rest(&found) != rest(&expected) {
            return Err(differs(
                path,
                "type, mode, owner, size or number",
                format!("{found:?}"),
                &format!("{expected:?}"),
            ));
        }
        let time =
            |meta: &Metadata| (meta.mtime_sec, if self.keeps.nanoseconds { meta.mtime_nsec } else { 0 });
        if time(&found) != time(&expected) && (self.keeps.root_time || !path.is_empty()) {
            return Err(differs(
                path,
                "time",
                format!("{:?}", time(&found)),
                &format!("{:?}", time(&expected)),
            ));
        }
        if self.keeps.hard_links && found.file_type != FileType::Directory {
            let same = *self.inodes.entry(found.ino).or_insert(expected.ino);
            if same != expected.ino || found.nlink != expected.nlink {
                return Err(differs(
                    path,
                    "number of names",
                    found.nlink.to_string(),
                    &expected.nlink.to_string(),
                ));
            }
        }
        if self.keeps.xattrs && self.made.xattrs(path)? != self.files.xattrs(path)? {
            return Err(differs(path, "extended attributes", "others", "those of the entry"));
        }
        match found.file_type {
            FileType::Symlink if self.made.read_link(path)? != self.files.read_link(path)? => {
                Err(differs(path, "target", "another", "that of the entry"))
            }
            FileType::Regular => self.content(path, found.size_bytes),
            _ => Ok(()),
        }
    }

    fn expected(&self, path: &[u8]) -> Result<Metadata> {
        let mut expected = self.files.stat(path)?;
        if let Some(node) = self.tree.find(path)? {
            let mtime = effective(self.tree.node(node).meta.mtime, self.options);
            (expected.mtime_sec, expected.mtime_nsec) = (mtime.seconds(), mtime.nanoseconds());
        }
        Ok(expected)
    }

    fn content(&self, path: &[u8], size: u64) -> Result<()> {
        const WINDOW: u64 = 1 << 20;
        let mut at = 0_u64;
        while at < size {
            let len = usize::try_from(size.saturating_sub(at).min(WINDOW)).unwrap_or(0);
            let (mut found, mut expected) = (vec![0; len], vec![0; len]);
            let read =
                (self.made.read_at(path, at, &mut found)?, self.files.read_at(path, at, &mut expected)?);
            if read != (len, len) || found != expected {
                return Err(differs(
                    path,
                    "content",
                    format!("other bytes from {at} on"),
                    "those of the entry",
                ));
            }
            at = at.saturating_add(WINDOW);
        }
        Ok(())
    }
}

fn differs(path: &[u8], what: &'static str, found: impl Into<String>, expected: &str) -> crate::Error {
    let (path, found, expected) = (show(path), found.into(), expected.to_owned());
    Corrupt::FormatDiffers { path, what, found, expected }.into()
}

/// A part of a file, from a position on, as a file of its own.
pub(super) struct Window<'w, W> {
    out: &'w mut W,
    start: u64,
}

impl<'w, W: Seek> Window<'w, W> {
    /// Stands at its beginning.
    pub(super) fn new(out: &'w mut W, start: u64) -> Result<Self> {
        out.seek(SeekFrom::Start(start))?;
        Ok(Self { out, start })
    }
}

impl<W: Read> Read for Window<'_, W> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.out.read(buf)
    }
}

impl<W: Write> Write for Window<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl<W: Seek> Seek for Window<'_, W> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let outside = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(at.checked_add(self.start).ok_or_else(outside)?),
            other => other,
        };
        let at = self.out.seek(to)?;
        at.checked_sub(self.start).ok_or_else(outside)
    }
}
