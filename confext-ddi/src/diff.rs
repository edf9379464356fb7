//! What is different between the files of two images, or of an image and a manifest.
//!
//! [`diff`] goes through both in the order of a [`Manifest`] and holds neither of them, so that memory does not grow
//! with the images.

mod field;
mod pair;

pub use field::{Attribute, Field};

use crate::Limits;
use crate::error::{LimitExceeded, Result, ResultExt as _};
use crate::fs::FileSystem;
use crate::manifest::{Entry, Manifest};
use crate::ordered;
use pair::{Pairs, compare};
use serde::ser::SerializeMap as _;
use std::num::NonZeroUsize;

/// One of the two trees that are compared.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, diff::{self, Side}, manifest::{self, Manifest}};
///
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// let limits = Limits::default();
/// let files = tree.files(&limits);
/// let manifest = Manifest::of(&files, &manifest::Options::default(), &limits, |_| {})?;
/// // Is it still what it was when the manifest was made?
/// let (before, after) = (Side::Manifest(&manifest), Side::Files(&files));
/// assert!(diff::collect(before, after, &diff::Options::default(), &limits)?.is_empty());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Side<'a> {
    /// Files that are read as far as that is needed to tell.
    Files(&'a dyn FileSystem),
    /// A manifest. A content without a digest counts as equal to every content of its size.
    Manifest(&'a Manifest),
}

impl std::fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Files(_) => "Files",
            Self::Manifest(_) => "Manifest",
        })
    }
}

/// What is compared, and how.
///
/// ```
/// # use confext_ddi::build::{Meta, Tree};
/// # let (mut old, mut new) = (Tree::new(), Tree::new());
/// # old.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # new.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o600))?;
/// use confext_ddi::{Limits, diff::{self, Attribute, Side}};
///
/// // The two trees differ in the mode of a file.
/// let limits = Limits::default();
/// let (old, new) = (old.files(&limits), new.files(&limits));
/// let mut options = diff::Options::default();
/// assert_eq!(diff::collect(Side::Files(&old), Side::Files(&new), &options, &limits)?.len(), 1);
/// options.ignore = vec![Attribute::Mode];
/// assert!(diff::collect(Side::Files(&old), Side::Files(&new), &options, &limits)?.is_empty());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Attributes that may differ.
    pub ignore: Vec<Attribute>,
    /// Threads that read files; `None` for as many as there are processors. The result does not depend on it.
    pub threads: Option<NonZeroUsize>,
}

/// A path with something different.
///
/// ```
/// # use confext_ddi::build::{Meta, Tree};
/// # let (mut old, mut new) = (Tree::new(), Tree::new());
/// # old.add_file("etc/app.conf", "answer = 41\n", Meta::new(0o644))?;
/// # new.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// use confext_ddi::{Limits, diff::{self, Side}};
///
/// let limits = Limits::default();
/// let (old, new) = (old.files(&limits), new.files(&limits));
/// diff::diff(Side::Files(&old), Side::Files(&new), &diff::Options::default(), &limits, |found| {
///     assert_eq!((found.path.as_slice(), found.change.as_str()), (&b"etc/app.conf"[..], "changed"));
///     Ok(())
/// })?;
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// From the root, without a leading slash; empty for the root itself.
    pub path: Vec<u8>,
    /// What is different.
    pub change: Change,
}

/// What is different at a path.
///
/// ```
/// # use confext_ddi::build::{Meta, Tree};
/// # let (mut old, mut new) = (Tree::new(), Tree::new());
/// # old.add_dir("etc", Meta::new(0o755))?;
/// # new.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// use confext_ddi::{Limits, diff::{self, Change, Side}};
///
/// let limits = Limits::default();
/// let (old, new) = (old.files(&limits), new.files(&limits));
/// let found = diff::collect(Side::Files(&old), Side::Files(&new), &diff::Options::default(), &limits)?;
/// let added = |change: &Change| matches!(change, Change::Added(entry) if entry.path == b"etc/app.conf");
/// assert!(found.len() == 1 && added(&found[0].change));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Only the second side has it. Files have no digest here: their contents were not read.
    Added(Entry),
    /// Only the first side has it. Likewise.
    Removed(Entry),
    /// Both have it, with different attributes; at least one.
    Changed(Vec<Field>),
}

impl Change {
    /// `added`, `removed` or `changed`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Added(_) => "added",
            Self::Removed(_) => "removed",
            Self::Changed(_) => "changed",
        }
    }
}

/// As in a manifest: `path`, and `path_base64` where it is no UTF-8; `change`; `entry` or `fields`.
impl serde::Serialize for Difference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let (path, base64) = crate::manifest::write_path(&self.path);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &path)?;
        if let Some(base64) = base64 {
            map.serialize_entry("path_base64", &base64)?;
        }
        map.serialize_entry("change", self.change.as_str())?;
        match &self.change {
            Change::Added(entry) | Change::Removed(entry) => map.serialize_entry("entry", entry)?,
            Change::Changed(fields) => map.serialize_entry("fields", fields)?,
        }
        map.end()
    }
}

/// Hands every difference to `each`, in the order of a manifest, on the caller's thread.
///
/// Contents are compared only where the sizes are equal; of two images byte by byte, and with a manifest by digest.
/// A content that has several paths is compared at the first of them.
///
/// Memory is 4 MiB for each thread, the entries of 16 paths for each thread, and the names of files that say to have more
/// than one, at most [`Limits::manifest_bytes`] for each side.
///
/// # Errors
///
/// The first of what reading the files brings, with `before` or `after` in front of its path; that of `each`;
/// `limit-count` and `limit-bytes` as for [`manifest::read`](crate::manifest::read).
pub fn diff(
    before: Side<'_>,
    after: Side<'_>,
    options: &Options,
    limits: &Limits,
    mut each: impl FnMut(Difference) -> Result<()>,
) -> Result<()> {
    let threads = options.threads.unwrap_or_else(ordered::default_threads);
    let pairs = Pairs::new(before, after, limits);
    let work = |pair: Result<pair::Pair<'_>>| compare(before, after, &pair?, &options.ignore);
    ordered::in_order(threads, pairs, work, |found| found?.map_or(Ok(()), &mut each))
}

/// Every difference, in the order of a manifest.
///
/// # Errors
///
/// As [`diff`]; `limit-bytes` when paths, targets and extended attributes of what is different are more than
/// [`Limits::manifest_bytes`].
pub fn collect(
    before: Side<'_>,
    after: Side<'_>,
    options: &Options,
    limits: &Limits,
) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    let mut held_bytes: u64 = 0;
    diff(before, after, options, limits, |difference| {
        held_bytes = held_bytes.saturating_add(difference.held_bytes());
        if held_bytes > limits.manifest_bytes {
            let (what, most) = ("differences", limits.manifest_bytes);
            return Err(LimitExceeded::Bytes { what, found: held_bytes, most }.into());
        }
        found.push(difference);
        Ok(())
    })?;
    Ok(found)
}

impl Difference {
    /// Bytes on the heap, about.
    fn held_bytes(&self) -> u64 {
        let change = match &self.change {
            Change::Added(entry) | Change::Removed(entry) => entry.held_bytes(),
            Change::Changed(fields) => fields.iter().map(Field::held_bytes).fold(0, u64::saturating_add),
        };
        u64::try_from(self.path.len()).unwrap_or(u64::MAX).saturating_add(change)
    }
}

/// Says which side an error came up on.
fn on<T>(side: &'static str, result: Result<T>) -> Result<T> {
    result.within(side)
}

#[cfg(test)]
mod tests;
