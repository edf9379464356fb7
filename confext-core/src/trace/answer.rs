//! From what the parts of a stack have at a path, and what is seen there, to the answer.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use confext_ddi::fs::{FileSystem as _, FileType, Metadata};
use confext_ddi::lint::rules;

use super::layers::Context;
use super::parts::{Found, Node};
use super::stack::{Live, Role, Sight, Stack};
use super::{Answer, Compare, Presence, Shadow};
use crate::attach::Reads;
use crate::directory::{self, Directory};
use crate::sys;

/// What is seen at a path of a merged stack.
pub(super) struct Seen {
    pub(super) metadata: Metadata,
    /// Whether it is on a mount of its own.
    submount: bool,
}

impl Seen {
    /// Of a place that was opened.
    pub(super) fn new(place: &OwnedFd, live: &Live) -> std::io::Result<Self> {
        let submount = sys::mount_id(place.as_fd())? != live.mount;
        Ok(Self { metadata: directory::metadata(place.as_fd())?, submount })
    }

    /// Whether there is more of the stack in it.
    pub(super) fn is_directory(&self) -> bool {
        !self.submount && self.metadata.file_type == FileType::Directory
    }
}

/// Answers for the paths of one stack.
pub(super) struct Answerer<'a> {
    pub(super) stack: &'a Stack,
    pub(super) sight: Sight<'a>,
    context: &'a Context<'a>,
    /// The merged files, where their content is compared.
    seen: Option<Directory>,
}

const NOT_SEEN: &str = "what the extensions have at this path is not what is seen";

impl<'a> Answerer<'a> {
    pub(super) fn new(stack: &'a Stack, context: &'a Context<'a>) -> Self {
        let seen = stack.live.as_ref().and_then(|live| live.top.try_clone().ok());
        let seen = seen.map(|top| Directory::new(top, &context.options.limits));
        Self { stack, sight: stack.sight(context), context, seen }
    }

    /// What a merge gives at a path, if everything is as it was written down.
    pub(super) fn expected(&self, node: &Node) -> Answer {
        let hierarchy = self.stack.hierarchy;
        let unknown_above = |part: usize| {
            let above = node.unknown.iter().take_while(|(unknown, _)| *unknown < part);
            above.map(|(_, unknown)| unknown.clone()).collect::<Vec<_>>()
        };
        let Some(top) = node.top() else {
            return match self.sight.host {
                _ if !node.unknown.is_empty() => self.cannot_tell_of(unknown_above(usize::MAX)),
                Presence::Unknown => Answer::Base { hierarchy, base: Presence::Unknown },
                _ => Answer::Absent,
            };
        };
        if top.metadata.file_type == FileType::Directory {
            return self.directory(node);
        }
        let above = unknown_above(top.part);
        if !above.is_empty() {
            return self.cannot_tell_of(above);
        }
        let shadows = self.shadows(node);
        let whiteout = rules::is_whiteout(&top.metadata);
        match self.sight.role(top.part) {
            Role::Layer(source) if whiteout => {
                Answer::Hidden { hierarchy, source: Arc::clone(source), shadows }
            }
            Role::Layer(source) => Answer::Layer { hierarchy, source: Arc::clone(source), shadows },
            Role::Written | Role::Imported if whiteout => Answer::Deleted { hierarchy, shadows },
            Role::Written | Role::Imported if shadows.is_empty() => Answer::Written { hierarchy },
            Role::Written | Role::Imported => Answer::CopiedUp { hierarchy, shadows },
            Role::Host if whiteout => Answer::Absent,
            Role::Host => Answer::Base { hierarchy, base: Presence::Present },
            Role::Unknown => self.mismatch(node),
        }
    }

    /// What is to be said of a path of a merged stack, where this is seen.
    pub(super) fn answer(&self, node: &Node, seen: Option<&Seen>) -> Answer {
        let hierarchy = self.stack.hierarchy;
        if seen.is_some_and(|seen| seen.submount) {
            return Answer::Submount { hierarchy };
        }
        if self.is_metadata(&node.path) && seen.is_some() {
            return Answer::Metadata { hierarchy };
        }
        if let Some(trouble) = &self.stack.trouble {
            let (because, doubts) = (Some(trouble.because), trouble.doubts.clone());
            return Answer::CannotTell { hierarchy, unknown: Vec::new(), because, doubts };
        }
        let expected = self.expected(node);
        match seen {
            None => self.unseen(expected, node),
            Some(seen) if seen.metadata.file_type == FileType::Directory => {
                self.seen_directory(expected, node, seen)
            }
            Some(seen) => self.seen_file(expected, node, seen),
        }
    }

