//! Listing a tree.

use super::path::{display, join, plain_components};
use super::{DirEntry, FileSystem, FileType, Metadata};
use crate::Limits;
use crate::error::{Corrupt, LimitExceeded, Lookup, Result};

/// Lists everything below `root`, which is not listed itself: a directory before what is in it, names sorted by their
/// bytes. No symbolic link is followed.
///
/// # Errors
///
/// `no-such-file`, `not-a-directory` for the root.
pub fn walk<'a>(fs: &'a dyn FileSystem, root: &[u8], limits: &Limits) -> Result<Walk<'a>> {
    let root = plain_components(root, limits)?.join(&b'/');
    let meta = fs.stat(&root)?;
    if meta.file_type != FileType::Directory {
        return Err(Lookup::NotADirectory { path: display(&root), found: meta.file_type.as_str() }.into());
    }
    let mut walk = Walk { fs, limits: limits.clone(), stack: Vec::new(), entries: 0 };
    walk.enter(root, meta.ino)?;
    Ok(walk)
}

/// The files of a tree, each with its path from the image's root. Made by [`walk`].
///
/// An item is an error when a directory or inode cannot be read (the walk goes on with the next one), when a directory
/// contains itself (`directory-loop`), or when [`Limits::entries`] or [`Limits::depth`] is reached (`limit-count`; the
/// walk ends).
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, fs::walk};
///
/// let mut tree = Tree::new();
/// tree.add_file("etc/app/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// let limits = Limits::default();
/// let files = tree.files(&limits);
/// let mut paths = Vec::new();
/// for found in walk(&files, b"etc", &limits)? {
///     let (path, _metadata) = found?;
///     paths.push(path);
/// }
/// assert_eq!(paths, [&b"etc/app"[..], b"etc/app/app.conf"]);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
pub struct Walk<'a> {
    fs: &'a dyn FileSystem,
    limits: Limits,
    stack: Vec<Level>,
    entries: u64,
}

struct Level {
    path: Vec<u8>,
    ino: u64,
    entries: std::vec::IntoIter<DirEntry>,
}

impl Walk<'_> {
    fn enter(&mut self, path: Vec<u8>, ino: u64) -> Result<()> {
        if self.stack.iter().any(|level| level.ino == ino) {
            return Err(Corrupt::DirectoryLoop { path: display(&path) }.into());
        }
        let (depth, most) =
            (u64::try_from(self.stack.len()).unwrap_or(u64::MAX), u64::from(self.limits.depth));
        if depth >= most {
            self.stack.clear();
            return Err(LimitExceeded::Count { what: "levels of directories", found: depth, most }.into());
        }
        let entries = self.fs.read_dir(&path)?.into_iter();
        self.stack.push(Level { path, ino, entries });
        Ok(())
    }

    fn visit(&mut self, path: Vec<u8>) -> Result<(Vec<u8>, Metadata)> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > self.limits.entries {
            self.stack.clear();
            let (found, most) = (self.entries, self.limits.entries);
            return Err(LimitExceeded::Count { what: "files in a tree", found, most }.into());
        }
        let meta = self.fs.stat(&path)?;
        if meta.file_type == FileType::Directory {
            self.enter(path.clone(), meta.ino)?;
        }
        Ok((path, meta))
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(Vec<u8>, Metadata)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.stack.last_mut()?;
            if let Some(entry) = level.entries.next() {
                let path = join(&level.path, &entry.name);
                return Some(self.visit(path));
            }
            self.stack.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFs;
    use super::*;

    fn list(fs: &MemoryFs, root: &str, limits: &Limits) -> Vec<String> {
        walk(fs, root.as_bytes(), limits)
            .unwrap()
            .map(|item| {
                item.map_or_else(
                    |error| error.code().to_owned(),
                    |(path, _)| String::from_utf8(path).unwrap(),
                )
            })
            .collect()
    }

    fn image() -> MemoryFs {
        let mut fs = MemoryFs::new();
        for path in ["b/2", "b/10", "b.x", "a/c/d", "a/b"] {
            fs.file(path, "");
        }
        fs.symlink("b/link", "/a");
        fs
    }

    #[test]
    fn a_directory_comes_before_what_is_in_it_and_names_are_sorted() {
        let all = ["a", "a/b", "a/c", "a/c/d", "b", "b/10", "b/2", "b/link", "b.x"];
        assert_eq!(list(&image(), "", &Limits::default()), all);
        assert_eq!(list(&image(), "/a/", &Limits::default()), ["a/b", "a/c", "a/c/d"]);
    }

    #[test]
    fn limits_end_the_walk() {
        let few = Limits { entries: 2, ..Limits::default() };
        assert_eq!(list(&image(), "", &few), ["a", "a/b", "limit-count"]);
        let flat = Limits { depth: 2, ..Limits::default() };
        assert_eq!(list(&image(), "", &flat), ["a", "a/b", "limit-count"]);
    }

    #[test]
    fn the_root_must_be_a_directory() {
        for (root, code) in [("b.x", "not-a-directory"), ("x", "no-such-file"), ("a/..", "path-syntax")] {
            assert_eq!(
                walk(&image(), root.as_bytes(), &Limits::default()).err().unwrap().code(),
                code,
                "{root}"
            );
        }
    }
}
