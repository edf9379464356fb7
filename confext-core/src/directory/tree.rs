//! [`Tree`]: everything below a directory, looked at once from the top to the bottom with few calls
//!
//! A directory is opened when it is met, and all that is in it is asked for relative to that: no path is looked up twice.
//! Whoever asks later is told what was seen then, whatever has changed meanwhile.

use std::cmp::Ordering;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use confext_ddi::error::{Corrupt, LimitExceeded, Result};
use confext_ddi::fs::{DirEntry, FileType, Metadata};
use confext_ddi::limits::Limits;
use confext_ddi::lint::rules;
use rustix::io::Errno;

use super::{at, metadata_of, statx};
use crate::sys::{self, AtFlags, Mode, OFlags, Statx, StatxFlags};

/// How much of a listing the kernel is asked for at a time.
const LISTING_BYTES: usize = 8192;
/// Names of attributes that are longer together are left to who wants to know them.
const NAMES_BYTES: usize = 1024;
/// Most files have one name, or none.
const FEW_NAMES_BYTES: usize = 64;
/// How often an entry is looked at that is now a directory and now none.
const ATTEMPTS: u32 = 5;
/// What there is room for at once: as much as most extensions have.
const USUAL_ENTRIES: usize = 32;
const USUAL_BYTES: usize = 1024;
const USUAL_NAMES: usize = 16;
const USUAL_LEVELS: usize = 4;

/// What is below a directory: directories before what is in them, names sorted by their bytes.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The paths of all entries, one after the other.
    paths: Vec<u8>,
    entries: Vec<Entry>,
    /// The directories for hierarchies, open.
    hierarchies: Vec<(&'static str, Arc<OwnedFd>)>,
}

/// Something below the directory.
#[derive(Debug)]
struct Entry {
    path: std::ops::Range<usize>,
    metadata: Metadata,
    attributes: Attributes,
}

/// What is known of the extended attributes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attributes {
    /// Nobody has looked, or they could not be listed.
    Unknown,
    /// There are none.
    None,
    /// There are some, and none of them tells an overlay anything.
    Others,
    /// One of them tells an overlay something.
    Overlay,
}

/// One entry, for who goes through all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// From the directory.
    pub(crate) path: &'a [u8],
    pub(crate) metadata: &'a Metadata,
    pub(crate) attributes: Attributes,
}

impl Tree {
    /// Looks at everything below `root`, of which this is known. It must be open for reading and not listed yet.
    ///
    /// # Errors
    ///
    /// As [`confext_ddi::fs::walk`]: the first one ends it.
    pub(super) fn look(root: BorrowedFd<'_>, stat: &Statx, limits: &Limits) -> Result<Self> {
        let tree = Self {
            paths: Vec::with_capacity(USUAL_BYTES),
            entries: Vec::with_capacity(USUAL_ENTRIES),
            hierarchies: Vec::new(),
        };
        let levels = Vec::with_capacity(USUAL_LEVELS);
        let mut look = Look { limits, tree, levels, spare: Vec::new(), lists_entries: true };
        look.enter(0..0, id(stat), Open::Root(root))?;
        while let Some(level) = look.levels.last_mut() {
            if !level.names.advance() {
                look.spare.extend(look.levels.pop().map(|level| level.names));
            } else if let Some((path, id, directory)) = look.visit()? {
                look.enter(path, id, directory)?;
            }
        }
        Ok(look.tree)
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All entries, directories before what is in them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Seen<'_>> {
        self.entries.iter().map(|entry| self.seen(entry))
    }

    /// The entries below a directory, with their whole paths.
    pub(crate) fn below<'a>(&'a self, directory: &'a [u8]) -> impl Iterator<Item = Seen<'a>> {
        let first = match directory {
            b"" => 0,
            _ => self.position(directory).map_or(self.entries.len(), |at| at.saturating_add(1)),
        };
        let rest = self.entries.get(first..).unwrap_or_default();
        rest.iter().map(|entry| self.seen(entry)).take_while(|seen| is_below(seen.path, directory))
    }

