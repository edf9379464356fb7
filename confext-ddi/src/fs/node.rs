//! From inodes to paths: what every format needs to be a [`FileSystem`].

use super::path::{display, plain_components};
use super::{DirEntry, FileSystem, FileType, Metadata, Xattr};
use crate::Limits;
use crate::error::{Corrupt, LimitExceeded, Lookup, Result, ResultExt as _};
use crate::fstype::FsType;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// An entry of a directory with the inode it leads to.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) name: Vec<u8>,
    pub(super) file_type: FileType,
    pub(super) id: u64,
}

/// A format's inodes, by an identifier that is found in directories.
pub(super) trait Inodes: Send + Sync {
    type Inode;
    fn fs_type(&self) -> FsType;
    fn root(&self) -> u64;
    /// Whether names that differ only in the case of ASCII letters are the same name.
    fn ignores_case(&self) -> bool {
        false
    }
    fn inode(&self, id: u64) -> Result<Self::Inode>;
    fn metadata(&self, inode: &Self::Inode) -> Metadata;
    /// The entries of a directory without `.` and `..`, sorted by name, each name once.
    fn list(&self, directory: &Self::Inode) -> Result<Vec<Child>>;
    /// Reads from a regular file; `buf` ends before the file does and is not empty.
    fn read(&self, file: &Self::Inode, offset: u64, buf: &mut [u8]) -> Result<()>;
    fn target(&self, link: &Self::Inode) -> Result<Vec<u8>>;
    fn xattrs(&self, inode: &Self::Inode) -> Result<Vec<Xattr>>;
}

/// A format's inodes behind paths.
pub(super) struct ByPath<I> {
    inodes: I,
    limits: Limits,
    listings: Mutex<Listings>,
}

impl<I: Inodes> ByPath<I> {
    pub(super) fn new(inodes: I, limits: &Limits) -> Self {
        Self { inodes, limits: limits.clone(), listings: Mutex::new(Listings::default()) }
    }

    fn listing(&self, id: u64, path: &[u8]) -> Result<Arc<Vec<Child>>> {
        if let Some(listing) = self.lock_listings().get(id) {
            return Ok(listing);
        }
        let inode = self.inodes.inode(id)?;
        let found = self.inodes.metadata(&inode).file_type;
        if found != FileType::Directory {
            return Err(Lookup::NotADirectory { path: display(path), found: found.as_str() }.into());
        }
        let listing = Arc::new(self.inodes.list(&inode)?);
        self.lock_listings().put(id, &listing);
        Ok(listing)
    }

    fn lock_listings(&self) -> std::sync::MutexGuard<'_, Listings> {
        // What is cached is whole at any time, also when a reader panicked.
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, path: &[u8]) -> Result<u64> {
        let mut id = self.inodes.root();
        for component in plain_components(path, &self.limits)? {
            let listing = self.listing(id, path)?;
            let as_listed = listing.binary_search_by(|child| child.name.as_slice().cmp(component));
            let otherwise = |listing: &[Child]| {
                let same = |child: &Child| child.name.eq_ignore_ascii_case(component);
                listing.iter().position(same).filter(|_| self.inodes.ignores_case())
            };
            id = as_listed
                .ok()
                .or_else(|| otherwise(&listing))
                .and_then(|index| listing.get(index))
                .ok_or_else(|| Lookup::NoSuchFile { path: display(path) })?
                .id;
        }
        Ok(id)
    }

    fn node(&self, path: &[u8]) -> Result<(I::Inode, Metadata)> {
        let inode = self.inodes.inode(self.find(path)?)?;
        let meta = self.inodes.metadata(&inode);
        Ok((inode, meta))
    }

    fn file(&self, path: &[u8]) -> Result<(I::Inode, u64)> {
        let (inode, meta) = self.node(path)?;
        if meta.file_type != FileType::Regular {
            return Err(Lookup::NotAFile { path: display(path), found: meta.file_type.as_str() }.into());
        }
        Ok((inode, meta.size_bytes))
    }

    /// Says in which file system an error came up.
    fn within<T>(&self, result: Result<T>) -> Result<T> {
        result.within(self.inodes.fs_type().as_str())
    }
}

