//! A file system seen where it would be mounted.

use super::path::{display, plain_components};
use super::{DirEntry, FileSystem, FileType, Metadata, Xattr};
use crate::Limits;
use crate::error::{Lookup, Result};
use crate::fstype::FsType;

/// A file system at a directory of an otherwise empty root: the usr partition of an image, at `usr`.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, fs::{Below, FileSystem as _}};
///
/// // The file system of a usr partition has `bin/app`; on a host that is `/usr/bin/app`.
/// let mut tree = Tree::new();
/// tree.add_file("bin/app", "#!/bin/sh\n", Meta::new(0o755))?;
/// let limits = Limits::default();
/// let files = Below::new("usr", Box::new(tree.files(&limits)), &limits);
/// assert_eq!(files.read(b"usr/bin/app")?, b"#!/bin/sh\n");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
pub struct Below<'a> {
    directory: &'static str,
    inner: Box<dyn FileSystem + 'a>,
    limits: Limits,
}

impl<'a> Below<'a> {
    /// Puts `inner` at `directory`, a name without slashes.
    #[must_use]
    pub fn new(directory: &'static str, inner: Box<dyn FileSystem + 'a>, limits: &Limits) -> Self {
        Self { directory, inner, limits: limits.clone() }
    }

    /// The path in the inner file system; `None` for the root, which is not in it.
    fn inside(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let components = plain_components(path, &self.limits)?;
        match components.split_first() {
            None => Ok(None),
            Some((first, rest)) if *first == self.directory.as_bytes() => Ok(Some(rest.join(&b'/'))),
            Some(_) => Err(Lookup::NoSuchFile { path: display(path) }.into()),
        }
    }

    fn inside_file(&self, path: &[u8]) -> Result<Vec<u8>> {
        let found = FileType::Directory.as_str();
        self.inside(path)?.ok_or_else(|| Lookup::NotAFile { path: display(path), found }.into())
    }
}

impl std::fmt::Debug for Below<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Below").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl FileSystem for Below<'_> {
    fn fs_type(&self) -> FsType {
        self.inner.fs_type()
    }

    fn stat(&self, path: &[u8]) -> Result<Metadata> {
        match self.inside(path)? {
            Some(path) => self.inner.stat(&path),
            // The root is no file of the inner file system; it looks like the one directory in it.
            None => Ok(Metadata { ino: u64::MAX, nlink: 3, ..self.inner.stat(b"")? }),
        }
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<DirEntry>> {
        match self.inside(path)? {
            Some(path) => self.inner.read_dir(&path),
            None => {
                let name = self.directory.as_bytes().to_vec();
                Ok(vec![DirEntry { name, file_type: FileType::Directory }])
            }
        }
    }

    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.inner.read_at(&self.inside_file(path)?, offset, buf)
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.inner.read(&self.inside_file(path)?)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let found = FileType::Directory.as_str();
        match self.inside(path)? {
            Some(path) => self.inner.read_link(&path),
            None => Err(Lookup::NotASymlink { path: display(path), found }.into()),
        }
    }

    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>> {
        self.inside(path)?.map_or_else(|| Ok(Vec::new()), |path| self.inner.xattrs(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFs;
    use super::super::{resolve, walk};
    use super::*;

    #[test]
    fn a_usr_partition_is_seen_at_usr() {
        let mut inner = MemoryFs::new();
        inner.file("bin/tool", "x");
        inner.symlink("link", "/usr/bin");
        let limits = Limits::default();
        let below = Below::new("usr", Box::new(inner), &limits);
        assert_eq!(below.read(b"/usr/bin/tool").unwrap(), b"x");
        assert_eq!(resolve(&below, b"usr/link/tool", &limits).unwrap(), b"usr/bin/tool");
        assert_eq!((below.stat(b"").unwrap().nlink, below.xattrs(b"/").unwrap()), (3, vec![]));
        let seen: Vec<_> = walk(&below, b"", &limits)
            .unwrap()
            .map(|entry| String::from_utf8(entry.unwrap().0).unwrap())
            .collect();
        assert_eq!(seen, ["usr", "usr/bin", "usr/bin/tool", "usr/link"]);
        for (path, code) in [
            ("bin/tool", "no-such-file"),
            ("usrbin", "no-such-file"),
            ("usr/nothing", "no-such-file"),
            ("", "not-a-file"),
            ("../usr", "path-syntax"),
        ] {
            assert_eq!(below.read(path.as_bytes()).unwrap_err().code(), code, "{path}");
        }
        assert_eq!(below.read_link(b"").unwrap_err().code(), "not-a-symlink");
    }
}
