//! The files of a report from a plan alone, where there is no host to trace: of a service, or of what was planned elsewhere

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use confext_ddi::fs::FileType;

use crate::plan::{Change, Effect, Hierarchy, MergedDirectory, Plan};
use crate::trace::{Answer, KnownFrom, Origin, Presence, Shadow, Source, Traced, View};

/// The extensions of a plan by their names.
pub(super) type Sources = BTreeMap<String, Arc<Source>>;

pub(super) fn sources(plan: &Plan) -> Sources {
    let source = |layer: &crate::state::Layer| Arc::new(Source::new(layer.clone(), KnownFrom::Plan));
    plan.layers.iter().map(|layer| (layer.name.clone(), source(layer))).collect()
}

/// A hierarchy as a tracer describes it.
pub(super) fn stack(plan: &Plan, hierarchy: &Hierarchy, sources: &Sources) -> Traced {
    Traced {
        class: plan.class,
        hierarchy: hierarchy.path,
        path: Path::new("/").join(hierarchy.path),
        layers: hierarchy.layers.iter().filter_map(|name| sources.get(name).cloned()).collect(),
        unknown: Vec::new(),
        because: None,
        doubts: Vec::new(),
    }
}

/// Every path that would be different, and every directory of several, a directory before what is in it.
pub(super) fn origins(hierarchy: &Hierarchy, sources: &Sources) -> impl Iterator<Item = Origin> {
    let mut found = BTreeMap::new();
    let changed = hierarchy.changes.iter().filter_map(|change| {
        Some((&change.path, (Some(change.file_type), of_change(hierarchy.path, change, sources)?)))
    });
    let merged = hierarchy.merged.iter().map(|directory| {
        (&directory.path, (Some(FileType::Directory), of_merged(hierarchy.path, directory, sources)))
    });
    for (path, (file_type, answer)) in changed.chain(merged) {
        // By names and not by bytes: `a-b` does not come between `a` and `a/b`.
        let names: PathBuf = PathBuf::from(OsStr::from_bytes(path));
        let gone = matches!(answer, Answer::Hidden { .. });
        let origin = Origin {
            path: Path::new("/").join(hierarchy.path).join(&names),
            view: View::Planned,
            file_type: file_type.filter(|_| !gone),
            answer,
            target: None,
        };
        found.insert(names, origin);
    }
    found.into_values()
}

fn of_change(hierarchy: &'static str, change: &Change, sources: &Sources) -> Option<Answer> {
    let source = Arc::clone(sources.get(&change.layer)?);
    let shadows = change.shadows.iter().filter_map(|shadowed| {
        Some(match &shadowed.layer {
            None => Shadow::Base,
            Some(layer) => Shadow::Layer { source: Arc::clone(sources.get(layer)?) },
        })
    });
    Some(match change.effect {
        Effect::Hidden => Answer::Hidden { hierarchy, source, shadows: shadows.collect() },
        _ if change.file_type == FileType::Directory => {
            let base = match change.effect {
                Effect::AttributesChanged { .. } => Presence::Present,
                _ => Presence::Absent,
            };
            directory(hierarchy, vec![source], base)
        }
        _ => Answer::Layer { hierarchy, source, shadows: shadows.collect() },
    })
}

fn of_merged(hierarchy: &'static str, directory: &MergedDirectory, sources: &Sources) -> Answer {
    let layers = directory.layers.iter().flatten().filter_map(|name| sources.get(name).cloned()).collect();
    let base = if directory.layers.contains(&None) { Presence::Present } else { Presence::Absent };
    self::directory(hierarchy, layers, base)
}

const fn directory(hierarchy: &'static str, sources: Vec<Arc<Source>>, base: Presence) -> Answer {
    Answer::Directory { hierarchy, sources, base, written: Presence::Absent, unknown: Vec::new() }
}
