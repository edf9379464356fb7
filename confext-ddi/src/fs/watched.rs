//! A file system of which somebody hears how much is read, and who can end that

use super::{DirEntry, FileSystem, Metadata, Xattr};
use crate::error::Result;
use crate::fstype::FsType;

/// The files of another file system, and somebody who hears of what is read.
///
/// It hears how many bytes of contents each call has read, none of a directory, from whichever thread reads. What it returns as
/// an error ends the call.
///
/// ```
/// use confext_ddi::build::{Meta, Tree};
/// use confext_ddi::fs::{FileSystem as _, Watched};
/// use confext_ddi::{Limits, error::Refused};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// let mut tree = Tree::new();
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// let limits = Limits::default();
/// let (files, read) = (tree.files(&limits), AtomicU64::new(0));
/// let tell = |bytes| {
///     let before = read.fetch_add(bytes, Ordering::Relaxed);
///     if before == 0 { Ok(()) } else { Err(Refused::Cancelled { done: before, total: before }.into()) }
/// };
/// let watched = Watched::new(&files, &tell);
/// assert_eq!(watched.read(b"etc/app.conf")?.len(), 12);
/// assert_eq!(watched.read(b"etc/app.conf").unwrap_err().code(), "cancelled");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
pub struct Watched<'a> {
    files: &'a dyn FileSystem,
    tell: &'a Tell<'a>,
}

/// Who hears how many bytes were read.
type Tell<'a> = dyn Fn(u64) -> Result<()> + Sync + 'a;

impl std::fmt::Debug for Watched<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("fs_type", &self.files.fs_type()).finish_non_exhaustive()
    }
}

impl<'a> Watched<'a> {
    /// Has `tell` hear what is read of `files`.
    #[must_use]
    pub fn new(files: &'a dyn FileSystem, tell: &'a (dyn Fn(u64) -> Result<()> + Sync + 'a)) -> Self {
        Self { files, tell }
    }

    fn told(&self, bytes: usize) -> Result<()> {
        (self.tell)(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

impl FileSystem for Watched<'_> {
    fn fs_type(&self) -> FsType {
        self.files.fs_type()
    }

    fn stat(&self, path: &[u8]) -> Result<Metadata> {
        self.files.stat(path)
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<DirEntry>> {
        self.told(0)?;
        self.files.read_dir(path)
    }

    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize> {
        let count = self.files.read_at(path, offset, buf)?;
        self.told(count)?;
        Ok(count)
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>> {
        let content = self.files.read(path)?;
        self.told(content.len())?;
        Ok(content)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.files.read_link(path)
    }

    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>> {
        self.files.xattrs(path)
    }

    fn rest(&self) {
        self.files.rest();
    }
}
