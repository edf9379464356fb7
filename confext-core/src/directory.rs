//! [`Directory`]: the files below a directory of this machine, read like those of an image.

mod recent;
mod tree;
mod xattrs;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use confext_ddi::error::{Error, Fault, LimitExceeded, Lookup, Result};
use confext_ddi::fs::{DirEntry, FileSystem, FileType, Metadata, Xattr};
use confext_ddi::fstype::FsType;
use confext_ddi::limits::Limits;
use rustix::io::Errno;

use crate::sys::{self, AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use recent::Recent;
pub(crate) use tree::{Attributes, Tree};
pub(crate) use xattrs::xattrs;
use xattrs::{Attributed, xattrs_of};

/// A directory tree: a plain directory extension, a mounted layer, or what an overlay goes over.
///
/// No symbolic link is followed, as the trait promises; the walk never leaves the directory.
///
/// ```
/// use std::os::unix::fs::symlink;
///
/// use confext_core::directory::Directory;
/// use confext_ddi::{Limits, fs::FileSystem as _};
///
/// let root = tempfile::tempdir()?;
/// std::fs::write(root.path().join("app.conf"), "answer = 42\n")?;
/// symlink("app.conf", root.path().join("link"))?;
/// let directory = Directory::new(std::fs::File::open(root.path())?.into(), &Limits::default());
/// assert_eq!(directory.read(b"app.conf")?, b"answer = 42\n");
/// // No link is followed, not even one that stays inside.
/// assert_eq!(directory.read(b"link").unwrap_err().code(), "not-a-file");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Directory {
    root: Arc<OwnedFd>,
    limits: Limits,
    recent: Recent,
    /// What was seen of it, once all of it was looked at.
    tree: Option<Tree>,
}

impl Directory {
    /// Takes an open directory.
    #[must_use]
    pub fn new(root: OwnedFd, limits: &Limits) -> Self {
        Self::of_shared(Arc::new(root), limits)
    }

    /// Of one that others hold, too.
    pub(crate) fn of_shared(root: Arc<OwnedFd>, limits: &Limits) -> Self {
        Self { root, limits: limits.clone(), recent: Recent::default(), tree: None }
    }

    /// Looks at everything in it, given what it is itself. From then on who asks is told what was seen, whatever has changed
    /// meanwhile. Contents of files, targets of links and values of attributes are not kept.
    ///
    /// # Errors
    ///
    /// As [`confext_ddi::fs::walk`].
    pub(crate) fn look_at_all(&mut self, stat: &Statx) -> Result<&Tree> {
        let tree = match Tree::look(self.root.as_fd(), stat, &self.limits) {
            Err(error) if is_place(&error) => {
                Tree::look(self.readable(b"", OFlags::DIRECTORY)?.as_fd(), stat, &self.limits)?
            }
            tree => tree?,
        };
        Ok(self.tree.insert(tree))
    }

    /// What was seen of it, where all of it was looked at.
    pub(crate) fn tree(&self) -> Option<&Tree> {
        self.tree.as_ref()
    }

