//! The paths of a report as a tree in columns: names and depths, and for each path the number of what is said of it, which
//! many paths have in common.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;

use confext_ddi::fs::FileType;
use confext_ddi::release::Class;
use serde::Serialize;

use super::Options;
use super::layers::Layers;
use crate::text::Path;
use crate::trace::{Answer, Origin, Presence, Shadow, Source, Traced, Unknown};

/// Paths, a directory before what is in it.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// As it is shown; of the first path of a hierarchy the whole path.
    pub(super) names: Vec<String>,
    /// How many directories of the hierarchy it is below.
    pub(super) depths: Vec<usize>,
    /// What is said of it: a place in [`kinds`](Self::kinds).
    pub(super) of: Vec<usize>,
    /// Paths that an objection is about: path and objection.
    pub(super) marks: Vec<(usize, usize)>,
    known: BTreeMap<Kind, usize>,
    /// How often something is above something else.
    overlaps: BTreeMap<(Upper, Below), u64>,
    /// Where the last path is: the names from the hierarchy on.
    place: Vec<Vec<u8>>,
    expected: BTreeMap<(&'static str, Vec<u8>), Vec<usize>>,
    tally: Tally,
    most: usize,
    most_of_host: usize,
}

/// How many paths there are, listed or not.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    listed: usize,
    listed_of_host: usize,
    left_out: u64,
    host_left_out: u64,
    shadowing: u64,
    hidden: u64,
    written: u64,
    unclear: u64,
}

/// What is said of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Kind {
    /// What is there, by the letter that `ls` has for it; `?` when nothing is.
    #[serde(rename = "t")]
    file_type: char,
    /// The answer's name; `between` for a directory of which nothing was said.
    #[serde(rename = "a")]
    answer: &'static str,
    /// The extensions it is from, topmost first.
    #[serde(rename = "l", skip_serializing_if = "Vec::is_empty")]
    layers: Vec<usize>,
    /// What has it, too, and is not seen; topmost first.
    #[serde(rename = "o", skip_serializing_if = "Vec::is_empty")]
    over: Vec<Below>,
    /// Of a directory, whether the host has it, too.
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    host: Option<&'static str>,
    /// Why it cannot be told.
    #[serde(rename = "w", skip_serializing_if = "Vec::is_empty")]
    why: Vec<String>,
}

/// What is above something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Upper {
    Layer(usize),
    Written,
}

/// What is not seen because of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub(super) enum Below {
    Layer(usize),
    /// `host`, `perhaps the host`, `written before the merge`.
    Other(&'static str),
    Unknown(String),
}

const HOST: &str = "host";

