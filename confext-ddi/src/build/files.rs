//! [`Files`]: the entries of a tree, seen as the files of the image they will be.

use super::tree::{Device, Kind, Node, Tree, show};
use crate::error::{LimitExceeded, Lookup, Result};
use crate::fs::{DirEntry, FileSystem, FileType, Metadata, Xattr};
use crate::fstype::FsType;
use crate::limits::Limits;
use crate::units::ByteRange;
use std::io::Cursor;

/// The files of a [`Tree`], for everything that looks at files. Entries without a time have that of 1970-01-01.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, fs::FileSystem as _};
///
/// // What an image will hold, before it is built.
/// let mut tree = Tree::new();
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// let files = tree.files(&Limits::default());
/// assert_eq!(files.read(b"etc/app.conf")?, b"answer = 42\n");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug)]
pub struct Files<'t> {
    tree: &'t Tree,
    /// Names of each node.
    links: Vec<u32>,
    limits: Limits,
}

impl Tree {
    /// The entries as files that can be listed and read.
    #[must_use]
    pub fn files(&self, limits: &Limits) -> Files<'_> {
        let mut links = vec![0_u32; self.node_count()];
        for visit in self.visits() {
            // A directory is named by its parent, by itself and by each directory in it; the root is its own parent.
            let directory = matches!(self.node(visit.node).kind, Kind::Directory(_));
            let parent = directory.then_some(visit.parent);
            let itself = (directory && visit.node != visit.parent).then_some(visit.node);
            for node in [Some(visit.node), parent, itself].into_iter().flatten() {
                if let Some(count) = links.get_mut(node.index()) {
                    *count = count.saturating_add(1);
                }
            }
        }
        Files { tree: self, links, limits: limits.clone() }
    }
}

impl Files<'_> {
    fn node(&self, path: &[u8]) -> Result<(usize, &Node)> {
        let path: Vec<u8> = path.strip_suffix(b"/").unwrap_or(path).to_vec();
        let id = self.tree.find(&path)?.ok_or_else(|| Lookup::NoSuchFile { path: show(&path) })?;
        Ok((id.index(), self.tree.node(id)))
    }
}