    /// The same, as an answer for one path; `None` for a path that has to be looked up.
    fn remembered<'p>(&self, path: &'p [u8]) -> Option<(&Tree, &'p [u8])> {
        let path = relative(path);
        let is_plain = path.split(|&byte| byte == b'/').all(is_name);
        self.tree.as_ref().filter(|_| is_plain).map(|tree| (tree, path))
    }

    /// Whether anything is in a directory.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::read_dir`].
    pub(crate) fn has_entries(&self, path: &[u8]) -> Result<bool> {
        match self.remembered(path) {
            Some((tree, path)) if tree.below(path).next().is_some() => Ok(true),
            _ => Ok(!self.read_dir(path)?.is_empty()),
        }
    }

    /// The directory itself, for another owner.
    pub(crate) fn share(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.root)
    }

    /// The directory itself.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Calls with the directory that a path is in, and its name there; with the root and the whole path when that is no
    /// plain one.
    fn inside<T>(&self, path: &[u8], call: impl FnOnce(BorrowedFd<'_>, &[u8]) -> io::Result<T>) -> Result<T> {
        let (whole, root) = (relative(path), self.root.as_fd());
        let plain = whole.split(|&byte| byte == b'/').all(is_name);
        let slash = whole.iter().rposition(|&byte| byte == b'/').filter(|_| plain);
        let done = match slash.and_then(|at| Some((whole.get(..at)?, whole.get(at.checked_add(1)?..)?))) {
            // Of what was looked at, little is asked any more.
            Some(_) if self.tree.is_some() => call(root, whole),
            Some((parent, name)) => {
                self.recent.directory(root, parent).and_then(|parent| call(parent.as_fd(), name))
            }
            None => call(root, whole),
        };
        done.map_err(|error| at(path, error))
    }

    fn place(&self, path: &[u8]) -> Result<OwnedFd> {
        let resolve = ResolveFlags::NO_SYMLINKS;
        self.inside(path, |parent, name| sys::open_path(parent, name, OFlags::NOFOLLOW, resolve))
    }

    fn readable(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | flags;
        let resolve = ResolveFlags::NO_SYMLINKS;
        self.inside(path, |parent, name| sys::open_beneath(parent, name, flags, resolve))
    }

    /// A file, and how long it was when it was looked at.
    fn open_regular(&self, path: &[u8]) -> Result<(std::fs::File, u64)> {
        let found = self.stat(path)?;
        if found.file_type != FileType::Regular {
            let path = String::from_utf8_lossy(path).into_owned();
            return Err(Lookup::NotAFile { path, found: found.file_type.as_str() }.into());
        }
        Ok((self.readable(path, OFlags::empty())?.into(), found.size_bytes))
    }

    fn look(&self, path: &[u8]) -> Result<Metadata> {
        self.inside(path, |parent, name| {
            if is_name(name) {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                return metadata_of(&sys::statx(parent, name, flags, StatxFlags::BASIC_STATS)?);
            }
            if name == b"." {
                return metadata(parent);
            }
            let place = sys::open_path(parent, name, OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)?;
            metadata(place.as_fd())
        })
    }

    fn list(&self, path: &[u8]) -> Result<Vec<DirEntry>> {
        let fd = Arc::new(self.readable(path, OFlags::DIRECTORY)?);
        let mut entries = Vec::new();
        let mut buffer = Vec::with_capacity(LISTING_BYTES);
        let mut listing = rustix::fs::RawDir::new(&fd, buffer.spare_capacity_mut());
        while let Some(entry) = listing.next() {
            let entry = entry.map_err(|errno| at(path, errno.into()))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let file_type = match file_type(entry.file_type()) {
                Some(known) => known,
                // Some file systems do not say it in the listing.
                None => self.stat(&join(path, name))?.file_type,
            };
            entries.push(DirEntry { name: name.to_vec(), file_type });
            let found = u64::try_from(entries.len()).unwrap_or(u64::MAX);
            if found > self.limits.entries {
                let most = self.limits.entries;
                return Err(LimitExceeded::Count { what: "directory entries", found, most }.into());
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        self.recent.add(relative(path), fd);
        Ok(entries)
    }

    fn attributes(&self, path: &[u8]) -> Result<Vec<Xattr>> {
        self.inside(path, |parent, name| {
            if is_name(name) {
                return xattrs_of(&Attributed::Entry { directory: parent, name }, &self.limits);
            }
            let place = sys::open_path(parent, name, OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)?;
            xattrs(place.as_fd(), &self.limits)
        })
    }
}

/// Reads a file to its end, or a byte more than `most`. It is expected to be so long.
fn read_all(mut file: &std::fs::File, expected: u64, most: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    // Most files that are read whole are small: what is read is counted in calls.
    let mut first = [0; 4096];
    let room = most.saturating_add(1);
    let len = io::Read::read(&mut io::Read::take(&mut file, room), &mut first)?;
    bytes.extend_from_slice(first.get(..len).unwrap_or_default());
    let read = u64::try_from(len).unwrap_or(u64::MAX);
    // There was room for more, and no more is expected: that was the end.
    let is_whole = read == expected && len < first.len();
    let left = room.saturating_sub(read);
    if len > 0 && !is_whole {
        io::Read::read_to_end(&mut io::Read::take(file, left), bytes)?;
    }
    Ok(())
}

/// Whether what was listed is open as a place only.
fn is_place(error: &Error) -> bool {
    matches!(error.fault(), Fault::Io(error) if Errno::from_io_error(error) == Some(Errno::BADF))
}

/// How much of a listing the kernel is asked for at a time.
const LISTING_BYTES: usize = 8192;

/// One component that leads down.
fn is_name(name: &[u8]) -> bool {
    !name.contains(&b'/') && !matches!(name, b"" | b"." | b"..")
}

impl FileSystem for Directory {
    fn fs_type(&self) -> FsType {
        FsType::Directory
    }

    fn stat(&self, path: &[u8]) -> Result<Metadata> {
        match self.remembered(path) {
            Some((tree, path)) => tree.get(path).map(|seen| seen.metadata.clone()),
            None => self.look(path),
        }
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<DirEntry>> {
        match (self.remembered(path), &self.tree) {
            (Some((tree, path)), _) => tree.list(path),
            (None, Some(tree)) if relative(path) == b"." => tree.list(b""),
            (None, _) => self.list(path),
        }
    }

    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.open_regular(path)?.0.read_at(buf, offset).map_err(|error| at(path, error))
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>> {
        let (file, expected) = self.open_regular(path)?;
        let most = self.limits.file_bytes;
        let mut bytes = Vec::new();
        read_all(&file, expected, most, &mut bytes).map_err(|error| at(path, error))?;
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found > most {
            return Err(LimitExceeded::Bytes { what: "file", found, most }.into());
        }
        Ok(bytes)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let place = self.place(path)?;
        let found = metadata(place.as_fd()).map_err(|error| at(path, error))?.file_type;
        if found != FileType::Symlink {
            let path = String::from_utf8_lossy(path).into_owned();
            return Err(Lookup::NotASymlink { path, found: found.as_str() }.into());
        }
        let target = rustix::fs::readlinkat(&place, c"", Vec::new());
        Ok(target.map_err(|errno| at(path, errno.into()))?.into_bytes())
    }

    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>> {
        match self.remembered(path) {
            Some((tree, path)) if tree.get(path)?.attributes == Attributes::None => Ok(Vec::new()),
            _ => self.attributes(path),
        }
    }

    fn rest(&self) {
        self.recent.clear();
    }
}

/// What a file is, or `None` when there is no such file; a file in the place of a parent directory is "no such file".
///
/// # Errors
///
/// Whatever else keeps the file from being looked at.
pub fn lookup(files: &dyn FileSystem, path: &[u8]) -> Result<Option<Metadata>> {
    match files.stat(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.fault() {
            Fault::Lookup(Lookup::NoSuchFile { .. } | Lookup::NotADirectory { .. }) => Ok(None),
            _ => Err(error),
        },
    }
}

/// `directory/name`, where the empty directory is the root.
#[must_use]
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// What an open file is.
pub(crate) fn metadata(fd: BorrowedFd<'_>) -> io::Result<Metadata> {
    metadata_of(&statx(fd)?)
}

fn metadata_of(stat: &Statx) -> io::Result<Metadata> {
    let file_type = file_type(rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode)));
    let file_type = file_type.ok_or(io::ErrorKind::Unsupported)?;
    let device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
    Ok(Metadata {
        file_type,
        mode: stat.stx_mode & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        size_bytes: stat.stx_size,
        mtime_sec: stat.stx_mtime.tv_sec,
        mtime_nsec: stat.stx_mtime.tv_nsec,
        nlink: stat.stx_nlink,
        rdev: device.then_some((stat.stx_rdev_major, stat.stx_rdev_minor)),
        ino: stat.stx_ino,
    })
}

/// `statx` of the open file itself.
pub(crate) fn statx(fd: BorrowedFd<'_>) -> io::Result<Statx> {
    sys::statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
}

/// The names in an open directory, sorted by bytes.
pub(crate) fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<Vec<u8>>> {
    Ok(listing(directory)?.into_iter().map(|(name, _)| name).collect())
}

/// Whether nothing is in an open directory that was not listed yet; it may be open as a place only.
pub(crate) fn is_empty(directory: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    match has_none(directory) {
        Err(Errno::BADF) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            has_none(rustix::fs::openat(directory, c".", flags, Mode::empty())?.as_fd())
        }
        answer => answer,
    }
}

