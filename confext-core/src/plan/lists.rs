//! What each extension has in a hierarchy: from what was seen of it before, or from its files

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use confext_ddi::error::LimitExceeded;
use confext_ddi::fs::{self, Metadata};
use confext_ddi::limits::Limits;

use super::{Holder, Input, LayerFiles, Veto, VetoKind, veto};
use crate::directory::{Attributes, Tree};
use crate::parallel;

/// What one extension has in a hierarchy.
pub(super) struct List<'a> {
    layer: usize,
    entries: Vec<Entry<'a>>,
    pub(super) vetoes: Vec<Veto>,
}

/// Path below the hierarchy, what is there, and whether it is a directory that hides those below it.
struct Entry<'a>(Cow<'a, [u8]>, Cow<'a, Metadata>, bool);

/// What each extension has, topmost first.
pub(super) fn look<'a>(input: &'a Input<'_>, limits: &Limits) -> Vec<List<'a>> {
    let count = AtomicU64::new(0);
    let layers: Vec<_> = input.layers.iter().enumerate().rev().collect();
    let one = |(at, layer): (usize, &'a LayerFiles<'_>)| {
        let mut list = List { layer: at, entries: Vec::new(), vetoes: Vec::new() };
        match layer.tree {
            Some(tree) => list.take(input, tree, limits, &count),
            None => list.walk(input, limits, &count),
        }
        list
    };
    if input.layers.iter().all(|layer| layer.tree.is_some()) {
        // Nothing is left to look at.
        return layers.into_iter().map(one).collect();
    }
    parallel::map(layers, one)
}

/// Every path any extension has, sorted by bytes; those that have it, topmost first.
pub(super) fn holders<'a>(lists: &'a [List<'_>]) -> Vec<Holder<'a>> {
    let entries = lists.iter().flat_map(|list| list.entries.iter().map(|entry| (list.layer, entry)));
    let holder = |(layer, Entry(path, metadata, opaque)): (usize, &'a Entry<'_>)| Holder {
        path,
        layer,
        metadata,
        opaque: *opaque,
    };
    let mut holders: Vec<_> = entries.map(holder).collect();
    // Stable: topmost first is how they come.
    holders.sort_by_key(|holder| holder.path);
    holders
}

impl<'a> List<'a> {
    /// With more entries than the limit in all extensions together, whichever is looked at then ends.
    fn is_full(&mut self, input: &Input<'_>, limits: &Limits, count: &AtomicU64) -> bool {
        let (found, most) = (count.fetch_add(1, Ordering::Relaxed).saturating_add(1), limits.entries);
        if found > most {
            let fault = LimitExceeded::Count { what: "entries of all extensions", found, most };
            self.unreadable(input, &fault.into());
        }
        found > most
    }

    fn unreadable(&mut self, input: &Input<'_>, error: &confext_ddi::Error) {
        let text = (error.to_string(), "files that can be read");
        self.vetoes.push(Veto::new(VetoKind::Unreadable, input, self.layer, b"", text));
    }

    fn add(&mut self, input: &Input<'_>, (path, metadata): (Cow<'a, [u8]>, Cow<'a, Metadata>)) {
        let (veto, opaque) = veto::of_attributes(input, self.layer, &path, &metadata);
        self.vetoes.extend(veto);
        self.entries.push(Entry(path, metadata, opaque));
    }

    /// From what was seen before.
    fn take(&mut self, input: &'a Input<'_>, tree: &'a Tree, limits: &Limits, count: &AtomicU64) {
        let Some(root) = input.layers.get(self.layer).map(|layer| layer.root) else { return };
        self.entries.reserve(tree.len());
        for seen in tree.below(root) {
            if self.is_full(input, limits, count) {
                break;
            }
            let (path, metadata) = (Cow::Borrowed(below(root, seen.path)), Cow::Borrowed(seen.metadata));
            match seen.attributes {
                Attributes::None | Attributes::Others => self.entries.push(Entry(path, metadata, false)),
                Attributes::Unknown | Attributes::Overlay => self.add(input, (path, metadata)),
            }
        }
    }

    /// From the files themselves.
    fn walk(&mut self, input: &Input<'_>, limits: &Limits, count: &AtomicU64) {
        let Some(files) = input.layers.get(self.layer) else { return };
        let walk = match fs::walk(files.files, files.root, limits) {
            Ok(walk) => walk,
            Err(error) => return self.unreadable(input, &error),
        };
        for entry in walk {
            if self.is_full(input, limits, count) {
                break;
            }
            match entry {
                Ok((path, metadata)) => {
                    let path = below(files.root, &path).to_vec();
                    self.add(input, (Cow::Owned(path), Cow::Owned(metadata)));
                }
                Err(error) => self.unreadable(input, &error),
            }
        }
        files.files.rest();
    }
}

/// A path of the walk, relative to where it started.
fn below<'a>(root: &[u8], path: &'a [u8]) -> &'a [u8] {
    let inside = path.strip_prefix(root).and_then(|rest| rest.strip_prefix(b"/"));
    inside.filter(|_| !root.is_empty()).unwrap_or(path)
}