impl Kind {
    const fn file_type(&self) -> FileType {
        match self {
            Self::Directory(_) => FileType::Directory,
            Self::File(_) => FileType::Regular,
            Self::Symlink(_) => FileType::Symlink,
            Self::Device(Device::Character { .. }) => FileType::CharDevice,
            Self::Device(Device::Block { .. }) => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

impl FileSystem for Files<'_> {
    fn fs_type(&self) -> FsType {
        FsType::Erofs
    }

    fn stat(&self, path: &[u8]) -> Result<Metadata> {
        let (index, node) = self.node(path)?;
        let mtime = node.meta.mtime.unwrap_or_default();
        Ok(Metadata {
            file_type: node.kind.file_type(),
            mode: node.meta.mode,
            uid: node.meta.uid,
            gid: node.meta.gid,
            size_bytes: match &node.kind {
                Kind::File(content) => content.size_bytes(),
                Kind::Symlink(target) => u64::try_from(target.len()).unwrap_or(u64::MAX),
                _ => 0,
            },
            mtime_sec: mtime.seconds(),
            mtime_nsec: mtime.nanoseconds(),
            nlink: self.links.get(index).copied().unwrap_or_default(),
            rdev: match &node.kind {
                Kind::Device(device) => Some(device.number()),
                _ => None,
            },
            ino: u64::try_from(index).unwrap_or(u64::MAX),
        })
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<DirEntry>> {
        let (_, node) = self.node(path)?;
        let Kind::Directory(children) = &node.kind else {
            let found = node.kind.file_type().as_str();
            return Err(Lookup::NotADirectory { path: show(path), found }.into());
        };
        let entry = |(name, child): (&Vec<u8>, _)| DirEntry {
            name: name.clone(),
            file_type: self.tree.node(child).kind.file_type(),
        };
        Ok(children.iter().map(|(name, child)| entry((name, *child))).collect())
    }

    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (_, node) = self.node(path)?;
        let Kind::File(content) = &node.kind else {
            let found = node.kind.file_type().as_str();
            return Err(Lookup::NotAFile { path: show(path), found }.into());
        };
        let rest = content.size_bytes().saturating_sub(offset);
        let len = u64::try_from(buf.len()).unwrap_or(u64::MAX).min(rest);
        let range = ByteRange::with_len(offset, len).unwrap_or(ByteRange::EMPTY);
        if range.is_empty() {
            return Ok(0);
        }
        let mut out = Cursor::new(buf);
        content.copy(&[range], &mut out)?;
        Ok(usize::try_from(out.position()).unwrap_or(usize::MAX))
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>> {
        let size = self.stat(path)?.size_bytes;
        let most = self.limits.file_bytes;
        let too_large = LimitExceeded::Bytes { what: "file", found: size, most };
        let len = usize::try_from(size).ok().filter(|_| size <= most).ok_or(too_large)?;
        let mut content = vec![0; len];
        let read = self.read_at(path, 0, &mut content)?;
        content.truncate(read);
        Ok(content)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let (_, node) = self.node(path)?;
        match &node.kind {
            Kind::Symlink(target) => Ok(target.clone()),
            other => {
                let found = other.file_type().as_str();
                Err(Lookup::NotASymlink { path: show(path), found }.into())
            }
        }
    }

    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>> {
        let (_, node) = self.node(path)?;
        Ok(node.xattrs.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Meta, Timestamp, erofs};
    use crate::fs;

    /// What is seen of a tree is what is read back from the image that is made of it.
    #[test]
    fn a_tree_looks_like_its_image() {
        let mut tree = Tree::new();
        let meta = Meta::new(0o640).owner(3, 70_000).mtime(Timestamp::new(5, 6).unwrap());
        tree.add_file("etc/a", vec![7; 9000], meta).unwrap();
        tree.add_hardlink("etc/d/b", "etc/a").unwrap();
        tree.add_symlink("etc/l", "a", meta).unwrap();
        tree.add_device("etc/c", Device::Character { major: 4, minor: 300 }, meta).unwrap();
        tree.add_device("etc/e", Device::Block { major: 4, minor: 3 }, meta).unwrap();
        tree.add_fifo("etc/f", meta).unwrap();
        tree.add_socket("etc/s", meta).unwrap();
        tree.set_xattr("etc/a", "user.z", "1").unwrap();
        let mut image = Vec::new();
        erofs::write(&tree, &erofs::Options::default(), &mut image).unwrap();
        let limits = Limits::default();
        let image = fs::open(image, FsType::Erofs, &limits).unwrap();
        let files = tree.files(&limits);
        let paths = |files: &dyn FileSystem| -> Vec<Vec<u8>> {
            fs::walk(files, b"", &limits).unwrap().map(|entry| entry.unwrap().0).collect()
        };
        assert_eq!(paths(&files), paths(image.as_ref()));
        for path in paths(&files).into_iter().chain([Vec::new()]) {
            let mut expected = image.stat(&path).unwrap();
            let found = files.stat(&path).unwrap();
            expected.ino = found.ino;
            if expected.file_type == FileType::Directory {
                expected.size_bytes = 0;
            }
            assert_eq!(found, expected, "{}", show(&path));
            assert_eq!(files.xattrs(&path).unwrap(), image.xattrs(&path).unwrap());
            let code = |result: Result<Vec<u8>>| result.map_err(|error| error.code());
            assert_eq!(code(files.read(&path)), code(image.read(&path)), "{}", show(&path));
            assert_eq!(code(files.read_link(&path)), code(image.read_link(&path)), "{}", show(&path));
        }
        assert_eq!(files.stat(b"etc/a").unwrap().ino, files.stat(b"etc/d/b").unwrap().ino);
        let mut buf = [0; 10];
        assert_eq!(files.read_at(b"etc/a", 8995, &mut buf).unwrap(), 5);
        assert_eq!(files.read_at(b"etc/a", 9001, &mut buf).unwrap(), 0);
        assert_eq!(files.read_dir(b"etc/a").unwrap_err().code(), "not-a-directory");
        assert_eq!(files.stat(b"etc/none").unwrap_err().code(), "no-such-file");
    }
}
