//! Taking a [`Tree`] from a directory of this machine, by file descriptors and without following links.

use super::content::Content;
use super::source::{Marks, Whiteouts, Xattrs};
use super::tree::{Device, Kind, Meta, NodeId, Timestamp, Tree, join, show};
use crate::error::{Corrupt, Error, LimitExceeded, Result, ResultExt as _};
use crate::limits::Limits;
use crate::units::ByteRange;
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Stat};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// How a directory becomes a tree.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # std::fs::create_dir(directory.path().join("etc"))?;
/// # std::fs::write(directory.path().join("etc/app.conf"), "answer = 42\n")?;
/// use confext_ddi::{Limits, build::{DirectoryOptions, Tree}, fs::FileSystem as _};
///
/// // The files belong to this user in the image, whoever owns them here.
/// let mut options = DirectoryOptions::default();
/// options.owner = Some((4321, 4321));
/// let tree = Tree::from_directory(directory.path(), &options)?;
/// assert_eq!(tree.files(&Limits::default()).stat(b"etc/app.conf")?.uid, 4321);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DirectoryOptions {
    /// Caps: `entries`, `depth`, `xattr_bytes` are looked at.
    pub limits: Limits,
    /// Makes every entry owned by this user and group. Default: the owners found.
    pub owner: Option<(u32, u32)>,
    /// Which extended attributes to take.
    pub xattrs: Xattrs,
    /// What marks of deleted files become, of an OCI layer that was unpacked as it is. Default: files like any other.
    pub whiteouts: Option<Whiteouts>,
}

/// Ranges of data kept for one sparse file: beyond this, the smallest holes are taken for data.
const MAX_RANGES: usize = 1 << 16;

impl Tree {
    /// Takes every entry of the directory `path`, whose own metadata becomes the root's.
    ///
    /// Symbolic links are never followed. File contents stay where they are until the image is written; a file that
    /// is then no longer what it was gives `source-changed`.
    ///
    /// # Errors
    ///
    /// `limit-count` (`entries`, `depth`), `limit-bytes` (`xattr_bytes`), `xattr-name`, `xattr-size`,
    /// `source-changed` when an entry is replaced while it is looked at; else an I/O error with the entry's path.
    pub fn from_directory(path: impl AsRef<Path>, options: &DirectoryOptions) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(path.as_ref(), flags, Mode::empty()).map_err(std::io::Error::from);
        let root = root.within(path.as_ref().display().to_string())?;
        let mut walk = Walk {
            tree: Self::new(),
            root: Arc::new(root),
            hard_links: HashMap::new(),
            marks: Marks::default(),
            entries: 0,
            options,
        };
        walk.run().within(path.as_ref().display().to_string())?;
        Ok(walk.tree)
    }
}

struct Walk<'o> {
    tree: Tree,
    root: Arc<OwnedFd>,
    /// Entries with more than one name, by device and inode.
    hard_links: HashMap<(u64, u64), NodeId>,
    marks: Marks,
    entries: u64,
    options: &'o DirectoryOptions,
}