    /// What is at a path.
    ///
    /// # Errors
    ///
    /// `no-such-file`; `not-a-directory` when something else is on the way.
    pub(crate) fn get(&self, path: &[u8]) -> Result<Seen<'_>> {
        if let Some(seen) = self.find(path) {
            return Ok(seen);
        }
        let mut outer = path;
        while let Some(slash) = outer.iter().rposition(|&byte| byte == b'/') {
            outer = outer.get(..slash).unwrap_or_default();
            match self.find(outer).map(|seen| seen.metadata.file_type) {
                None | Some(FileType::Directory) => {}
                Some(FileType::Symlink) => return Err(at(path, Errno::LOOP.into())),
                Some(_) => return Err(at(path, Errno::NOTDIR.into())),
            }
        }
        Err(at(path, Errno::NOENT.into()))
    }

    /// The entries of a directory, sorted by name.
    ///
    /// # Errors
    ///
    /// As [`Tree::get`]; `not-a-directory`.
    pub(super) fn list(&self, directory: &[u8]) -> Result<Vec<DirEntry>> {
        if !directory.is_empty() && self.get(directory)?.metadata.file_type != FileType::Directory {
            return Err(at(directory, Errno::NOTDIR.into()));
        }
        let skip = if directory.is_empty() { 0 } else { directory.len().saturating_add(1) };
        let name = |seen: Seen<'_>| {
            let name = seen.path.get(skip..).filter(|name| !name.contains(&b'/'))?;
            Some(DirEntry { name: name.to_vec(), file_type: seen.metadata.file_type })
        };
        Ok(self.below(directory).filter_map(name).collect())
    }

    /// The directory for a hierarchy as it was looked at, still open.
    pub(crate) fn hierarchy(&self, path: &str) -> Option<&Arc<OwnedFd>> {
        self.hierarchies.iter().find(|(name, _)| *name == path).map(|(_, directory)| directory)
    }

    fn find(&self, path: &[u8]) -> Option<Seen<'_>> {
        self.position(path).and_then(|at| self.entries.get(at)).map(|entry| self.seen(entry))
    }

    fn position(&self, path: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|entry| order(self.path(entry), path)).ok()
    }

    fn path(&self, entry: &Entry) -> &[u8] {
        self.paths.get(entry.path.clone()).unwrap_or_default()
    }

    fn seen<'a>(&'a self, entry: &'a Entry) -> Seen<'a> {
        Seen { path: self.path(entry), metadata: &entry.metadata, attributes: entry.attributes }
    }
}

/// Directories before what is in them: a slash comes before every byte that can be in a name.
fn order(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let differs = a.iter().zip(b).find(|(one, other)| one != other);
    differs.map_or_else(|| a.len().cmp(&b.len()), |(one, other)| rank(one).cmp(&rank(other)))
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// A look that is under way.
struct Look<'a> {
    limits: &'a Limits,
    tree: Tree,
    levels: Vec<Level<'a>>,
    /// Of directories that are done, for the next ones.
    spare: Vec<Names>,
    /// Whether the kernel lists attributes of the entry of a directory.
    lists_entries: bool,
}

/// A directory on the way to where the look is.
struct Level<'a> {
    path: std::ops::Range<usize>,
    id: Id,
    directory: Open<'a>,
    names: Names,
}

/// The names in a directory, one after the other and sorted by bytes, with what the listing says of their kind.
#[derive(Debug)]
struct Names {
    bytes: Vec<u8>,
    sorted: Vec<(std::ops::Range<usize>, rustix::fs::FileType)>,
    /// One more than the place of the one at hand.
    next: usize,
}

impl Names {
    /// For as many as most directories have.
    fn with_room() -> Self {
        Self { bytes: Vec::with_capacity(USUAL_NAMES * 16), sorted: Vec::with_capacity(USUAL_NAMES), next: 0 }
    }

    /// Reads all names of a directory in the place of what was there.
    fn read(&mut self, directory: BorrowedFd<'_>, path: &[u8], limits: &Limits) -> Result<()> {
        let Self { bytes, sorted, next } = self;
        bytes.clear();
        sorted.clear();
        *next = 0;
        let mut buffer = [MaybeUninit::uninit(); LISTING_BYTES];
        let mut listing = rustix::fs::RawDir::new(directory, &mut buffer);
        while let Some(entry) = listing.next() {
            let entry = entry.map_err(|errno| at(path, errno.into()))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let start = bytes.len();
            bytes.extend_from_slice(name);
            sorted.push((start..bytes.len(), entry.file_type()));
            let (found, most) = (u64::try_from(sorted.len()).unwrap_or(u64::MAX), limits.entries);
            if found > most {
                return Err(LimitExceeded::Count { what: "directory entries", found, most }.into());
            }
        }
        sorted.sort_unstable_by(|(a, _), (b, _)| bytes.get(a.clone()).cmp(&bytes.get(b.clone())));
        Ok(())
    }