impl Files {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            names: Vec::new(),
            depths: Vec::new(),
            of: Vec::new(),
            marks: Vec::new(),
            known: BTreeMap::new(),
            overlaps: BTreeMap::new(),
            place: Vec::new(),
            expected: BTreeMap::new(),
            tally: Tally::default(),
            most: options.files,
            most_of_host: options.host_files,
        }
    }

    /// Says of a path that is still to come that an objection is about it.
    pub(super) fn expect(&mut self, hierarchy: &'static str, path: &[u8], objection: usize) {
        self.expected.entry((hierarchy, path.to_vec())).or_default().push(objection);
    }

    /// Takes a path of a stack.
    pub(super) fn add(&mut self, stack: &Traced, origin: &Origin, layers: &mut Layers) {
        let kind = Kind::of(stack.class, origin, layers);
        self.count(&kind, layers);
        let is_of_host = matches!(origin.answer, Answer::Base { .. });
        let (listed, most, left_out) = if is_of_host {
            (&mut self.tally.listed_of_host, self.most_of_host, &mut self.tally.host_left_out)
        } else {
            (&mut self.tally.listed, self.most, &mut self.tally.left_out)
        };
        if *listed >= most {
            *left_out = left_out.saturating_add(1);
            return;
        }
        *listed = listed.saturating_add(1);
        let inside = origin.path.strip_prefix(&stack.path).unwrap_or(&origin.path).as_os_str().as_bytes();
        self.push(stack, inside, kind);
    }

    fn push(&mut self, stack: &Traced, inside: &[u8], kind: Kind) {
        let mut names = vec![stack.path.as_os_str().as_bytes()];
        names.extend(inside.split(|&byte| byte == b'/').filter(|name| !name.is_empty()));
        let common = names.iter().zip(&self.place).take_while(|(name, known)| **name == &known[..]).count();
        // Of the directories on the way one may have been left out.
        let parents = names.len().saturating_sub(1);
        self.place.truncate(common.min(parents));
        for (depth, name) in names.into_iter().enumerate().skip(self.place.len()) {
            let kind = if depth == parents { kind.clone() } else { Kind::between() };
            let index = self.names.len();
            let next = self.known.len();
            self.names.push(Path(name).to_string());
            self.depths.push(depth);
            self.of.push(*self.known.entry(kind).or_insert(next));
            self.place.push(name.to_vec());
            if depth == parents {
                let objections = self.expected.get(&(stack.hierarchy, inside.to_vec()));
                self.marks.extend(objections.into_iter().flatten().map(|objection| (index, *objection)));
            }
        }
    }

    fn count(&mut self, kind: &Kind, layers: &mut Layers) {
        let more = |number: &mut u64| *number = number.saturating_add(1);
        match kind.answer {
            "hidden" => more(&mut self.tally.hidden),
            "written" | "copied-up" | "deleted" => more(&mut self.tally.written),
            "cannot-tell" => more(&mut self.tally.unclear),
            _ => {}
        }
        if kind.answer == "directory" || kind.file_type == 'd' {
            return;
        }
        let certain = kind.over.iter().any(|below| *below != Below::Other(PERHAPS));
        if certain {
            more(&mut self.tally.shadowing);
        }
        let top = kind.layers.first().copied();
        if let Some(layer) = top.and_then(|top| layers.get_mut(top)) {
            match kind.answer {
                "layer" => more(&mut layer.counts.seen),
                "hidden" => more(&mut layer.counts.removes),
                _ => {}
            }
            if certain && kind.answer == "layer" {
                more(&mut layer.counts.over);
            }
        }
        for below in &kind.over {
            if let Below::Layer(layer) = below
                && let Some(layer) = layers.get_mut(*layer)
            {
                more(&mut layer.counts.under);
            }
            if *below != Below::Other(PERHAPS) {
                let upper = top.map_or(Upper::Written, Upper::Layer);
                more(self.overlaps.entry((upper, below.clone())).or_default());
            }
        }
    }

    /// What can be said of a path, in the order of its numbers.
    pub(super) fn kinds(&self) -> Vec<&Kind> {
        let mut kinds: Vec<_> = self.known.iter().collect();
        kinds.sort_by_key(|(_, number)| **number);
        kinds.into_iter().map(|(kind, _)| kind).collect()
    }

    /// What is above what, the most files first.
    pub(super) fn overlaps(&self) -> Vec<(Upper, &Below, u64)> {
        let mut all: Vec<_> =
            self.overlaps.iter().map(|((upper, below), count)| (*upper, below, *count)).collect();
        all.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        all
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) const fn left_out(&self) -> u64 {
        self.tally.left_out
    }

    pub(super) const fn host_left_out(&self) -> u64 {
        self.tally.host_left_out
    }

    pub(super) const fn shadowing(&self) -> u64 {
        self.tally.shadowing
    }

    pub(super) const fn hidden(&self) -> u64 {
        self.tally.hidden
    }

    pub(super) const fn written(&self) -> u64 {
        self.tally.written
    }

    pub(super) const fn unclear(&self) -> u64 {
        self.tally.unclear
    }
}

const PERHAPS: &str = "perhaps the host";

impl Kind {
    const fn between() -> Self {
        Self {
            file_type: 'd',
            answer: "between",
            layers: Vec::new(),
            over: Vec::new(),
            host: None,
            why: Vec::new(),
        }
    }

    fn of(class: Class, origin: &Origin, layers: &Layers) -> Self {
        let number = |source: &Source| layers.number(class, &source.layer);
        let mut kind = Self {
            file_type: origin.file_type.map_or('?', letter),
            answer: origin.answer.as_str(),
            over: origin.answer.shadows().iter().map(|shadow| below(shadow, &number)).collect(),
            ..Self::between()
        };
        match &origin.answer {
            Answer::Layer { source, .. } | Answer::Hidden { source, .. } => {
                kind.layers = number(source).into_iter().collect();
            }
            Answer::Directory { sources, base, unknown, written, .. } => {
                kind.layers = sources.iter().filter_map(|source| number(source)).collect();
                kind.host = match base {
                    Presence::Present => Some(HOST),
                    Presence::Unknown => Some(PERHAPS),
                    Presence::Absent => None,
                };
                kind.why = unknown.iter().map(said).collect();
                if *written == Presence::Present {
                    kind.why.push("what was written after the merge has it, too".to_owned());
                }
            }
            Answer::CannotTell { unknown, because, doubts, .. } => {
                kind.why.extend(because.map(str::to_owned));
                kind.why.extend(unknown.iter().map(said));
                let doubts = doubts.iter();
                kind.why.extend(doubts.map(|doubt| format!("{}: found {}", doubt.what, doubt.found)));
            }
            _ => {}
        }
        kind
    }
}

fn said(unknown: &Unknown) -> String {
    format!("{}: [{}] {}", unknown.layer, unknown.code, unknown.reason)
}

fn below(shadow: &Shadow, number: &impl Fn(&Source) -> Option<usize>) -> Below {
    match shadow {
        Shadow::Layer { source } => {
            number(source).map_or_else(|| Below::Unknown(source.layer.clone()), Below::Layer)
        }
        Shadow::Unknown { unknown } => Below::Unknown(said(unknown)),
        Shadow::Imported => Below::Other("written before the merge"),
        Shadow::Base => Below::Other(HOST),
        Shadow::BaseUnknown => Below::Other(PERHAPS),
    }
}

const fn letter(file_type: FileType) -> char {
    match file_type {
        FileType::Regular => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::CharDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
    }
}
