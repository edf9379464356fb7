//! From the files of an image to entries, on all processors and in order.

use super::content::sha256;
use super::{Entry, Kind};
use crate::Limits;
use crate::error::{Corrupt, LimitExceeded, Result};
use crate::fs::{self, FileSystem, FileType, Metadata};
use crate::ordered;
use std::collections::HashMap;
use std::num::NonZeroUsize;

/// What of the contents of files goes into a manifest.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, manifest::{Contents, Kind, Manifest, Options}};
///
/// let mut tree = Tree::new();
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// // A listing, for which no file is read.
/// let mut options = Options::default();
/// options.contents = Contents::Sizes;
/// let limits = Limits::default();
/// let manifest = Manifest::of(&tree.files(&limits), &options, &limits, |_| {})?;
/// let kind = manifest.get(b"etc/app.conf").map(|entry| &entry.kind);
/// assert_eq!(kind, Some(&Kind::Regular { size_bytes: 12, sha256: None }));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contents {
    /// Their SHA-256: every file is read.
    #[default]
    Digests,
    /// Nothing but their sizes.
    Sizes,
}

/// How a manifest is made.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, manifest::{Manifest, Options}};
/// use std::num::NonZeroUsize;
///
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// let limits = Limits::default();
/// let files = tree.files(&limits);
/// // One thread takes longer and says the same.
/// let mut options = Options::default();
/// options.threads = NonZeroUsize::new(1);
/// let one = Manifest::of(&files, &options, &limits, |_| {})?;
/// assert_eq!(one, Manifest::of(&files, &Options::default(), &limits, |_| {})?);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// What of the contents of files is looked at.
    pub contents: Contents,
    /// Threads that read files; `None` for as many as there are processors. The result does not depend on it.
    pub threads: Option<NonZeroUsize>,
}

impl Options {
    pub(crate) fn threads(&self) -> NonZeroUsize {
        self.threads.unwrap_or_else(ordered::default_threads)
    }
}

/// Hands every file to `each`, in the order of a [`Manifest`](super::Manifest), on the caller's thread.
///
/// Memory is 4 MiB for each thread, the extended attributes of at most 16 files for each thread, and the names of
/// files that say to have more than one, at most [`Limits::manifest_bytes`].
///
/// # Errors
///
/// The first of what reading the files brings, in their order; that of `each`; `limit-count` above [`Limits::entries`]
/// or [`Limits::depth`]; `limit-bytes` above [`Limits::content_bytes`] or [`Limits::manifest_bytes`].
pub fn read(
    files: &dyn FileSystem,
    options: &Options,
    limits: &Limits,
    mut each: impl FnMut(Entry) -> Result<()>,
) -> Result<()> {
    let mut links = Links::new(limits);
    let mut contents = ContentLimit::new(limits);
    let jobs = files_in_order(files, limits).map(|file| {
        let (path, meta) = file?;
        let name = links.name(path, &meta)?;
        if options.contents == Contents::Digests && matches!(name, Name::First(_)) {
            contents.take(if meta.file_type == FileType::Regular { meta.size_bytes } else { 0 })?;
        }
        Ok((name, meta))
    });
    let work = |job: Result<(Name, Metadata)>| -> Result<(Entry, u32)> {
        let (name, meta) = job?;
        let mut entry = entry(files, name.path(), &meta)?;
        match name {
            Name::First(_) if options.contents == Contents::Digests => fill_digest(files, &mut entry)?,
            Name::First(_) => {}
            Name::Another { first, .. } => entry.hard_link_to = Some(first),
        }
        Ok((entry, meta.nlink))
    };
    let mut digests = HashMap::new();
    ordered::in_order(options.threads(), jobs, work, |result| {
        let (mut entry, nlink) = result?;
        match &mut entry.kind {
            Kind::Regular { sha256, .. } if nlink > 1 => match &entry.hard_link_to {
                None => {
                    digests.insert(entry.path.clone(), *sha256);
                }
                Some(first) => *sha256 = digests.get(first).copied().flatten(),
            },
            _ => {}
        }
        each(entry)
    })
}