    /// Goes on to the next name, if there is one.
    fn advance(&mut self) -> bool {
        let more = self.next < self.sorted.len();
        self.next = self.next.saturating_add(usize::from(more));
        more
    }

    /// The name at hand.
    fn current(&self) -> Option<(&[u8], rustix::fs::FileType)> {
        let (range, kind) = self.sorted.get(self.next.checked_sub(1)?)?;
        Some((self.bytes.get(range.clone())?, *kind))
    }
}

/// An open directory.
enum Open<'a> {
    Root(BorrowedFd<'a>),
    Below(Arc<OwnedFd>),
}

type Id = (u32, u32, u64);

/// A directory to look into: its path, what it is, and it.
type Entered<'a> = (std::ops::Range<usize>, Id, Open<'a>);

fn id(stat: &Statx) -> Id {
    (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)
}

impl Open<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(root) => *root,
            Self::Below(directory) => directory.as_fd(),
        }
    }
}

impl<'a> Look<'a> {
    fn enter(&mut self, path: std::ops::Range<usize>, id: Id, directory: Open<'a>) -> Result<()> {
        let text = self.tree.paths.get(path.clone()).unwrap_or_default();
        if self.levels.iter().any(|level| level.id == id) {
            let path = String::from_utf8_lossy(text).into_owned();
            return Err(Corrupt::DirectoryLoop { path }.into());
        }
        let depth = u64::try_from(self.levels.len()).unwrap_or(u64::MAX);
        let most = u64::from(self.limits.depth);
        if depth >= most {
            return Err(LimitExceeded::Count { what: "levels of directories", found: depth, most }.into());
        }
        let mut names = self.spare.pop().unwrap_or_else(Names::with_room);
        names.read(directory.fd(), text, self.limits)?;
        self.levels.push(Level { path, id, directory, names });
        Ok(())
    }

    /// Looks at the entry at hand of the directory on top; if it is a directory, that is what to look into next.
    fn visit(&mut self) -> Result<Option<Entered<'a>>> {
        let (found, most) = (u64::try_from(self.tree.entries.len()).unwrap_or(u64::MAX), self.limits.entries);
        if found >= most {
            let found = found.saturating_add(1);
            return Err(LimitExceeded::Count { what: "files in a tree", found, most }.into());
        }
        let Some(level) = self.levels.last() else { return Ok(None) };
        let Some((name, kind)) = level.names.current() else { return Ok(None) };
        let start = self.tree.paths.len();
        if !level.path.is_empty() {
            self.tree.paths.extend_from_within(level.path.clone());
            self.tree.paths.push(b'/');
        }
        self.tree.paths.extend_from_slice(name);
        let path = start..self.tree.paths.len();
        let text = self.tree.paths.get(path.clone()).unwrap_or_default();
        let top = level.directory.fd();
        let (stat, opened) = look_at(top, name, kind).map_err(|error| at(text, error))?;
        let metadata = metadata_of(&stat).map_err(|error| at(text, error))?;
        let wanted = hierarchy_of(text).is_some()
            && matches!(metadata.file_type, FileType::Directory | FileType::Regular);
        let attributes = match &opened {
            _ if !wanted => Attributes::Unknown,
            Some(directory) => attributes(|buffer| rustix::fs::flistxattr(directory, buffer)),
            None if !self.lists_entries => Attributes::Unknown,
            None => attributes(|buffer| {
                let listed = sys::list_attributes(top, name, buffer);
                self.lists_entries = listed != Err(Errno::NOSYS);
                listed
            }),
        };
        self.tree.entries.push(Entry { path: path.clone(), metadata, attributes });
        let Some(directory) = opened.map(Arc::new) else { return Ok(None) };
        let text = self.tree.paths.get(path.clone()).unwrap_or_default();
        if let Some(hierarchy) = HIERARCHIES.iter().find(|hierarchy| hierarchy.as_bytes() == text) {
            self.tree.hierarchies.push((hierarchy, Arc::clone(&directory)));
        }
        Ok(Some((path, id(&stat), Open::Below(directory))))
    }
}