impl<I: Inodes> FileSystem for ByPath<I> {
    fn fs_type(&self) -> FsType {
        self.inodes.fs_type()
    }

    fn stat(&self, path: &[u8]) -> Result<Metadata> {
        self.within(self.node(path).map(|(_, meta)| meta))
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<DirEntry>> {
        let listing = self.within(self.find(path).and_then(|id| self.listing(id, path)))?;
        Ok(listing
            .iter()
            .map(|child| DirEntry { name: child.name.clone(), file_type: child.file_type })
            .collect())
    }

    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut read = || {
            let (inode, size) = self.file(path)?;
            let rest = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
            let len = rest.min(buf.len());
            match buf.get_mut(..len) {
                Some(buf) if len > 0 => self.inodes.read(&inode, offset, buf)?,
                _ => {}
            }
            Ok(len)
        };
        self.within(read())
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>> {
        let read = || {
            let (inode, size) = self.file(path)?;
            let too_large = LimitExceeded::Bytes { what: "file", found: size, most: self.limits.file_bytes };
            let len =
                usize::try_from(size).ok().filter(|_| size <= self.limits.file_bytes).ok_or(too_large)?;
            let mut content = vec![0; len];
            if len > 0 {
                self.inodes.read(&inode, 0, &mut content)?;
            }
            Ok(content)
        };
        self.within(read())
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let read = || {
            let (inode, meta) = self.node(path)?;
            if meta.file_type != FileType::Symlink {
                return Err(
                    Lookup::NotASymlink { path: display(path), found: meta.file_type.as_str() }.into()
                );
            }
            let wrong = Corrupt::SymlinkTarget { path: display(path), found: meta.size_bytes };
            if !(1..=4095).contains(&meta.size_bytes) {
                return Err(wrong.into());
            }
            let target = self.inodes.target(&inode)?;
            if target.contains(&0) { Err(wrong.into()) } else { Ok(target) }
        };
        self.within(read())
    }

    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>> {
        let read = || {
            let (inode, _) = self.node(path)?;
            let mut xattrs = self.inodes.xattrs(&inode)?;
            xattrs.sort();
            if xattrs.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
                let (what, expected) = ("extended attributes", "each name once");
                return Err(Corrupt::FileSystem { what, found: 2, expected }.into());
            }
            Ok(xattrs)
        };
        self.within(read())
    }
}

/// Listings of the directories that were looked at last, so that a walk reads each directory once.
#[derive(Default)]
struct Listings {
    by_id: HashMap<u64, (u64, Arc<Vec<Child>>)>,
    clock: u64,
    entries: usize,
}

impl Listings {
    const MOST_DIRECTORIES: usize = 1024;
    const MOST_ENTRIES: usize = 200_000;

    fn get(&mut self, id: u64) -> Option<Arc<Vec<Child>>> {
        self.clock = self.clock.saturating_add(1);
        let (used, listing) = self.by_id.get_mut(&id)?;
        *used = self.clock;
        Some(Arc::clone(listing))
    }

    fn put(&mut self, id: u64, listing: &Arc<Vec<Child>>) {
        self.clock = self.clock.saturating_add(1);
        self.entries = self.entries.saturating_add(listing.len());
        if let Some((_, old)) = self.by_id.insert(id, (self.clock, Arc::clone(listing))) {
            self.entries = self.entries.saturating_sub(old.len());
        }
        if self.by_id.len() > Self::MOST_DIRECTORIES || self.entries > Self::MOST_ENTRIES {
            self.forget_older_half();
        }
    }

    /// Drops all but the younger half, so that the cost of looking for the oldest is paid rarely.
    fn forget_older_half(&mut self) {
        let mut used: Vec<u64> = self.by_id.values().map(|(used, _)| *used).collect();
        used.sort_unstable();
        let middle = used.get(used.len() / 2).copied().unwrap_or_default();
        self.by_id.retain(|_, (used, _)| *used > middle);
        self.entries =
            self.by_id.values().fold(0, |sum: usize, (_, listing)| sum.saturating_add(listing.len()));
    }
}