/// A directory the walk is in.
struct Level {
    fd: OwnedFd,
    path: Vec<u8>,
    names: std::vec::IntoIter<Vec<u8>>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        let fd = self.root.try_clone()?;
        let stat = fs::fstat(&fd).map_err(std::io::Error::from)?;
        self.tree.add(b"", Kind::Directory(Default::default()), self.meta(&stat))?;
        self.take_xattrs(fd.as_fd(), Access::Open, NodeId::ROOT, b"")?;
        let mut levels = vec![self.enter(fd, Vec::new())?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            let path = join(&level.path, &name);
            if let Some(fd) = self.take(level.fd.as_fd(), &name, &path).within(show(&path))? {
                let depth = u64::try_from(levels.len()).unwrap_or(u64::MAX);
                let most = u64::from(self.options.limits.depth);
                if depth > most {
                    let fault =
                        LimitExceeded::Count { what: "directories inside each other", found: depth, most };
                    return Err(Error::from(fault).within(show(&path)));
                }
                let level = self.enter(fd, path.clone()).within(show(&path))?;
                levels.push(level);
            }
        }
        std::mem::take(&mut self.marks).apply(&mut self.tree)
    }

    /// Lists a directory, sorted, so that a walk meets hard links in the same order on every machine.
    fn enter(&mut self, fd: OwnedFd, path: Vec<u8>) -> Result<Level> {
        let mut names = Vec::new();
        let most = self.options.limits.entries;
        for entry in fs::Dir::read_from(&fd).map_err(std::io::Error::from)? {
            let entry = entry.map_err(std::io::Error::from)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.entries = self.entries.saturating_add(1);
            if self.entries > most {
                return Err(LimitExceeded::Count { what: "entries", found: self.entries, most }.into());
            }
            names.push(name.to_vec());
        }
        names.sort_unstable();
        Ok(Level { fd, path, names: names.into_iter() })
    }

    /// Adds one entry; a directory is returned open.
    fn take(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<Option<OwnedFd>> {
        if let Some(whiteouts) = self.options.whiteouts
            && self.marks.take(path, whiteouts)?
        {
            return Ok(None);
        }
        let seen = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(std::io::Error::from)?;
        let file_type = FileType::from_raw_mode(seen.st_mode);
        // Only what has content is opened for reading: opening a device or a fifo has effects.
        let (flags, access) = match file_type {
            FileType::Directory => (OFlags::RDONLY | OFlags::DIRECTORY, Access::Open),
            FileType::RegularFile => (OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Access::Open),
            _ => (OFlags::PATH, Access::PathOnly),
        };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(parent, name, flags, Mode::empty()).map_err(std::io::Error::from)?;
        let stat = fs::fstat(&fd).map_err(std::io::Error::from)?;
        if (stat.st_dev, stat.st_ino, stat.st_mode) != (seen.st_dev, seen.st_ino, seen.st_mode) {
            return Err(Corrupt::SourceChanged { path: show(path), what: "inode or mode" }.into());
        }
        let identity = (stat.st_dev, stat.st_ino);
        let linked = stat.st_nlink > 1 && file_type != FileType::Directory;
        if let Some(node) = self.hard_links.get(&identity).filter(|_| linked) {
            self.tree.link(path, *node)?;
            return Ok(None);
        }
        let kind = self.kind(&fd, &stat, file_type, path)?;
        let node = self.tree.add(path, kind, self.meta(&stat))?;
        if linked {
            self.hard_links.insert(identity, node);
        }
        self.take_xattrs(fd.as_fd(), access, node, path)?;
        Ok((file_type == FileType::Directory).then_some(fd))
    }

    fn kind(&self, fd: &OwnedFd, stat: &Stat, file_type: FileType, path: &[u8]) -> Result<Kind> {
        let (major, minor) = (fs::major(stat.st_rdev), fs::minor(stat.st_rdev));
        Ok(match file_type {
            FileType::Directory => Kind::Directory(Default::default()),
            FileType::RegularFile => Kind::File(Arc::new(DiskFile {
                root: Arc::clone(&self.root),
                path: path.to_vec(),
                identity: Identity::of(stat),
                data: data_ranges(fd, stat)?,
            })),
            FileType::Symlink => {
                let target = fs::readlinkat(fd, "", Vec::new()).map_err(std::io::Error::from)?.into_bytes();
                if target.is_empty() || target.len() > Self::MAX_TARGET_BYTES {
                    let (found, most) = (target.len(), Self::MAX_TARGET_BYTES);
                    return Err(Corrupt::LinkTarget { path: show(path), found, most }.into());
                }
                Kind::Symlink(target)
            }
            FileType::CharacterDevice => Kind::Device(Device::Character { major, minor }.checked(path)?),
            FileType::BlockDevice => Kind::Device(Device::Block { major, minor }.checked(path)?),
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            _ => return Err(Corrupt::SourceChanged { path: show(path), what: "type" }.into()),
        })
    }

    const MAX_TARGET_BYTES: usize = Tree::MAX_TARGET_BYTES;

    fn meta(&self, stat: &Stat) -> Meta {
        let (uid, gid) = self.options.owner.unwrap_or((stat.st_uid, stat.st_gid));
        let mode = u16::try_from(stat.st_mode & 0o7777).unwrap_or_default();
        let meta = Meta::new(mode).owner(uid, gid);
        match Timestamp::new(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(u32::MAX)) {
            Some(mtime) => meta.mtime(mtime),
            None => meta,
        }
    }

    fn take_xattrs(&mut self, fd: BorrowedFd<'_>, access: Access, node: NodeId, path: &[u8]) -> Result<()> {
        if self.options.xattrs == Xattrs::Leave {
            return Ok(());
        }
        let most = self.options.limits.xattr_bytes;
        let mut total = 0_u64;
        for name in list_xattrs(fd, access)?.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let Some(value) = read_xattr(fd, access, name)? else { continue };
            let bytes = name.len().saturating_add(value.len());
            total = total.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            if total > most {
                return Err(LimitExceeded::Bytes { what: "extended attributes", found: total, most }.into());
            }
            self.tree.set_node_xattr(node, path, name, value)?;
        }
        Ok(())
    }
}

