//! [`Tree`]: every path of every stack, one after the other. Nothing is kept but the way to the current path.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use confext_ddi::error::LimitExceeded;
use confext_ddi::fs::FileType;

use super::answer::{Answerer, Seen};
use super::parts::{Level, Member, Node};
use super::stack::Stack;
use super::{Answer, Origin, Tracer, Unknown, View};
use crate::directory;
use crate::error::{Error, Result};
use crate::sys::{self, OFlags, ResolveFlags};

/// The answers for all paths of a [`Tracer`], made by [`Tracer::tree`]: hierarchy by hierarchy, a directory before what is in
/// it, names sorted by their bytes. What is hidden is among them, with no `file_type`; what is below a mount on top of the
/// stack is not, only the mount is.
///
/// An item is an error when something cannot be looked up (the walk goes on), or when [`Limits::entries`] or
/// [`Limits::depth`] is reached (`limit-count`; the walk ends).
///
/// [`Limits::entries`]: confext_ddi::limits::Limits::entries
/// [`Limits::depth`]: confext_ddi::limits::Limits::depth
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trace::{Answer, Options, Tracer};
/// use confext_ddi::release::Class;
///
/// let tracer = Tracer::planned(&host, &[Class::Confext], &options, &Options::default())?;
/// let mut from_site = Vec::new();
/// for origin in tracer.tree() {
///     let origin = origin?;
///     match &origin.answer {
///         Answer::Layer { source, .. } if source.layer == "site" => from_site.push(origin.path),
///         _ => {}
///     }
/// }
/// assert!(from_site.contains(&"/etc/motd".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tree<'a> {
    tracer: &'a Tracer<'a>,
    stacks: std::slice::Iter<'a, Stack>,
    walk: Option<Walk<'a>>,
    entries: u64,
    done: u64,
}

/// How far a walk is. How many paths there are is known when it is at its end, so paths are not what is counted: the names in a
/// directory have equal parts of what the directory has, and the hierarchies equal parts of all.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trace::{Options, Progress, Tracer};
/// use confext_ddi::release::Class;
///
/// let tracer = Tracer::planned(&host, &[Class::Confext], &options, &Options::default())?;
/// let mut tree = tracer.tree();
/// let mut percents = Vec::new();
/// while let Some(origin) = tree.next() {
///     origin?;
///     let Progress { done, total } = tree.progress();
///     percents.push(done * 100 / total);
/// }
/// assert!(percents.is_sorted());
/// assert_eq!(percents.last(), Some(&100));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Progress {
    /// What is done, never less than before.
    pub done: u64,
    /// All of it.
    pub total: u64,
}

/// What all hierarchies have together.
const WHOLE: u64 = 1_000_000_000;

impl Progress {
    /// After so many of some equal parts and this much of the next one.
    pub(crate) fn after(self, parts: usize, of: usize) -> Self {
        let [parts, of] = [parts, of].map(|number| u64::try_from(number).unwrap_or(u64::MAX));
        let done = parts.saturating_mul(self.total).saturating_add(self.done);
        Self { done: done.checked_div(of).unwrap_or(self.total).min(self.total), total: self.total }
    }

    /// Nothing.
    pub(crate) const NONE: Self = Self { done: 0, total: WHOLE };
}

/// What a directory has of [`WHOLE`], for its names to share.
#[derive(Debug, Clone, Copy)]
struct Share {
    start: u64,
    span: u64,
}

impl Share {
    /// Where the part of a name begins. That of the one after the last begins where this ends.
    fn at(self, name: usize, of: usize) -> u64 {
        let [name, of] = [name, of].map(|number| u64::try_from(number).unwrap_or(u64::MAX));
        let before = self.span.saturating_mul(name).checked_div(of).unwrap_or(self.span);
        self.start.saturating_add(before.min(self.span))
    }

    fn of(self, name: usize, of: usize) -> Self {
        let start = self.at(name, of);
        Self { start, span: self.at(name.saturating_add(1), of).saturating_sub(start) }
    }
}

/// One stack on the way.
struct Walk<'a> {
    answerer: Answerer<'a>,
    frames: Vec<Frame>,
}

/// A directory, with the names that are still to come.
struct Frame {
    share: Share,
    /// How many names there were.
    count: usize,
    level: Level,
    names: std::collections::btree_map::IntoIter<Vec<u8>, Name>,
    failed: Vec<(usize, Unknown)>,
}

/// A name in a directory.
#[derive(Default)]
struct Name {
    /// Those that list it.
    members: Vec<Member>,
    /// Whether it can be seen.
    seen: bool,
}

impl std::fmt::Debug for Tree<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl Frame {
    /// Which name is the next one.
    fn next(&self) -> usize {
        self.count.saturating_sub(self.names.len())
    }
}

impl<'a> Tree<'a> {
    pub(super) fn new(tracer: &'a Tracer<'a>) -> Self {
        Self { tracer, stacks: tracer.stacks.iter(), walk: None, entries: 0, done: 0 }
    }

