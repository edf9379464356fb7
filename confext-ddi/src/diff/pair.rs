//! Two trees, path by path.

use super::field::{Attribute, Field, fields};
use super::{Change, Difference, Side, on};
use crate::Limits;
use crate::error::Result;
use crate::fs::{self, FileSystem, Metadata};
use crate::manifest::{ContentLimit, Digest, Entry, Kind, Links, Name, content, entry_of, files_in_order};
use std::cmp::Ordering;
use std::iter::Peekable;

/// What one side has at a path.
pub(super) enum Item<'a> {
    File(Name, Metadata),
    Listed(&'a Entry),
}

impl Item<'_> {
    fn path(&self) -> &[u8] {
        match self {
            Self::File(name, _) => name.path(),
            Self::Listed(entry) => &entry.path,
        }
    }

    fn hard_link_to(&self) -> Option<&[u8]> {
        match self {
            Self::File(Name::Another { first, .. }, _) => Some(first),
            Self::File(Name::First(_), _) => None,
            Self::Listed(entry) => entry.hard_link_to.as_deref(),
        }
    }

    fn size_bytes(&self) -> Option<u64> {
        match self {
            Self::File(_, meta) => (meta.file_type == fs::FileType::Regular).then_some(meta.size_bytes),
            Self::Listed(entry) => match entry.kind {
                Kind::Regular { size_bytes, .. } => Some(size_bytes),
                _ => None,
            },
        }
    }

    fn entry(&self, side: Side<'_>) -> Result<Entry> {
        match (self, side) {
            (Self::File(name, meta), Side::Files(files)) => {
                let mut entry = entry_of(files, name.path(), meta)?;
                entry.hard_link_to = self.hard_link_to().map(<[u8]>::to_vec);
                Ok(entry)
            }
            (Self::Listed(entry), _) => Ok((*entry).clone()),
            // Items are made of the side they are from.
            (Self::File(..), Side::Manifest(manifest)) => {
                let found = manifest.get(self.path()).cloned();
                found
                    .ok_or_else(|| crate::error::Lookup::NoSuchFile { path: fs::display(self.path()) }.into())
            }
        }
    }
}

/// A path with what each side has there: at least one has something.
pub(super) struct Pair<'a> {
    before: Option<Item<'a>>,
    after: Option<Item<'a>>,
}

impl Pair<'_> {
    /// The size, where both are regular files of the same size whose contents were not compared under other paths.
    fn content_to_compare(&self) -> Option<u64> {
        let (before, after) = (self.before.as_ref()?, self.after.as_ref()?);
        let links = (before.hard_link_to(), after.hard_link_to());
        let compared = matches!(links, (Some(before), Some(after)) if before == after);
        before.size_bytes().filter(|size| !compared && after.size_bytes() == Some(*size))
    }
}

type Items<'a> = Peekable<Box<dyn Iterator<Item = Result<Item<'a>>> + 'a>>;

/// Every path that one of two trees has, in order. Ends with the first error.
pub(super) struct Pairs<'a> {
    before: Items<'a>,
    after: Items<'a>,
    contents: ContentLimit,
    ended: bool,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(before: Side<'a>, after: Side<'a>, limits: &Limits) -> Self {
        let contents = ContentLimit::new(limits);
        let (before, after) = (items(before, limits), items(after, limits));
        Self { before, after, contents, ended: false }
    }

    fn pair(&mut self) -> Result<Option<Pair<'a>>> {
        let order = match (self.before.peek(), self.after.peek()) {
            (None, None) => return Ok(None),
            (Some(Ok(before)), Some(Ok(after))) => fs::compare(before.path(), after.path()),
            // An error is taken out of the side that has it.
            (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
            (_, Some(_)) => Ordering::Greater,
        };
        let before = if order.is_le() { on("before", self.before.next().transpose())? } else { None };
        let after = if order.is_ge() { on("after", self.after.next().transpose())? } else { None };
        let pair = Pair { before, after };
        self.contents.take(pair.content_to_compare().unwrap_or(0))?;
        Ok(Some(pair))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let pair = self.pair();
        self.ended = pair.is_err();
        pair.transpose()
    }
}