/// How an entry's descriptor was opened: attributes of what cannot be opened are read through `/proc/self/fd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    PathOnly,
}

fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// The names of an entry's attributes, each ended by a NUL; none where the file system has no attributes.
fn list_xattrs(fd: BorrowedFd<'_>, access: Access) -> Result<Vec<u8>> {
    let names = grow(|buf| match access {
        Access::Open => fs::flistxattr(fd, buf),
        Access::PathOnly => fs::listxattr(proc_path(fd), buf),
    });
    match names {
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(Vec::new()),
        other => Ok(other.map_err(std::io::Error::from)?),
    }
}

/// The value of an attribute, or `None` when it is gone since it was listed.
fn read_xattr(fd: BorrowedFd<'_>, access: Access, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let value = grow(|buf| match access {
        Access::Open => fs::fgetxattr(fd, name, buf),
        Access::PathOnly => fs::getxattr(proc_path(fd), name, buf),
    });
    match value {
        Err(rustix::io::Errno::NODATA) => Ok(None),
        other => Ok(Some(other.map_err(std::io::Error::from)?)),
    }
}

/// Calls `read` with larger buffers until what it reads fits; the kernel's largest answer is 64 KiB.
fn grow(mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buf = vec![0; 1024];
    loop {
        match read(&mut buf) {
            Ok(len) => {
                buf.truncate(len);
                return Ok(buf);
            }
            Err(rustix::io::Errno::RANGE) if buf.len() < 1 << 17 => {
                buf.resize(buf.len().saturating_mul(8), 0)
            }
            Err(error) => return Err(error),
        }
    }
}

/// The ranges of a file that are not holes; `None` when it has none, or the file system cannot say.
fn data_ranges(fd: &OwnedFd, stat: &Stat) -> Result<Option<Vec<ByteRange>>> {
    // The count of stored blocks does not tell: EROFS counts holes, file systems that compress count less than there is.
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let mut ranges: Vec<ByteRange> = Vec::new();
    let mut least_hole = 0_u64;
    let mut at = 0;
    while at < size {
        let start = match fs::seek(fd, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(std::io::Error::from(error).into()),
        };
        let end = fs::seek(fd, SeekFrom::Hole(start)).map_err(std::io::Error::from)?.min(size);
        push_range(&mut ranges, start, end, least_hole);
        if ranges.len() > MAX_RANGES {
            least_hole = least_hole.saturating_mul(2).max(8192);
            ranges = merged(&ranges, least_hole);
        }
        // A file that shrinks meanwhile must not keep the loop at one place.
        at = end.max(at.saturating_add(1));
    }
    let whole = matches!(ranges.as_slice(), [only] if only.len_bytes() == size);
    Ok((!whole && size > 0).then_some(ranges))
}