    /// How far it is, with the last item that it gave; all is done when there is none any more.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { done: self.done, total: WHOLE }
    }

    /// What is done with the path that was visited last.
    fn reached(&self) -> u64 {
        match self.walk.as_ref().and_then(|walk| walk.frames.last()) {
            Some(frame) => frame.share.at(frame.next(), frame.count),
            None => self.share(0).start,
        }
    }

    /// What a stack has, so many before the next one.
    fn share(&self, before: usize) -> Share {
        let of = self.tracer.stacks.len();
        let next = of.saturating_sub(self.stacks.len());
        Share { start: 0, span: WHOLE }.of(next.saturating_sub(before), of)
    }

    fn stop<T>(&mut self, what: &'static str, found: u64, most: u64) -> Result<T> {
        self.walk = None;
        self.stacks = [].iter();
        Err(Error::Ddi(LimitExceeded::Count { what, found, most }.into()))
    }

    /// The hierarchy itself.
    fn start(&mut self, stack: &'a Stack) -> Result<Option<Origin>> {
        let answerer = Answerer::new(stack, &self.tracer.context);
        let node = answerer.sight.parts.root();
        self.walk = Some(Walk { answerer, frames: Vec::new() });
        self.visit(&node, true, self.share(1))
    }

    fn step(&mut self) -> Option<Result<Option<Origin>>> {
        let walk = self.walk.as_mut()?;
        let frame = walk.frames.last_mut()?;
        let share = frame.share.of(frame.next(), frame.count);
        let Some((name, found)) = frame.names.next() else {
            walk.frames.pop();
            return Some(Ok(None));
        };
        let mut node = walk.answerer.sight.parts.look_among(&frame.level, &name, &found.members);
        node.unknown.extend(frame.failed.iter().cloned());
        node.unknown.sort_by_key(|(part, _)| *part);
        let seen = found.seen;
        Some(self.visit(&node, seen, share))
    }

    /// Answers for a path, and goes into it when it is a directory.
    fn visit(&mut self, node: &Node, listed: bool, share: Share) -> Result<Option<Origin>> {
        self.entries = self.entries.saturating_add(1);
        let limits = &self.tracer.context.options.limits;
        let (entries, depth) = (limits.entries, u64::from(limits.depth));
        if self.entries > entries {
            return self.stop("files in a tree", self.entries, entries);
        }
        let Some(walk) = self.walk.as_mut() else { return Ok(None) };
        let view = self.tracer.view;
        let (answer, file_type, enter) = match view {
            View::Planned => planned(&walk.answerer, node),
            View::Live => {
                let seen = if listed { see(&walk.answerer, &node.path)? } else { None };
                let answer = walk.answerer.answer(node, seen.as_ref());
                let enter = seen.as_ref().is_some_and(Seen::is_directory);
                (answer, seen.map(|seen| seen.metadata.file_type), enter)
            }
        };
        if enter {
            let levels = u64::try_from(walk.frames.len()).unwrap_or(u64::MAX);
            if levels >= depth {
                return self.stop("levels of directories", levels, depth);
            }
            walk.frames.push(frame(&walk.answerer, node, share)?);
        }
        if answer == Answer::Absent {
            return Ok(None);
        }
        let inside = OsStr::from_bytes(&node.path);
        let mut path = Path::new("/").join(&walk.answerer.stack.path);
        if !inside.is_empty() {
            path.push(inside);
        }
        Ok(Some(Origin { path, view, file_type, answer, target: None }))
    }
}

impl Iterator for Tree<'_> {
    type Item = Result<Origin>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let step = match self.step() {
                Some(step) => step,
                None => {
                    let Some(stack) = self.stacks.next() else {
                        self.done = WHOLE;
                        return None;
                    };
                    self.start(stack)
                }
            };
            self.done = self.reached().max(self.done);
            match step {
                Ok(Some(origin)) => return Some(Ok(origin)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn planned(answerer: &Answerer<'_>, node: &Node) -> (Answer, Option<FileType>, bool) {
    let answer = answerer.expected(node);
    let gone = matches!(answer, Answer::Absent | Answer::Hidden { .. } | Answer::Deleted { .. });
    let file_type = node.top().filter(|_| !gone).map(|top| top.metadata.file_type);
    let enter = file_type == Some(FileType::Directory);
    (answer, file_type, enter)
}

/// What is seen at a path of the merged tree.
fn see(answerer: &Answerer<'_>, path: &[u8]) -> Result<Option<Seen>> {
    let Some(live) = &answerer.stack.live else { return Ok(None) };
    let place = match open(&live.top, path, OFlags::NOFOLLOW) {
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        place => place,
    };
    place
        .and_then(|place| Seen::new(&place, live))
        .map(Some)
        .map_err(|error| Error::os("look up", String::from_utf8_lossy(path), error))
}

fn open(top: &OwnedFd, path: &[u8], flags: OFlags) -> std::io::Result<OwnedFd> {
    let path = if path.is_empty() { &b"."[..] } else { path };
    sys::open_path(top.as_fd(), path, flags, ResolveFlags::NO_SYMLINKS)
}

/// What is in a directory: what can be seen, and what the parts have.
fn frame(answerer: &Answerer<'_>, node: &Node, share: Share) -> Result<Frame> {
    let parts = &answerer.sight.parts;
    let level = parts.enter(node);
    let listed = parts.names(&level);
    let mut names: BTreeMap<Vec<u8>, Name> = BTreeMap::new();
    for (name, members) in listed.names {
        names.insert(name, Name { members, seen: false });
    }
    if let Some(live) = &answerer.stack.live {
        let failed = |error| Error::os("list", String::from_utf8_lossy(&node.path), error);
        let place = open(&live.top, &node.path, OFlags::DIRECTORY | OFlags::NOFOLLOW).map_err(failed)?;
        let seen = directory::names(place.as_fd()).map_err(|errno| failed(errno.into()))?;
        for name in seen {
            names.entry(name).or_default().seen = true;
        }
    }
    Ok(Frame { share, count: names.len(), level, names: names.into_iter(), failed: listed.failed })
}
