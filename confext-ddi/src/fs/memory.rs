//! A file system in memory, for the tests of what works on any file system.

use super::path::{display, plain_components};
use super::{DirEntry, FileSystem, FileType, Metadata, Xattr};
use crate::Limits;
use crate::error::{Lookup, Result};
use crate::fstype::FsType;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Content {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
}

type Node = (Content, Vec<Xattr>);

/// Files by path; parent directories are made as needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryFs {
    nodes: BTreeMap<Vec<u8>, Node>,
}

impl MemoryFs {
    pub(crate) fn new() -> Self {
        let mut fs = Self::default();
        fs.nodes.insert(Vec::new(), (Content::Directory, Vec::new()));
        fs
    }

    pub(crate) fn file(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.add(path, Content::File(content.into()));
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.add(path, Content::Symlink(target.into()));
    }

    pub(crate) fn directory(&mut self, path: &str) {
        self.add(path, Content::Directory);
    }

    pub(crate) fn xattr(&mut self, path: &str, name: &str, value: &str) {
        let node = self.nodes.get_mut(path.as_bytes()).unwrap();
        node.1.push((name.into(), value.into()));
    }

    fn add(&mut self, path: &str, content: Content) {
        for (slash, _) in path.match_indices('/') {
            self.nodes.entry(path[..slash].into()).or_insert((Content::Directory, Vec::new()));
        }
        self.nodes.insert(path.into(), (content, Vec::new()));
    }

    fn node(&self, path: &[u8]) -> Result<(Vec<u8>, &Node)> {
        let path = plain_components(path, &Limits::default())?.join(&b'/');
        let node = self.nodes.get(&path).ok_or_else(|| Lookup::NoSuchFile { path: display(&path) })?;
        Ok((path, node))
    }

    fn file_at(&self, path: &[u8]) -> Result<&[u8]> {
        match &self.node(path)?.1.0 {
            Content::File(content) => Ok(content),
            _ => Err(Lookup::NotAFile { path: display(path), found: "directory" }.into()),
        }
    }
}

impl FileSystem for MemoryFs {
    fn fs_type(&self) -> FsType {
        FsType::Erofs
    }

    fn stat(&self, path: &[u8]) -> Result<Metadata> {
        let (path, (content, _)) = self.node(path)?;
        let (file_type, size) = match content {
            Content::Directory => (FileType::Directory, 0),
            Content::File(content) => (FileType::Regular, content.len()),
            Content::Symlink(target) => (FileType::Symlink, target.len()),
        };
        Ok(Metadata {
            file_type,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size_bytes: size as u64,
            mtime_sec: 0,
            mtime_nsec: 0,
            nlink: 1,
            rdev: None,
            ino: self.nodes.range(..path).count() as u64,
        })
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<DirEntry>> {
        let (path, (content, _)) = self.node(path)?;
        let Content::Directory = content else {
            return Err(Lookup::NotADirectory { path: display(&path), found: "regular file" }.into());
        };
        let prefix = if path.is_empty() { path } else { [path.as_slice(), b"/"].concat() };
        let children = self.nodes.iter().filter_map(|(path, (content, _))| {
            let name = path.strip_prefix(prefix.as_slice())?;
            let file_type = match content {
                Content::Directory => FileType::Directory,
                Content::File(_) => FileType::Regular,
                Content::Symlink(_) => FileType::Symlink,
            };
            (!name.is_empty() && !name.contains(&b'/')).then(|| DirEntry { name: name.to_vec(), file_type })
        });
        Ok(children.collect())
    }

    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize> {
        let content = self.file_at(path)?;
        let rest = content.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.file_at(path).map(<[u8]>::to_vec)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        match &self.node(path)?.1.0 {
            Content::Symlink(target) => Ok(target.clone()),
            _ => Err(Lookup::NotASymlink { path: display(path), found: "regular file" }.into()),
        }
    }

    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>> {
        Ok(self.node(path)?.1.1.clone())
    }
}