fn items<'a>(side: Side<'a>, limits: &Limits) -> Items<'a> {
    let items: Box<dyn Iterator<Item = Result<Item<'a>>> + 'a> = match side {
        Side::Manifest(manifest) => Box::new(manifest.entries().iter().map(|entry| Ok(Item::Listed(entry)))),
        Side::Files(files) => {
            let mut links = Links::new(limits);
            Box::new(files_in_order(files, limits).map(move |file| {
                let (path, meta) = file?;
                Ok(Item::File(links.name(path, &meta)?, meta))
            }))
        }
    };
    items.peekable()
}

/// What differs at one path.
pub(super) fn compare(
    before: Side<'_>,
    after: Side<'_>,
    pair: &Pair<'_>,
    ignore: &[Attribute],
) -> Result<Option<Difference>> {
    let entry = |item: &Option<Item<'_>>, side| item.as_ref().map(|item| item.entry(side)).transpose();
    let was = on("before", entry(&pair.before, before))?;
    let is = on("after", entry(&pair.after, after))?;
    Ok(match (was, is) {
        (Some(was), Some(is)) => {
            let mut found = fields(&was, &is, ignore);
            if !ignore.contains(&Attribute::Content)
                && let Some(size_bytes) = pair.content_to_compare()
            {
                found.extend(contents((before, &was), (after, &is), size_bytes)?);
            }
            (!found.is_empty()).then_some(Difference { path: is.path, change: Change::Changed(found) })
        }
        (Some(was), None) => Some(Difference { path: was.path.clone(), change: Change::Removed(was) }),
        (None, Some(is)) => Some(Difference { path: is.path.clone(), change: Change::Added(is) }),
        (None, None) => None,
    })
}

/// Compares two contents of the same size.
fn contents(
    (before, was): (Side<'_>, &Entry),
    (after, is): (Side<'_>, &Entry),
    size_bytes: u64,
) -> Result<Option<Field>> {
    if let (Side::Files(old), Side::Files(new)) = (before, after)
        && same_bytes((old, &was.path), (new, &is.path), size_bytes)?
    {
        return Ok(None);
    }
    let digest = |side, entry: &Entry| -> Result<Option<Digest>> {
        match side {
            Side::Files(files) => content::sha256(files, &entry.path, size_bytes).map(Some),
            Side::Manifest(_) => Ok(known_digest(entry)),
        }
    };
    // A manifest without digests: nothing is read for it.
    let unknown = |side, entry: &Entry| matches!(side, Side::Manifest(_)) && known_digest(entry).is_none();
    if unknown(before, was) || unknown(after, is) {
        return Ok(None);
    }
    let (old, new) = (on("before", digest(before, was))?, on("after", digest(after, is))?);
    Ok(match (old, new) {
        (Some(old), Some(new)) if old != new => Some(Field::Content(old, new)),
        _ => None,
    })
}

fn same_bytes(old: (&dyn FileSystem, &[u8]), new: (&dyn FileSystem, &[u8]), size_bytes: u64) -> Result<bool> {
    let (mut was, mut is) = (Vec::new(), Vec::new());
    let mut offset = 0;
    while offset < size_bytes {
        let end = on("before", content::read(old.0, old.1, offset, size_bytes, &mut was))?;
        on("after", content::read(new.0, new.1, offset, size_bytes, &mut is))?;
        if was != is {
            return Ok(false);
        }
        offset = end;
    }
    Ok(true)
}

const fn known_digest(entry: &Entry) -> Option<Digest> {
    match entry.kind {
        Kind::Regular { sha256, .. } => sha256,
        _ => None,
    }
}
