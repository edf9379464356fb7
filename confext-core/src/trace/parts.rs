//! How an overlay puts directories together: which of them have a path, and whose is seen there.

use std::collections::BTreeMap;

use confext_ddi::fs::{FileSystem, FileType, Metadata};
use confext_ddi::lint::rules;

use super::Unknown;
use crate::directory::{join, lookup};

/// One of the directories, with all its files.
pub(super) struct Part<'a> {
    /// Its files, or why they are not known.
    pub(super) files: Result<&'a dyn FileSystem, &'a Unknown>,
    /// The extension's name, or what else it is; for messages.
    pub(super) name: &'a str,
    /// The directory in its files.
    pub(super) root: &'static str,
}

/// All of them, topmost first.
pub(super) struct Parts<'a>(pub(super) Vec<Part<'a>>);

/// A directory of the overlay, with the parts that have it as a directory.
pub(super) struct Level {
    /// Below the hierarchy.
    pub(super) path: Vec<u8>,
    members: Vec<Member>,
}

/// A part that has a directory.
#[derive(Clone, Copy)]
pub(super) struct Member {
    part: usize,
    /// Whether what it has in it is seen where nothing above has it; else something above hides the directory.
    merged: bool,
}

/// A part that has a path.
pub(super) struct Found {
    pub(super) part: usize,
    pub(super) metadata: Metadata,
    merged: bool,
    /// Whether it is a directory that hides what is below it.
    opaque: bool,
}

/// A path, with the parts that have it.
pub(super) struct Node {
    /// Below the hierarchy.
    pub(super) path: Vec<u8>,
    /// Those that have it, topmost first.
    pub(super) found: Vec<Found>,
    /// Those of which it is not known, topmost first.
    pub(super) unknown: Vec<(usize, Unknown)>,
}

/// What is in a directory.
pub(super) struct Names {
    /// Each name with the parts that list it.
    pub(super) names: BTreeMap<Vec<u8>, Vec<Member>>,
    /// The parts that could not be listed.
    pub(super) failed: Vec<(usize, Unknown)>,
}

impl Node {
    /// The part whose file is seen.
    pub(super) fn top(&self) -> Option<&Found> {
        self.found.iter().find(|found| found.merged)
    }

    /// The parts whose directories are merged here, topmost first.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Found> {
        let merged = self.found.iter().filter(|found| found.merged);
        let directories = merged.take_while(|found| found.metadata.file_type == FileType::Directory);
        // The one that is opaque is the last.
        directories.scan(true, |open, found| std::mem::replace(open, !found.opaque).then_some(found))
    }

    /// Those that have the path and are not seen, whiteouts left out.
    pub(super) fn hidden(&self) -> impl Iterator<Item = &Found> {
        let top = self.top().map(|top| top.part);
        let others = self.found.iter().filter(move |found| Some(found.part) != top);
        others.filter(|found| !rules::is_whiteout(&found.metadata))
    }
}

impl Parts<'_> {
    /// The hierarchy itself.
    pub(super) fn root(&self) -> Node {
        let members = (0..self.0.len()).map(|part| Member { part, merged: true });
        self.look(&Level { path: Vec::new(), members: members.collect() }, b"")
    }

    /// A path below the hierarchy.
    pub(super) fn node(&self, path: &[u8]) -> Node {
        let mut node = self.root();
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            node = self.look(&self.enter(&node), name);
        }
        node
    }

    /// What is in a directory.
    pub(super) fn look(&self, level: &Level, name: &[u8]) -> Node {
        self.look_among(level, name, &level.members)
    }

    /// The same, where it is known who lists the name.
    pub(super) fn look_among(&self, level: &Level, name: &[u8], members: &[Member]) -> Node {
        let mut node = Node { path: below(&level.path, name), found: Vec::new(), unknown: Vec::new() };
        for (index, part) in self.0.iter().enumerate() {
            if let Err(unknown) = part.files {
                node.unknown.push((index, unknown.clone()));
            }
        }
        for member in members {
            let part = self.0.get(member.part);
            let Some((part, Ok(files))) = part.map(|part| (part, part.files)) else { continue };
            match lookup(files, &self.inside(member.part, &node.path)) {
                Ok(Some(metadata)) => {
                    let is_directory = metadata.file_type == FileType::Directory;
                    let opaque = is_directory && self.is_opaque(member.part, &node.path);
                    node.found.push(Found { part: member.part, metadata, merged: member.merged, opaque });
                }
                Ok(None) => {}
                Err(error) => node.unknown.push((member.part, unknown(part, &error))),
            }
        }
        node.unknown.sort_by_key(|(part, _)| *part);
        node
    }

    /// Goes into a directory.
    pub(super) fn enter(&self, node: &Node) -> Level {
        let (mut open, mut members) = (true, Vec::new());
        for found in &node.found {
            let is_directory = found.metadata.file_type == FileType::Directory;
            if is_directory {
                members.push(Member { part: found.part, merged: found.merged && open });
            }
            // What is below something that is no directory is not merged into what is above it.
            if found.merged && open {
                open = is_directory && !found.opaque;
            }
        }
        Level { path: node.path.clone(), members }
    }

    /// The names in a directory, each with those that list it; and the parts that could not be listed.
    pub(super) fn names(&self, level: &Level) -> Names {
        let (mut names, mut failed) = (BTreeMap::<Vec<u8>, Vec<Member>>::new(), Vec::new());
        for member in &level.members {
            let Some((part, Ok(files))) = self.0.get(member.part).map(|part| (part, part.files)) else {
                continue;
            };
            match files.read_dir(&self.inside(member.part, &level.path)) {
                Ok(entries) => {
                    for entry in entries {
                        names.entry(entry.name).or_default().push(*member);
                    }
                }
                Err(error) => failed.push((member.part, unknown(part, &error))),
            }
        }
        Names { names, failed }
    }

    /// A path of the hierarchy, as a part has it.
    pub(super) fn inside(&self, part: usize, path: &[u8]) -> Vec<u8> {
        let root = self.0.get(part).map_or("", |part| part.root).as_bytes();
        if path.is_empty() { root.to_vec() } else { join(root, path) }
    }

    fn is_opaque(&self, part: usize, path: &[u8]) -> bool {
        let Some(Ok(files)) = self.0.get(part).map(|part| part.files) else { return false };
        let attributes = files.xattrs(&self.inside(part, path)).unwrap_or_default();
        attributes.iter().any(|(name, value)| name == b"trusted.overlay.opaque" && value == b"y")
    }
}

fn below(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if name.is_empty() { directory.to_vec() } else { join(directory, name) }
}

fn unknown(part: &Part<'_>, error: &confext_ddi::Error) -> Unknown {
    Unknown { layer: part.name.to_owned(), code: error.code(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
