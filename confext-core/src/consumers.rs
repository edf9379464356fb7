//! [`After`]: who has to hear of a changed stack: units, D-Bus, sysusers, tmpfiles, udev and others, and of which files

mod kind;

use std::collections::{BTreeMap, BTreeSet};

use confext_ddi::digest::{self, RootHash};
use confext_ddi::fs::{FileSystem, FileType, Metadata};
use serde::{Deserialize, Serialize};

use crate::units::{Invalid, Request, file_of};

pub use kind::{Action, Consumer};

/// A file of an extension that some program reads, as the record of a stack has it.
///
/// ```
/// # let (directory, path) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/record.in"));
/// use confext_core::{consumers::Consumed, state::Record};
///
/// // In the record of a stack that is merged.
/// let record: Record = serde_json::from_slice(&std::fs::read(path)?)?;
/// let consumed: Vec<Consumed> = record.heard.and_then(|heard| heard.consumed).unwrap_or_default();
/// assert_eq!(consumed[0].path, "etc/sysctl.d/50-app.conf");
/// assert!(consumed[0].digest != Consumed::HIDDEN && !consumed[0].over_host);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Consumed {
    /// Below the root.
    pub path: String,
    /// The extension that it comes from.
    pub layer: String,
    /// What is there: [`Consumed::HIDDEN`] where the extension takes a file of the host away, else a digest of what a
    /// program would notice. Large files are not read: their digest is that of their size and time.
    pub digest: String,
    /// Whether the host has a file there, too.
    pub over_host: bool,
}

/// What has to be done after a change of a stack, by whom.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{consumers::After, plan};
/// use confext_ddi::release::Class;
///
/// let after: After = plan(&host, Class::Confext, &options)?.after;
/// assert!(after.complete);
/// let consumers: Vec<_> = after.consumers.iter().map(|affected| affected.consumer.as_str()).collect();
/// assert_eq!(consumers, ["sysctl"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct After {
    /// Whether these are all changes: not when another program merged what was there before.
    pub complete: bool,
    /// Programs and the files that are new, gone or different for them; those without any are left out.
    pub consumers: Vec<Affected>,
    /// What the extensions ask of the service manager.
    pub manager: Work,
}

/// A program, and what is different for it.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{consumers::{Action, Affected}, plan};
/// use confext_ddi::release::Class;
///
/// let affected: Affected = plan(&host, Class::Confext, &options)?.after.consumers.remove(0);
/// assert_eq!(affected.paths[0].path, "etc/sysctl.d/50-app.conf");
/// let Action::Command { command } = affected.action else { panic!("it does not watch") };
/// assert_eq!(command.join(" "), "systemctl restart systemd-sysctl.service");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Affected {
    /// Which.
    pub consumer: Consumer,
    /// What makes it notice.
    pub action: Action,
    /// What is different, sorted by path.
    pub paths: Vec<ChangedPath>,
}

/// A file that is different.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{consumers::PathChange, plan};
/// use confext_ddi::release::Class;
///
/// let after = plan(&host, Class::Confext, &options)?.after;
/// let changed = &after.consumers[0].paths[0];
/// assert_eq!((changed.path.as_str(), changed.change), ("etc/sysctl.d/50-app.conf", PathChange::Added));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChangedPath {
    /// Below the root.
    pub path: String,
    /// How.
    pub change: PathChange,
}

/// How a file is different.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{consumers::PathChange, plan};
/// use confext_ddi::release::Class;
///
/// // The host has a file of this name, too: it is another one then, and no new one.
/// std::fs::create_dir(root.path().join("etc/sysctl.d"))?;
/// std::fs::write(root.path().join("etc/sysctl.d/50-app.conf"), "vm.swappiness = 60\n")?;
/// let after = plan(&host, Class::Confext, &options)?.after;
/// assert_eq!(after.consumers[0].paths[0].change, PathChange::Changed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathChange {
    /// It was not there.
    Added,
    /// It is no longer there.
    Removed,
    /// It is another one.
    Changed,
}

/// What is asked of the service manager.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{consumers::Work, plan};
/// use confext_ddi::release::Class;
///
/// let release = "run/confexts/app/etc/extension-release.d/extension-release.app";
/// std::fs::write(root.path().join(release), "ID=demo\nEXTENSION_RESTART_UNITS=app.service\n")?;
/// let work: Work = plan(&host, Class::Confext, &options)?.after.manager;
/// assert_eq!(work.restart, ["app.service"]);
/// assert!(work.reload);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Work {
    /// Whether it has to read unit files again.
    pub reload: bool,
    /// Units to restart.
    pub restart: Vec<String>,
    /// Units to reload, or to restart where they cannot.
    pub reload_or_restart: Vec<String>,
    /// Units to stop: their file is gone.
    pub stop: Vec<String>,
    /// What extensions ask and that means nothing.
    pub invalid: Vec<InvalidOf>,
}