const HIERARCHIES: [&str; 3] = ["usr", "opt", "etc"];

/// The hierarchy that a path is below.
fn hierarchy_of(path: &[u8]) -> Option<&'static str> {
    HIERARCHIES.into_iter().find(|hierarchy| is_below(path, hierarchy.as_bytes()))
}

/// What an entry is; a directory is opened, and then that is what is asked.
fn look_at(
    top: BorrowedFd<'_>,
    name: &[u8],
    mut kind: rustix::fs::FileType,
) -> io::Result<(Statx, Option<OwnedFd>)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for _ in 0..ATTEMPTS {
        if kind == rustix::fs::FileType::Directory {
            match rustix::fs::openat(top, name, flags, Mode::empty()) {
                Ok(directory) => return Ok((statx(directory.as_fd())?, Some(directory))),
                // Something else is in its place by now.
                Err(Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let stat = sys::statx(top, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
        kind = rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode));
        if kind != rustix::fs::FileType::Directory {
            return Ok((stat, None));
        }
    }
    Err(Errno::STALE.into())
}

/// What the names of attributes say. What cannot be told here is asked again by who wants to know it, and fails there.
fn attributes(mut list: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> Attributes {
    // The kernel takes as much memory as it is given, before it looks.
    let (mut few, mut many) = ([0; FEW_NAMES_BYTES], Vec::new());
    let mut buffer = &mut few[..];
    let mut listed = list(buffer);
    if listed == Err(Errno::RANGE) {
        many.resize(NAMES_BYTES, 0);
        buffer = &mut many;
        listed = list(buffer);
    }
    let len = match listed {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Attributes::None,
        Ok(len) => len,
        Err(_) => return Attributes::Unknown,
    };
    let mut names = buffer.get(..len).unwrap_or_default().split(|&byte| byte == 0);
    if names.any(rules::is_overlay_attribute) { Attributes::Overlay } else { Attributes::Others }
}

#[cfg(test)]
mod tests {
    use super::super::{Directory, join, lookup};
    use super::*;
    use confext_ddi::fs::{self, FileSystem as _};
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn open(path: &Path, limits: &Limits) -> Directory {
        Directory::new(std::fs::File::open(path).unwrap().into(), limits)
    }

    fn look(files: &mut Directory) -> Result<&Tree> {
        let stat = statx(files.fd()).unwrap();
        files.look_at_all(&stat)
    }

    /// Names whose order is another one when they are compared together with a slash.
    fn example() -> tempfile::TempDir {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        for path in ["etc/a/b/c", "etc/a.x/y", "etc/a-b", "etc/a/z", "usr/lib/x", "other/x", "top"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"1").unwrap();
        }
        std::fs::create_dir(dir.path().join("opt")).unwrap();
        symlink("a", dir.path().join("etc/link")).unwrap();
        dir
    }

    #[test]
    fn a_file_is_read_to_its_end_whatever_was_seen_of_it() {
        let (dir, limits) = (example(), Limits::default());
        let mut files = open(dir.path(), &limits);
        look(&mut files).unwrap();
        for text in ["", "1", "2", "longer than before", &"x".repeat(4096), &"y".repeat(10_000)] {
            std::fs::write(dir.path().join("top"), text).unwrap();
            assert_eq!(files.read(b"top").unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn it_answers_like_the_directory_itself() {
        let (dir, limits) = (example(), Limits::default());
        let (live, mut known) = (open(dir.path(), &limits), open(dir.path(), &limits));
        look(&mut known).unwrap();
        let walked = |files: &Directory| fs::walk(files, b"", &limits).unwrap().map(Result::unwrap).collect();
        let all: Vec<(Vec<u8>, Metadata)> = walked(&live);
        assert_eq!(all, walked(&known));
        let tree = known.tree().unwrap();
        let seen: Vec<_> = tree.iter().map(|seen| (seen.path.to_vec(), seen.metadata.clone())).collect();
        assert_eq!(all, seen);
        let missing =
            ["nothing", "etc/nothing/below", "etc/a-b/below", "etc/link/b", "etc/a/", "/etc", ".", ""];
        let paths =
            all.iter().map(|(path, _)| path.clone()).chain(missing.map(|path| path.as_bytes().to_vec()));
        for path in paths {
            let code = |error: confext_ddi::Error| (error.code(), error.to_string());
            let shown = String::from_utf8_lossy(&path).into_owned();
            assert_eq!(known.stat(&path).map_err(code), live.stat(&path).map_err(code), "{shown}");
            assert_eq!(known.xattrs(&path).map_err(code), live.xattrs(&path).map_err(code), "{shown}");
            assert_eq!(
                known.read_dir(&path).map_err(|error| error.code()),
                live.read_dir(&path).map_err(|error| error.code()),
                "{shown}"
            );
        }
        let below: Vec<_> = tree.below(b"etc/a").map(|seen| seen.path.to_vec()).collect();
        assert_eq!(below, [&b"etc/a/b"[..], b"etc/a/b/c", b"etc/a/z"]);
        assert_eq!(tree.below(b"top").count() + tree.below(b"et").count() + tree.below(b"opt").count(), 0);
        for (hierarchy, expected) in
            [("usr", true), ("opt", true), ("etc", true), ("other", false), ("a", false)]
        {
            assert_eq!(tree.hierarchy(hierarchy).is_some(), expected, "{hierarchy}");
        }
    }

    #[test]
    fn what_was_seen_stays() {
        let (dir, limits) = (example(), Limits::default());
        let mut files = open(dir.path(), &limits);
        look(&mut files).unwrap();
        std::fs::remove_dir_all(dir.path().join("etc/a")).unwrap();
        std::fs::write(dir.path().join("etc/new"), b"").unwrap();
        assert!(lookup(&files, b"etc/a/b/c").unwrap().is_some());
        assert_eq!(lookup(&files, b"etc/new").unwrap(), None);
        assert_eq!(files.read_dir(b"etc/a").unwrap().len(), 2);
    }

    #[test]
    fn limits_end_it_as_they_end_a_walk() {
        let dir = example();
        for (entries, depth) in [(3, 64), (9, 64), (100, 1), (100, 3)] {
            let mut limits = Limits::default();
            (limits.entries, limits.depth) = (entries, depth);
            let walked = fs::walk(&open(dir.path(), &limits), b"", &limits)
                .and_then(|walk| walk.collect::<Result<Vec<_>>>().map(|_| ()));
            let looked = look(&mut open(dir.path(), &limits)).map(|_| ());
            let code = |result: Result<()>| result.unwrap_err().to_string();
            assert_eq!(code(looked), code(walked), "{limits:?}");
        }
        assert!(look(&mut open(dir.path(), &Limits::default())).is_ok());
    }

    #[test]
    fn a_directory_that_is_open_as_a_place_is_opened() {
        let dir = example();
        let place = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let mut files = Directory::new(place, &Limits::default());
        assert_eq!(look(&mut files).unwrap().iter().count(), 16);
    }

    #[test]
    fn attributes_are_told_by_their_names() {
        for (names, expected) in [
            (&b""[..], Attributes::None),
            (b"security.selinux\0user.a\0", Attributes::Others),
            (b"user.a\0trusted.overlay.opaque\0", Attributes::Overlay),
            (b"trusted.overlay.\0", Attributes::Overlay),
            (b"user.overlay.opaque\0", Attributes::Others),
        ] {
            let list = |buffer: &mut [u8]| {
                buffer[..names.len()].copy_from_slice(names);
                Ok(names.len())
            };
            assert_eq!(attributes(list), expected, "{names:?}");
        }
        assert_eq!(attributes(|_| Err(Errno::OPNOTSUPP)), Attributes::None);
        assert_eq!(attributes(|_| Err(Errno::RANGE)), Attributes::Unknown);
        let (dir, limits) = (example(), Limits::default());
        for (path, name) in [("etc/a-b", "user.a"), ("other/x", "user.a")] {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(dir.path().join(path), name, b"1", flags).unwrap();
        }
        let mut files = open(dir.path(), &limits);
        let tree = look(&mut files).unwrap();
        let of = |path: &[u8]| tree.get(path).unwrap().attributes;
        let expected = [Attributes::Others, Attributes::Unknown, Attributes::Unknown];
        assert_eq!([of(b"etc/a-b"), of(b"other/x"), of(b"etc/link")], expected);
        let listed = tree.get(&join(b"etc/a", b"b")).unwrap();
        assert!(matches!(listed.attributes, Attributes::None | Attributes::Others));
        assert_eq!(files.xattrs(b"etc/a-b").unwrap(), [(b"user.a".to_vec(), b"1".to_vec())]);
    }
}
