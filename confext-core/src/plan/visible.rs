//! What of the layers below is still seen: a file, a whiteout or an opaque directory hides everything that is below it.

use std::collections::BTreeMap;

use confext_ddi::fs::{FileType, Metadata};
use confext_ddi::lint::rules;

use super::Holder;

/// The layer of the host: the extensions are 1 and up, from the bottom.
const HOST: usize = 0;

/// For directories in which not everything is merged: the lowest layer whose files are seen there.
#[derive(Debug, Default)]
pub(super) struct Floors {
    lowest: BTreeMap<Vec<u8>, usize>,
}

/// What is seen of a path: which of its holders, and whether the host's file counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// Topmost first.
    pub(super) holders: &'a [Holder<'a>],
    /// What the host has there, if it would be seen without the extensions of this path.
    pub(super) base: Option<&'a Metadata>,
}

impl Floors {
    /// What is seen of a path. Directories have to come before what is in them.
    pub(super) fn seen<'a>(
        &mut self,
        path: &[u8],
        holders: &'a [Holder<'a>],
        base: Option<&'a Metadata>,
    ) -> Seen<'a> {
        let parent = path.iter().rposition(|byte| *byte == b'/').and_then(|at| path.get(..at)).unwrap_or(b"");
        let is_directory = |holder: &Holder<'_>| holder.metadata.file_type == FileType::Directory;
        let has_directory = holders.iter().any(is_directory);
        let inherited = self.lowest.get(parent).copied().unwrap_or(HOST);
        let count = holders.iter().take_while(|holder| level(holder) >= inherited).count();
        let holders = holders.get(..count).unwrap_or_default();
        let base = base.filter(|_| inherited == HOST);
        let floor = inside(holders, base).max(inherited);
        // In anything else there is nothing.
        if floor > HOST && has_directory {
            self.lowest.insert(path.to_vec(), floor);
        }
        Seen { holders, base }
    }
}

fn level(holder: &Holder<'_>) -> usize {
    holder.layer.saturating_add(1)
}

/// The lowest layer whose files are seen inside of what is at a path.
fn inside(holders: &[Holder<'_>], base: Option<&Metadata>) -> usize {
    for holder in holders {
        if rules::is_whiteout(holder.metadata) || holder.metadata.file_type != FileType::Directory {
            return level(holder).saturating_add(1);
        }
        if holder.opaque {
            return level(holder);
        }
    }
    match base {
        Some(base) if base.file_type != FileType::Directory => HOST.saturating_add(1),
        _ => HOST,
    }
}