/// A value that means nothing, and whose it is.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{consumers::InvalidOf, plan};
/// use confext_ddi::release::Class;
///
/// let release = "run/confexts/app/etc/extension-release.d/extension-release.app";
/// std::fs::write(root.path().join(release), "ID=demo\nEXTENSION_RELOAD_MANAGER=maybe\n")?;
/// let wrong: InvalidOf = plan(&host, Class::Confext, &options)?.after.manager.invalid.remove(0);
/// assert_eq!((wrong.layer.as_str(), wrong.invalid.found.as_str()), ("app", "maybe"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InvalidOf {
    /// The extension.
    pub layer: String,
    /// What it asks.
    #[serde(flatten)]
    pub invalid: Invalid,
}

/// One stack, as far as anybody has to hear of it.
///
/// ```
/// # let (directory, path) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/record.in"));
/// use confext_core::{consumers::Heard, state::Record};
///
/// // In the record of a stack that is merged.
/// let record: Record = serde_json::from_slice(&std::fs::read(path)?)?;
/// let heard: Heard = record.heard.ok_or("written before this was")?;
/// assert_eq!(heard.consumed.map(|files| files.len()), Some(1));
/// assert!(heard.requests.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Heard {
    /// The files that programs read; `None` when that is not known, or when they are too many.
    pub consumed: Option<Vec<Consumed>>,
    /// What its extensions ask of the service manager, by name.
    pub requests: Vec<(String, Request)>,
}

impl Heard {
    /// Of no stack.
    pub(crate) fn nothing() -> Self {
        Self { consumed: Some(Vec::new()), requests: Vec::new() }
    }

    /// Adds a file, as long as they are not too many.
    pub(crate) fn add(&mut self, file: Consumed) {
        if let Some(consumed) = &mut self.consumed {
            consumed.push(file);
            if consumed.len() > Consumed::MOST {
                self.consumed = None;
            }
        }
    }

    /// What of it is in a hierarchy.
    pub(crate) fn below(&self, hierarchy: &str) -> Self {
        let is_below =
            |file: &&Consumed| file.path.strip_prefix(hierarchy).is_some_and(|rest| rest.starts_with('/'));
        let consumed = self.consumed.as_ref().map(|all| all.iter().filter(is_below).cloned().collect());
        Self { consumed, requests: self.requests.clone() }
    }

    /// All hierarchies of a stack together; `None` is one whose record does not say it.
    pub(crate) fn of_all<'a>(hierarchies: impl Iterator<Item = Option<&'a Self>>) -> Self {
        let mut all = Self::nothing();
        for one in hierarchies {
            all.consumed = match (all.consumed, one.and_then(|one| one.consumed.as_ref())) {
                (Some(found), Some(more)) => Some(found.into_iter().chain(more.iter().cloned()).collect()),
                _ => None,
            };
            for request in one.iter().flat_map(|one| &one.requests) {
                if !all.requests.contains(request) {
                    all.requests.push(request.clone());
                }
            }
        }
        all
    }
}

impl Consumed {
    /// The digest of what an extension takes away.
    pub const HIDDEN: &'static str = "hidden";
    /// Larger files are not read.
    const MOST_BYTES: u64 = 256 << 10;
    /// More files are not listed: the record of a stack stays small.
    pub(crate) const MOST: usize = 10_000;

    /// A file of an extension, if some program reads files of its path.
    pub(crate) fn of(
        path: &[u8],
        layer: &str,
        (files, inside): (&dyn FileSystem, &[u8]),
        (metadata, over_host): (&Metadata, bool),
    ) -> Option<Self> {
        Consumer::of(path)?;
        let path = String::from_utf8_lossy(path).into_owned();
        let digest = digest(files, inside, metadata);
        Some(Self { path, layer: layer.to_owned(), digest, over_host })
    }

    /// The same path, taken away.
    pub(crate) fn hidden(self) -> Self {
        Self { digest: Self::HIDDEN.to_owned(), ..self }
    }

    fn is_hidden(&self) -> bool {
        self.digest == Self::HIDDEN
    }

    /// Whether a program finds a file here.
    fn is_there(&self) -> bool {
        !self.is_hidden()
    }
}