fn has_none(directory: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    // The first name is enough.
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut listing = rustix::fs::RawDir::new(directory, &mut buffer);
    while let Some(entry) = listing.next() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The names in an open directory, sorted by bytes, with what the listing says of their kind.
pub(crate) fn listing(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<(Vec<u8>, rustix::fs::FileType)>> {
    let mut names = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(directory, c".", flags, Mode::empty())?;
    for entry in rustix::fs::Dir::new(readable)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

/// What a file is, as far as that is known.
pub(crate) fn file_type(kind: rustix::fs::FileType) -> Option<FileType> {
    Some(match kind {
        rustix::fs::FileType::RegularFile => FileType::Regular,
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
        rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
        rustix::fs::FileType::Fifo => FileType::Fifo,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::Unknown => return None,
    })
}

/// The empty path is the directory itself; a leading slash is ignored.
fn relative(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|&byte| byte != b'/');
    start.and_then(|start| path.get(start..)).unwrap_or(b".")
}

fn at(path: &[u8], error: io::Error) -> Error {
    let shown = String::from_utf8_lossy(path).into_owned();
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => Lookup::NoSuchFile { path: shown }.into(),
        Some(Errno::NOTDIR) => Lookup::NotADirectory { path: shown, found: "file" }.into(),
        // Links are not followed here: one on the way is no directory.
        Some(Errno::LOOP) => Lookup::NotADirectory { path: shown, found: "symbolic link" }.into(),
        _ => Error::from(error).within(shown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    fn open(path: &Path) -> Directory {
        Directory::new(std::fs::File::open(path).unwrap().into(), &Limits::default())
    }

    #[test]
    fn files_are_read_like_those_of_an_image() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/b"), b"hello").unwrap();
        std::fs::set_permissions(dir.path().join("etc/b"), std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink("b", dir.path().join("etc/a")).unwrap();
        let files = open(dir.path());

        let names: Vec<_> =
            files.read_dir(b"etc").unwrap().into_iter().map(|e| (e.name, e.file_type)).collect();
        assert_eq!(names, [(b"a".to_vec(), FileType::Symlink), (b"b".to_vec(), FileType::Regular)]);
        assert_eq!(files.read_dir(b"").unwrap().len(), 1);
        assert_eq!(files.read_link(b"etc/a").unwrap(), b"b");
        assert_eq!(files.read(b"/etc/b").unwrap(), b"hello");
        let stat = files.stat(b"etc/b").unwrap();
        assert_eq!((stat.file_type, stat.mode, stat.size_bytes), (FileType::Regular, 0o640, 5));
        let mut buf = [0; 8];
        assert_eq!(files.read_at(b"etc/b", 3, &mut buf).unwrap(), 2);
        assert_eq!(&buf[..2], b"lo");
        assert_eq!(files.read(b"etc/a").unwrap_err().code(), "not-a-file");
        assert_eq!(files.read_link(b"etc/b").unwrap_err().code(), "not-a-symlink");
        assert_eq!(files.read_dir(b"etc/b").unwrap_err().code(), "not-a-directory");
        assert_eq!(files.stat(b"etc/c").unwrap_err().code(), "no-such-file");
    }

    #[test]
    fn nothing_outside_is_reached() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), b"x").unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        let files = open(dir.path());
        assert_eq!(lookup(&files, b"link/secret").unwrap(), None);
        assert_eq!(lookup(&files, b"link").unwrap().unwrap().file_type, FileType::Symlink);
        assert_eq!(lookup(&files, b"missing/deep").unwrap(), None);
        assert!(lookup(&files, b"../../etc/passwd").unwrap().is_none());
    }

    #[test]
    fn extended_attributes_are_listed_with_their_values() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::write(dir.path().join("f"), b"").unwrap();
        let long = vec![7; 1000];
        for (name, value) in [("user.b", &b"2"[..]), ("user.a", &long)] {
            let path = dir.path().join("f");
            rustix::fs::setxattr(&path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
        }
        let found = open(dir.path()).xattrs(b"f").unwrap();
        assert_eq!(found, [(b"user.a".to_vec(), long), (b"user.b".to_vec(), b"2".to_vec())]);
    }
}