/// Adds a range, joined to the last one when the hole between is smaller than `least_hole`.
fn push_range(ranges: &mut Vec<ByteRange>, start: u64, end: u64, least_hole: u64) {
    let joined = ranges.last().filter(|last| start.saturating_sub(last.end()) < least_hole.max(1));
    let joined = joined.map(|last| last.start());
    if joined.is_some() {
        ranges.pop();
    }
    ranges.extend(ByteRange::new(joined.unwrap_or(start), end));
}

fn merged(ranges: &[ByteRange], least_hole: u64) -> Vec<ByteRange> {
    let mut out = Vec::with_capacity(ranges.len());
    for range in ranges {
        push_range(&mut out, range.start(), range.end(), least_hole);
    }
    out
}

/// What tells that a file is still the one that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    const fn difference(&self, other: &Self) -> Option<&'static str> {
        if self.device != other.device || self.inode != other.inode {
            Some("inode")
        } else if self.size != other.size {
            Some("size")
        } else if self.modified.0 != other.modified.0 || self.modified.1 != other.modified.1 {
            Some("modification time")
        } else if self.changed.0 != other.changed.0 || self.changed.1 != other.changed.1 {
            Some("change time")
        } else {
            None
        }
    }
}

/// A file below a directory, opened only while it is copied.
#[derive(Debug)]
struct DiskFile {
    root: Arc<OwnedFd>,
    path: Vec<u8>,
    identity: Identity,
    data: Option<Vec<ByteRange>>,
}