    /// Whether a path is the stack's own metadata.
    pub(super) fn is_metadata(&self, path: &[u8]) -> bool {
        let own = self.stack.metadata.as_bytes();
        matches!(path.strip_prefix(own), Some([] | [b'/', ..]))
    }

    fn unseen(&self, expected: Answer, node: &Node) -> Answer {
        let hierarchy = self.stack.hierarchy;
        match expected {
            Answer::Absent | Answer::Base { base: Presence::Unknown, .. } => Answer::Absent,
            Answer::Deleted { .. } | Answer::Hidden { .. } | Answer::CannotTell { .. } => expected,
            _ if self.sight.memory => {
                let top = node.top().and_then(|top| self.shadow(top));
                let shadows = top.into_iter().chain(self.shadows(node)).collect();
                Answer::Deleted { hierarchy, shadows }
            }
            _ => self.mismatch(node),
        }
    }

    fn seen_directory(&self, expected: Answer, node: &Node, seen: &Seen) -> Answer {
        let hierarchy = self.stack.hierarchy;
        match expected {
            Answer::Directory { .. }
            | Answer::Written { .. }
            | Answer::Base { base: Presence::Present, .. } => {
                // The metadata gives the hierarchy itself the attributes of the host's directory.
                let top = node.top().filter(|_| !node.path.is_empty());
                let same = top.is_none_or(|top| {
                    let (there, seen) = self.comparable(top, &seen.metadata);
                    let what = |m: &Metadata| (m.file_type, m.mode, m.uid, m.gid);
                    what(&there) == what(&seen)
                });
                if same || self.sight.memory { expected } else { self.mismatch(node) }
            }
            Answer::Base { .. } | Answer::CannotTell { .. } => expected,
            _ if self.sight.memory => Answer::Written { hierarchy },
            // On the way to a mount that no layer has a place for.
            Answer::Absent => Answer::Metadata { hierarchy },
            _ => self.mismatch(node),
        }
    }

    fn seen_file(&self, expected: Answer, node: &Node, seen: &Seen) -> Answer {
        let hierarchy = self.stack.hierarchy;
        let same = node.top().is_some_and(|top| self.is_same(top, &seen.metadata, &node.path));
        match expected {
            Answer::CannotTell { .. } | Answer::Base { base: Presence::Unknown, .. } => expected,
            Answer::Layer { .. } | Answer::Base { .. } | Answer::CopiedUp { .. } | Answer::Written { .. }
                if same =>
            {
                expected
            }
            // The layers cannot change, so what is seen was written.
            Answer::Absent if self.sight.memory => Answer::Written { hierarchy },
            _ if self.sight.memory => {
                let top = node.top().and_then(|top| self.shadow(top));
                Answer::CopiedUp { hierarchy, shadows: top.into_iter().chain(self.shadows(node)).collect() }
            }
            _ => self.mismatch(node),
        }
    }

    /// The overlay shows a layer's file as it is, but for the number of the device.
    fn is_same(&self, top: &Found, seen: &Metadata, path: &[u8]) -> bool {
        let what = |m: &Metadata| {
            (m.file_type, m.mode, m.uid, m.gid, m.size_bytes, m.mtime_sec, m.mtime_nsec, m.rdev)
        };
        // What was copied up keeps the number of what it was copied from.
        let numbered = matches!(self.sight.role(top.part), Role::Layer(_) | Role::Host);
        let numbered = numbered && !self.is_extracted(top);
        let (there, compared) = self.comparable(top, seen);
        if what(&there) != what(&compared) || (numbered && !is_same_number(top.metadata.ino, seen.ino)) {
            return false;
        }
        let compared =
            self.context.options.compare == Compare::Content && seen.file_type == FileType::Regular;
        !compared || self.has_same_content(top, path, seen.size_bytes)
    }

    /// Whether an ordinary user wrote the layer's files to memory.
    fn is_extracted(&self, found: &Found) -> bool {
        let Role::Layer(source) = self.sight.role(found.part) else { return false };
        source.attached.as_ref().is_some_and(|way| way.reads == Reads::Extracted)
    }

