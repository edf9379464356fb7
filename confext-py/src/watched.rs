//! A file system whose reader hears how much was read, and can end it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use confext_ddi::error::Refused;
use confext_ddi::fs::{DirEntry, FileSystem, Metadata, Xattr};
use confext_ddi::fstype::FsType;

use crate::progress::Watcher;

/// The files of another file system.
pub(crate) struct Watched<'a> {
    pub(crate) files: &'a dyn FileSystem,
    pub(crate) watcher: &'a Watcher,
    /// How many bytes were read.
    pub(crate) done: &'a AtomicU64,
    /// How many there are, about.
    pub(crate) total: u64,
}

impl Watched<'_> {
    fn told(&self, bytes: usize) -> confext_ddi::Result<()> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.done.fetch_add(bytes, Ordering::Relaxed);
        let (done, total) = (before.saturating_add(bytes).min(self.total), self.total);
        match self.watcher.tell(done, total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Refused::Cancelled { done, total }.into()),
        }
    }
}

impl FileSystem for Watched<'_> {
    fn fs_type(&self) -> FsType {
        self.files.fs_type()
    }

    fn stat(&self, path: &[u8]) -> confext_ddi::Result<Metadata> {
        self.files.stat(path)
    }

    fn read_dir(&self, path: &[u8]) -> confext_ddi::Result<Vec<DirEntry>> {
        self.told(0)?;
        self.files.read_dir(path)
    }

    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> confext_ddi::Result<usize> {
        let count = self.files.read_at(path, offset, buf)?;
        self.told(count)?;
        Ok(count)
    }

    fn read(&self, path: &[u8]) -> confext_ddi::Result<Vec<u8>> {
        let content = self.files.read(path)?;
        self.told(content.len())?;
        Ok(content)
    }

    fn read_link(&self, path: &[u8]) -> confext_ddi::Result<Vec<u8>> {
        self.files.read_link(path)
    }

    fn xattrs(&self, path: &[u8]) -> confext_ddi::Result<Vec<Xattr>> {
        self.files.xattrs(path)
    }

    fn rest(&self) {
        self.files.rest();
    }
}