impl DiskFile {
    /// Opens the file again, from the root down, following no link.
    fn open(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        // One call where there is such a call and the path is not too long for it; else one for each directory.
        if let Ok(fd) = fs::openat2(&self.root, self.path.as_slice(), flags, Mode::empty(), resolve) {
            return Ok(fd);
        }
        let names = super::tree::components(&self.path)?;
        let Some((last, parents)) = names.split_last() else {
            return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory).into());
        };
        let below = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at: Option<OwnedFd> = None;
        for name in parents {
            let from = at.as_ref().unwrap_or(&self.root);
            at = Some(fs::openat(from, *name, below, Mode::empty()).map_err(std::io::Error::from)?);
        }
        let from = at.as_ref().unwrap_or(&self.root);
        Ok(fs::openat(from, *last, flags, Mode::empty()).map_err(std::io::Error::from)?)
    }

    fn check(&self, fd: &OwnedFd) -> Result<()> {
        let now = Identity::of(&fs::fstat(fd).map_err(std::io::Error::from)?);
        match self.identity.difference(&now) {
            Some(what) => Err(Corrupt::SourceChanged { path: show(&self.path), what }.into()),
            None => Ok(()),
        }
    }

    fn copy_range(&self, fd: &OwnedFd, range: ByteRange, buf: &mut [u8], out: &mut dyn Write) -> Result<()> {
        let mut at = range.start();
        while at < range.end() {
            let len = usize::try_from(range.end().saturating_sub(at)).unwrap_or(usize::MAX).min(buf.len());
            let part = buf.get_mut(..len).unwrap_or_default();
            let read = match rustix::io::pread(fd, part, at) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(std::io::Error::from)?,
            };
            if read == 0 {
                return Err(Corrupt::SourceChanged { path: show(&self.path), what: "size" }.into());
            }
            out.write_all(buf.get(..read).unwrap_or_default())?;
            at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

impl Content for DiskFile {
    fn size_bytes(&self) -> u64 {
        self.identity.size
    }

    fn data(&self) -> Option<&[ByteRange]> {
        self.data.as_deref()
    }

    fn copy(&self, ranges: &[ByteRange], out: &mut dyn Write) -> Result<()> {
        let fd = self.open().within(show(&self.path))?;
        self.check(&fd)?;
        let most = ranges.iter().map(|range| range.len_bytes()).max().unwrap_or(0);
        let mut buf = vec![0; usize::try_from(most).unwrap_or(usize::MAX).min(1 << 18)];
        for range in ranges {
            self.copy_range(&fd, *range, &mut buf, out).within(show(&self.path))?;
        }
        // Whoever wrote in the meantime moved at least the change time.
        self.check(&fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::erofs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn image(tree: &Tree) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        erofs::write(tree, &erofs::Options::default(), &mut out)?;
        Ok(out)
    }

    #[test]
    fn entries_are_taken_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("etc")).unwrap();
        std::fs::write(at("etc/a"), "hello").unwrap();
        std::fs::set_permissions(at("etc/a"), std::fs::Permissions::from_mode(0o4711)).unwrap();
        std::fs::hard_link(at("etc/a"), at("b")).unwrap();
        symlink("/nowhere", at("link")).unwrap();
        let tree = Tree::from_directory(dir.path(), &DirectoryOptions::default()).unwrap();
        assert_eq!(tree.len(), 4);
        let node = |path: &[u8]| tree.find(path).unwrap().unwrap();
        assert_eq!(node(b"etc/a"), node(b"b"));
        assert_eq!(tree.node(node(b"b")).meta.mode, 0o4711);
        assert!(matches!(&tree.node(node(b"link")).kind, Kind::Symlink(target) if target == b"/nowhere"));
        let options = DirectoryOptions { owner: Some((7, 8)), ..DirectoryOptions::default() };
        let tree = Tree::from_directory(dir.path(), &options).unwrap();
        assert!(tree.visits().all(|visit| tree.node(visit.node).meta.uid == 7));
        assert_eq!(image(&tree).unwrap().len() % 4096, 0);
    }

    #[test]
    fn a_file_that_changes_before_it_is_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, vec![1; 10_000]).unwrap();
        let take = || Tree::from_directory(dir.path(), &DirectoryOptions::default()).unwrap();
        let tree = take();
        std::fs::write(&file, vec![1; 9_000]).unwrap();
        let error = image(&tree).unwrap_err();
        assert_eq!(error.code(), "source-changed");
        assert!(error.to_string().contains("its size"), "{error}");
        let tree = take();
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, vec![1; 9_000]).unwrap();
        assert_eq!(image(&tree).unwrap_err().code(), "source-changed");
        let tree = take();
        std::fs::remove_file(&file).unwrap();
        symlink("/etc/passwd", &file).unwrap();
        assert_eq!(image(&tree).unwrap_err().code(), "io");
    }

    #[test]
    fn limits_hold() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b/c/d")).unwrap();
        let code = |set: &dyn Fn(&mut Limits)| {
            let mut options = DirectoryOptions::default();
            set(&mut options.limits);
            Tree::from_directory(dir.path(), &options).map(|_| ()).map_err(|error| error.code())
        };
        assert_eq!(code(&|_| ()), Ok(()));
        assert_eq!(code(&|limits| limits.entries = 3), Err("limit-count"));
        assert_eq!(code(&|limits| limits.entries = 4), Ok(()));
        assert_eq!(code(&|limits| limits.depth = 3), Err("limit-count"));
        assert_eq!(code(&|limits| limits.depth = 4), Ok(()));
        let missing = Tree::from_directory(dir.path().join("missing"), &DirectoryOptions::default());
        let error = missing.unwrap_err();
        assert_eq!(error.code(), "io");
        assert!(error.path().ends_with("missing"));
    }

    #[test]
    fn many_small_holes_are_closed_before_memory_is_spent_on_them() {
        let islands: Vec<ByteRange> =
            (0..10).map(|at| ByteRange::with_len(at * 10_000, 4096 + at % 2 * 5000).unwrap()).collect();
        assert_eq!(merged(&islands, 0).len(), 10);
        let joined = merged(&islands, 1000);
        assert_eq!(joined.len(), 6);
        assert_eq!(joined[0].end(), 4096);
        assert_eq!(merged(&islands, 10_000).len(), 1);
    }
}