    /// What a layer has and what is seen, without what is not kept of a file that was written to memory: it is the user's,
    /// and gives nobody rights.
    fn comparable(&self, top: &Found, seen: &Metadata) -> (Metadata, Metadata) {
        const SET_ID: u16 = 0o6000;
        let (mut there, mut seen) = (top.metadata.clone(), seen.clone());
        if self.is_extracted(top) {
            for metadata in [&mut there, &mut seen] {
                (metadata.uid, metadata.gid) = (0, 0);
                metadata.mode &= !SET_ID;
            }
        }
        (there, seen)
    }

    fn has_same_content(&self, top: &Found, path: &[u8], size_bytes: u64) -> bool {
        let Some(Ok(files)) = self.sight.parts.0.get(top.part).map(|part| part.files) else { return false };
        let Some(seen) = &self.seen else { return false };
        let inside = self.sight.parts.inside(top.part, path);
        let (mut one, mut other) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
        let mut offset = 0;
        while offset < size_bytes {
            let (Ok(a), Ok(b)) =
                (files.read_at(&inside, offset, &mut one), seen.read_at(path, offset, &mut other))
            else {
                return false;
            };
            if a != b || a == 0 || one.get(..a) != other.get(..b) {
                return false;
            }
            offset = offset.saturating_add(u64::try_from(a).unwrap_or(u64::MAX));
        }
        true
    }

    fn directory(&self, node: &Node) -> Answer {
        let hierarchy = self.stack.hierarchy;
        let (mut sources, mut base, mut written) = (Vec::new(), Presence::Absent, Presence::Absent);
        for found in node.directories() {
            match self.sight.role(found.part) {
                Role::Layer(source) => sources.push(Arc::clone(source)),
                Role::Written | Role::Imported => written = Presence::Present,
                Role::Host => base = Presence::Present,
                Role::Unknown => {}
            }
        }
        let unknown: Vec<_> = node.unknown.iter().map(|(_, unknown)| unknown.clone()).collect();
        if self.sight.host == Presence::Unknown {
            base = Presence::Unknown;
        }
        match (sources.is_empty() && unknown.is_empty(), written) {
            (true, Presence::Absent) => Answer::Base { hierarchy, base },
            (true, _) if base == Presence::Absent => Answer::Written { hierarchy },
            _ => Answer::Directory { hierarchy, sources, base, written, unknown },
        }
    }

    fn shadows(&self, node: &Node) -> Vec<Shadow> {
        let top = node.top().map_or(0, |top| top.part);
        let hidden = node.hidden().filter_map(|found| Some((found.part, self.shadow(found)?)));
        let unknown = node.unknown.iter().filter(|(part, _)| *part > top);
        let unknown = unknown.map(|(part, unknown)| (*part, Shadow::Unknown { unknown: unknown.clone() }));
        let mut all: Vec<_> = hidden.chain(unknown).collect();
        all.sort_by_key(|(part, _)| *part);
        let mut shadows: Vec<_> = all.into_iter().map(|(_, shadow)| shadow).collect();
        if self.sight.host == Presence::Unknown {
            shadows.push(Shadow::BaseUnknown);
        }
        shadows
    }

    fn shadow(&self, found: &Found) -> Option<Shadow> {
        match self.sight.role(found.part) {
            Role::Layer(source) => Some(Shadow::Layer { source: Arc::clone(source) }),
            Role::Imported => Some(Shadow::Imported),
            Role::Host => Some(Shadow::Base),
            Role::Written | Role::Unknown => None,
        }
    }

    fn mismatch(&self, node: &Node) -> Answer {
        let hierarchy = self.stack.hierarchy;
        let unknown = node.unknown.iter().map(|(_, unknown)| unknown.clone()).collect();
        Answer::CannotTell { hierarchy, unknown, because: Some(NOT_SEEN), doubts: Vec::new() }
    }

    fn cannot_tell_of(&self, unknown: Vec<super::Unknown>) -> Answer {
        Answer::CannotTell { hierarchy: self.stack.hierarchy, unknown, because: None, doubts: Vec::new() }
    }
}

/// How much of a file is compared at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// An overlay with `xino` puts the number of the layer into the upper bits.
fn is_same_number(in_layer: u64, seen: u64) -> bool {
    let low = u64::from(u32::MAX);
    in_layer == seen || (seen > low && in_layer <= low && seen & low == in_layer)
}
