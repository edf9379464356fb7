//! [`Manifest`]: every file of an image with its attributes and the SHA-256 of its content, in a fixed order.
//!
//! [`Manifest::of`] makes one from the files of an image, [`Manifest::parse_json`] reads one back. It says nothing of how
//! the files are stored: two images of the same files have the same manifest, whatever their file systems,
//! identifiers and signatures.

pub(crate) mod content;
mod entry;
mod json;
mod mtree;
mod read;

pub use entry::{Digest, Entry, Kind};
pub use mtree::Dialect;
pub use read::{Contents, Options, read};

pub(crate) use json::{write_path, write_text};
pub(crate) use read::{ContentLimit, Links, Name, entry as entry_of, files_in_order};

use crate::Limits;
use crate::error::{Corrupt, LimitExceeded, Result};
use crate::fs::{self, FileSystem};
use std::collections::BTreeMap;

/// All entries of a tree, the root first, a directory before what is in it, names sorted by their bytes.
///
/// Whoever holds one knows that its entries are in order, that each lies in a directory that is there, and that each
/// value is one that a file system of Linux can have.
///
/// ```
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class, signature::*};
/// # let now = Time::from(std::time::SystemTime::now());
/// # let key = KeyPair::generate("vendor", now, 30)?;
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # let mut bytes = std::io::Cursor::new(Vec::new());
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).build(&mut bytes, Some(&key))?;
/// # let bytes = bytes.into_inner();
/// # let mut trusted = Certificates::new(now);
/// # trusted.add_pem(&key.certificate_pem()?)?;
///
/// use confext_ddi::{Limits, manifest::{self, Manifest}};
///
/// let image = Image::open(bytes.as_slice(), &image::Options::default())?;
/// let admitted = Policy::signed().judge(image, Some(&trusted))?;
/// let limits = Limits::default();
/// let manifest = Manifest::of(admitted.file_system(&limits)?.as_ref(), &manifest::Options::default(), &limits, |_| ())?;
/// assert!(manifest.get(b"etc/app.conf").is_some());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
}

impl Manifest {
    /// Reads every file, and calls `progress` with each entry, in order.
    ///
    /// Memory is that of the entries, at most [`Limits::manifest_bytes`] of paths, link targets and extended attributes,
    /// and what [`read`] needs.
    ///
    /// # Errors
    ///
    /// As [`read`]; `limit-bytes`.
    pub fn of(
        files: &dyn FileSystem,
        options: &Options,
        limits: &Limits,
        mut progress: impl FnMut(&Entry),
    ) -> Result<Self> {
        let mut entries = Vec::new();
        let mut budget = Budget::new(limits);
        read(files, options, limits, |entry| {
            budget.take(&entry)?;
            progress(&entry);
            entries.push(entry);
            Ok(())
        })?;
        Self::new(entries, limits)
    }

    /// Takes entries that are in order.
    ///
    /// # Errors
    ///
    /// `manifest-order`, `manifest-entry`, `limit-count`, `limit-bytes`.
    pub fn new(entries: Vec<Entry>, limits: &Limits) -> Result<Self> {
        check(&entries, limits)?;
        Ok(Self { entries })
    }

    /// The entries, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of a path, relative to the root and without a leading slash.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        let found = self.entries.binary_search_by(|entry| fs::compare(&entry.path, path));
        found.ok().and_then(|at| self.entries.get(at))
    }
}

/// How much of a manifest may be held in memory.
struct Budget {
    found: u64,
    most: u64,
}

impl Budget {
    fn new(limits: &Limits) -> Self {
        Self { found: 0, most: limits.manifest_bytes }
    }

    fn take(&mut self, entry: &Entry) -> Result<()> {
        self.found = self.found.saturating_add(entry.held_bytes());
        if self.found > self.most {
            let (found, most) = (self.found, self.most);
            return Err(LimitExceeded::Bytes { what: "manifest", found, most }.into());
        }
        Ok(())
    }
}

/// Checks what [`Manifest`] promises.
fn check(entries: &[Entry], limits: &Limits) -> Result<()> {
    let found = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    // The root is not counted by a walk, either.
    let most = limits.entries.saturating_add(1);
    if found > most {
        return Err(LimitExceeded::Count { what: "entries of a manifest", found, most }.into());
    }
    let mut budget = Budget::new(limits);
    // The directories on the way to the entry at hand, the root first.
    let mut open: Vec<&[u8]> = Vec::new();
    let mut first_names: BTreeMap<&[u8], &Entry> = BTreeMap::new();
    let mut last: Option<&Entry> = None;
    for entry in entries {
        entry.check(limits)?;
        budget.take(entry)?;
        if last.is_some_and(|last| fs::compare(&last.path, &entry.path).is_ge()) {
            return Err(wrong_order(entry, "a path that sorts before the one above it", "ascending paths"));
        }
        let parent = entry.parent();
        while open.last().is_some_and(|directory| Some(*directory) != parent) {
            open.pop();
        }
        if open.is_empty() && parent.is_some() {
            return Err(wrong_order(entry, "an entry without its directory", "the directory before it"));
        }
        if entry.kind == Kind::Directory {
            open.push(&entry.path);
        } else if parent.is_none() {
            return Err(wrong_order(entry, entry.kind.file_type().as_str(), "a directory as root"));
        }
        match &entry.hard_link_to {
            None => {
                first_names.insert(&entry.path, entry);
            }
            Some(first) => {
                let first = first_names.get(first.as_slice());
                if !first.is_some_and(|first| first.is_same_file(entry)) {
                    let (found, expected) =
                        ("a hard link to another file", "the first name of the same file, above");
                    return Err(wrong_order(entry, found, expected));
                }
            }
        }
        last = Some(entry);
    }
    if last.is_none() {
        let (found, expected) = ("no entries", "the root");
        return Err(Corrupt::ManifestOrder { path: "/".to_owned(), found, expected }.into());
    }
    Ok(())
}

fn wrong_order(entry: &Entry, found: &'static str, expected: &'static str) -> crate::error::Error {
    Corrupt::ManifestOrder { path: entry.shown_path(), found, expected }.into()
}

#[cfg(test)]
mod tests;