/// What a program would notice of a file. Of one that cannot be read, only its attributes count.
fn digest(files: &dyn FileSystem, inside: &[u8], metadata: &Metadata) -> String {
    let mut content = Vec::new();
    match metadata.file_type {
        FileType::Regular if metadata.size_bytes <= Consumed::MOST_BYTES => {
            content = files.read(inside).unwrap_or_default();
        }
        FileType::Symlink => content = files.read_link(inside).unwrap_or_default(),
        FileType::Regular => content.extend_from_slice(&metadata.mtime_sec.to_le_bytes()),
        _ => {}
    }
    let about = format!("{} {:o} {}\0", metadata.file_type.as_str(), metadata.mode, metadata.size_bytes);
    RootHash::from_bytes(digest::sha256(&[about.as_bytes(), &content])).to_hex()
}

impl After {
    /// Nothing is different.
    pub(crate) fn nothing() -> Self {
        Self { complete: true, ..Self::default() }
    }

    /// What is different between two stacks.
    pub(crate) fn between(before: &Heard, now: &Heard) -> Self {
        let changes = changes(before.consumed.as_deref(), now.consumed.as_deref().unwrap_or_default());
        let mut affected: BTreeMap<Consumer, Vec<ChangedPath>> = BTreeMap::new();
        for (path, change) in &changes {
            if let Some(consumer) = Consumer::of(path.as_bytes()) {
                let path = (*path).to_owned();
                affected.entry(consumer).or_default().push(ChangedPath { path, change: *change });
            }
        }
        let consumers = affected
            .into_iter()
            .map(|(consumer, paths)| Affected { consumer, action: consumer.action(), paths })
            .collect();
        let complete = before.consumed.is_some() && now.consumed.is_some();
        Self { complete, consumers, manager: Work::between(before, now, &changes) }
    }
}

/// The paths that are different, with how.
fn changes<'a>(before: Option<&'a [Consumed]>, now: &'a [Consumed]) -> BTreeMap<&'a str, PathChange> {
    let by_path = |files: &'a [Consumed]| -> BTreeMap<&'a str, &'a Consumed> {
        files.iter().map(|file| (file.path.as_str(), file)).collect()
    };
    let (before, now) = (by_path(before.unwrap_or_default()), by_path(now));
    let paths: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
    let mut changes = BTreeMap::new();
    for path in paths {
        let (old, new) = (before.get(path).copied(), now.get(path).copied());
        let over_host = old.or(new).is_some_and(|file| file.over_host);
        let was = old.map_or(over_host, Consumed::is_there);
        let is = new.map_or(over_host, Consumed::is_there);
        let same = old.is_some() && old.map(|file| &file.digest) == new.map(|file| &file.digest);
        match (was, is) {
            (false, true) => changes.insert(path, PathChange::Added),
            (true, false) => changes.insert(path, PathChange::Removed),
            (true, true) if !same => changes.insert(path, PathChange::Changed),
            _ => None,
        };
    }
    changes
}

impl Work {
    /// As systemd has it: what all extensions ask that are merged now, and of those that are gone what concerns units
    /// whose file is gone, too.
    fn between(before: &Heard, now: &Heard, changes: &BTreeMap<&str, PathChange>) -> Self {
        let mut work = Self::default();
        let gone =
            before.requests.iter().filter(|(name, _)| !now.requests.iter().any(|(other, _)| other == name));
        let vanished = |unit: &str| {
            let file = file_of(unit);
            changes.iter().any(|(path, change)| {
                *change == PathChange::Removed
                    && Consumer::of(path.as_bytes()) == Some(Consumer::Units)
                    && path.rsplit('/').next() == Some(file.as_str())
            })
        };
        let all: Vec<_> = now.requests.iter().chain(gone).collect();
        for (name, request) in &all {
            work.reload |= request.reload;
            let of = |invalid: &Invalid| InvalidOf { layer: name.clone(), invalid: invalid.clone() };
            work.invalid.extend(request.invalid.iter().map(of));
        }
        let replaced = before.requests.iter().flat_map(|(_, request)| request.named());
        let mut stop: BTreeSet<&String> = replaced.filter(|unit| vanished(unit)).collect();
        let restart: BTreeSet<&String> = all.iter().flat_map(|(_, request)| &request.restart).collect();
        let gentle: BTreeSet<&String> =
            all.iter().flat_map(|(_, request)| &request.reload_or_restart).collect();
        work.restart = restart.difference(&stop).map(|unit| (*unit).clone()).collect();
        let gentle = gentle.difference(&restart).filter(|unit| !stop.contains(*unit));
        work.reload_or_restart = gentle.map(|unit| (*unit).clone()).collect();
        work.stop = std::mem::take(&mut stop).into_iter().cloned().collect();
        work.reload |= !work.stop.is_empty();
        work
    }
}

#[cfg(test)]
mod tests;
