//! [`Below`]: a file system seen where it would be mounted.

use confext_ddi::error::{Lookup, Result};
use confext_ddi::fs::{DirEntry, FileSystem, FileType, Metadata, Xattr};
use confext_ddi::fstype::FsType;

/// A file system below a directory of an otherwise empty root: a usr partition as an extension has it.
pub struct Below<'a> {
    name: &'static str,
    files: Box<dyn FileSystem + 'a>,
}

impl std::fmt::Debug for Below<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Below").field("name", &self.name).finish_non_exhaustive()
    }
}

enum Place<'p> {
    Root,
    Inside(&'p [u8]),
}

impl<'a> Below<'a> {
    /// Puts `files` at the directory `name` of the root.
    #[must_use]
    pub fn new(name: &'static str, files: Box<dyn FileSystem + 'a>) -> Self {
        Self { name, files }
    }

    fn place<'p>(&self, path: &'p [u8]) -> Result<Place<'p>> {
        let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
        let path = path.get(start..).unwrap_or_default();
        if path.is_empty() {
            return Ok(Place::Root);
        }
        match path.strip_prefix(self.name.as_bytes()) {
            Some(rest @ ([] | [b'/', ..])) => Ok(Place::Inside(rest)),
            _ => Err(Lookup::NoSuchFile { path: String::from_utf8_lossy(path).into_owned() }.into()),
        }
    }

    fn inside<'p>(&self, path: &'p [u8]) -> Result<&'p [u8]> {
        match self.place(path)? {
            Place::Inside(inside) => Ok(inside),
            Place::Root => {
                Err(Lookup::NotAFile { path: String::new(), found: FileType::Directory.as_str() }.into())
            }
        }
    }
}

impl FileSystem for Below<'_> {
    fn fs_type(&self) -> FsType {
        self.files.fs_type()
    }

    fn stat(&self, path: &[u8]) -> Result<Metadata> {
        match self.place(path)? {
            Place::Inside(inside) => self.files.stat(inside),
            // Like the directory it holds, but no inode of that file system.
            Place::Root => Ok(Metadata { ino: 0, nlink: 3, ..self.files.stat(b"")? }),
        }
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<DirEntry>> {
        match self.place(path)? {
            Place::Inside(inside) => self.files.read_dir(inside),
            Place::Root => {
                Ok(vec![DirEntry { name: self.name.as_bytes().to_vec(), file_type: FileType::Directory }])
            }
        }
    }

    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.files.read_at(self.inside(path)?, offset, buf)
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.files.read(self.inside(path)?)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.files.read_link(self.inside(path)?)
    }

    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>> {
        match self.place(path)? {
            Place::Inside(inside) => self.files.xattrs(inside),
            Place::Root => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Directory, lookup};
    use super::*;
    use confext_ddi::limits::Limits;

    #[test]
    fn a_usr_partition_is_seen_at_usr() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::write(dir.path().join("bin/tool"), b"x").unwrap();
        let files = Directory::new(std::fs::File::open(dir.path()).unwrap().into(), &Limits::default());
        let below = Below::new("usr", Box::new(files));
        assert_eq!(below.read(b"usr/bin/tool").unwrap(), b"x");
        assert_eq!(below.read_dir(b"/").unwrap()[0].name, b"usr");
        assert_eq!(below.read_dir(b"usr").unwrap()[0].name, b"bin");
        assert!(lookup(&below, b"bin/tool").unwrap().is_none());
        assert!(lookup(&below, b"usrbin").unwrap().is_none());
        let seen: Vec<_> = confext_ddi::fs::walk(&below, b"", &Limits::default())
            .unwrap()
            .map(|entry| String::from_utf8(entry.unwrap().0).unwrap())
            .collect();
        assert_eq!(seen, ["usr", "usr/bin", "usr/bin/tool"]);
        assert_eq!(below.read(b"").unwrap_err().code(), "not-a-file");
    }
}
