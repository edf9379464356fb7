//! [`Portion`]: the files of an extension in one hierarchy, as they are written to memory.

use confext_ddi::Result;
use confext_ddi::fs::{DirEntry, FileSystem, FileType, Metadata, Xattr};
use confext_ddi::fstype::FsType;
use confext_ddi::lint::rules;

use crate::directory::join;

/// What an overlay of a user obeys.
pub(super) const OPAQUE: &[u8] = b"user.overlay.opaque";

/// A directory of a file system as a file system. Device nodes are left out, as nobody could open them; what tells an
/// overlay to hide is said as an overlay of a user reads it.
pub(super) struct Portion<'a> {
    files: &'a dyn FileSystem,
    root: &'static str,
}

impl<'a> Portion<'a> {
    pub(super) fn new(files: &'a dyn FileSystem, root: &'static str) -> Self {
        Self { files, root }
    }

    fn inside(&self, path: &[u8]) -> Vec<u8> {
        if path.is_empty() { self.root.as_bytes().to_vec() } else { join(self.root.as_bytes(), path) }
    }
}

impl FileSystem for Portion<'_> {
    fn fs_type(&self) -> FsType {
        self.files.fs_type()
    }

    fn stat(&self, path: &[u8]) -> Result<Metadata> {
        self.files.stat(&self.inside(path))
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<DirEntry>> {
        let inside = self.inside(path);
        let mut found = Vec::new();
        for entry in self.files.read_dir(&inside)? {
            let usable = match entry.file_type {
                FileType::BlockDevice => false,
                FileType::CharDevice => rules::is_whiteout(&self.files.stat(&join(&inside, &entry.name))?),
                _ => true,
            };
            if usable {
                found.push(entry);
            }
        }
        Ok(found)
    }

    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.files.read_at(&self.inside(path), offset, buf)
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.files.read(&self.inside(path))
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.files.read_link(&self.inside(path))
    }

    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>> {
        let renamed = |(name, value): Xattr| match name.as_slice() {
            b"trusted.overlay.opaque" => Some((OPAQUE.to_vec(), value)),
            // Of the image's own making: no merge with root obeys it.
            name if name.starts_with(b"user.overlay.") => None,
            _ => Some((name, value)),
        };
        Ok(self.files.xattrs(&self.inside(path))?.into_iter().filter_map(renamed).collect())
    }
}