/// The root and everything below it; ends with the first error.
pub(crate) fn files_in_order<'a>(
    files: &'a dyn FileSystem,
    limits: &Limits,
) -> impl Iterator<Item = Result<(Vec<u8>, Metadata)>> + use<'a> {
    let root = files.stat(b"").map(|meta| (Vec::new(), meta));
    let (walk, failed) = match fs::walk(files, b"", limits) {
        Ok(walk) => (Some(walk), None),
        Err(error) => (None, Some(Err(error))),
    };
    let all = std::iter::once(root).chain(failed).chain(walk.into_iter().flatten());
    all.scan(false, |ended, item| {
        let last = std::mem::replace(ended, item.is_err());
        (!last).then_some(item)
    })
}

/// An entry without its content's digest.
pub(crate) fn entry(files: &dyn FileSystem, path: &[u8], meta: &Metadata) -> Result<Entry> {
    let device = || {
        let wrong = Corrupt::FileSystem { what: "device number", found: 0, expected: "one for a device" };
        meta.rdev.ok_or(wrong)
    };
    let kind = match meta.file_type {
        FileType::Directory => Kind::Directory,
        FileType::Regular => Kind::Regular { size_bytes: meta.size_bytes, sha256: None },
        FileType::Symlink => Kind::Symlink { target: files.read_link(path)? },
        FileType::CharDevice => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
        FileType::BlockDevice => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
    };
    Ok(Entry {
        path: path.to_vec(),
        kind,
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        mtime_sec: meta.mtime_sec,
        mtime_nsec: meta.mtime_nsec,
        xattrs: files.xattrs(path)?,
        hard_link_to: None,
    })
}

/// Reads a regular file and fills in its digest.
fn fill_digest(files: &dyn FileSystem, entry: &mut Entry) -> Result<()> {
    if let Kind::Regular { size_bytes, sha256: digest } = &mut entry.kind {
        *digest = Some(sha256(files, &entry.path, *size_bytes)?);
    }
    Ok(())
}

/// A path, and whether its file had one before.
pub(crate) enum Name {
    First(Vec<u8>),
    Another { path: Vec<u8>, first: Vec<u8> },
}

impl Name {
    pub(crate) fn path(&self) -> &[u8] {
        match self {
            Self::First(path) | Self::Another { path, .. } => path,
        }
    }
}

/// First names of files that say to have more than one, by inode.
pub(crate) struct Links {
    first: HashMap<u64, Vec<u8>>,
    held_bytes: u64,
    most_bytes: u64,
}

impl Links {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { first: HashMap::new(), held_bytes: 0, most_bytes: limits.manifest_bytes }
    }

    pub(crate) fn name(&mut self, path: Vec<u8>, meta: &Metadata) -> Result<Name> {
        if meta.nlink < 2 || meta.file_type == FileType::Directory {
            return Ok(Name::First(path));
        }
        if let Some(first) = self.first.get(&meta.ino) {
            return Ok(Name::Another { path, first: first.clone() });
        }
        self.held_bytes = self.held_bytes.saturating_add(u64::try_from(path.len()).unwrap_or(u64::MAX));
        if self.held_bytes > self.most_bytes {
            let (what, found, most) = ("names of files with several", self.held_bytes, self.most_bytes);
            return Err(LimitExceeded::Bytes { what, found, most }.into());
        }
        self.first.insert(meta.ino, path.clone());
        Ok(Name::First(path))
    }
}

/// Counts the contents that are read, which an image can claim to be any number of times its own size.
pub(crate) struct ContentLimit {
    found: u64,
    most: u64,
}

impl ContentLimit {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { found: 0, most: limits.content_bytes }
    }

    /// Called before a file is read.
    pub(crate) fn take(&mut self, size_bytes: u64) -> Result<()> {
        self.found = self.found.saturating_add(size_bytes);
        if self.found > self.most {
            let (what, found, most) = ("contents of all files", self.found, self.most);
            return Err(LimitExceeded::Bytes { what, found, most }.into());
        }
        Ok(())
    }
}
