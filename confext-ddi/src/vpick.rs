//! `.v/` directories: name grammar, filter, choice.
//!
//! ```text
//! BASE _ VERSION [_ ARCHITECTURE] [+ LEFT [- DONE]] SUFFIX         app_1.2_x86-64+3-0.raw
//! ```
//!
//! Names go in, one choice and every rejection with its reason come out; nothing here looks at a disk. The caller lists
//! the directory and says of each entry what it is once symbolic links are followed ([`EntryKind`]).
//!
//! Two things are kept stricter than in systemd, because there they give a random or surprising result: an entry whose
//! last `_` part is no known architecture is rejected instead of being cut (`foo_1_2` and `foo_1_3` would both be
//! version `1`), and a dangling link is rejected instead of failing the whole choice.

mod choice;
mod name;
mod pattern;

pub use choice::{Best, Choice, Pick, Reason, Rejection, choose};
pub use name::Tries;
pub use pattern::{Pattern, VersionedImage};

use crate::dps::Architecture;

/// One entry of a `.v/` directory.
///
/// ```
/// use confext_ddi::vpick::{Accept, Entry, EntryKind, Filter, choose};
///
/// let entries = ["app_1.raw", "app_2.raw"].map(|name| Entry::new(name, EntryKind::Regular));
/// let chosen = choose(entries, &[Filter::new("app", ".raw", Accept::Raw)]).chosen;
/// assert_eq!(chosen.map(|pick| pick.name), Some(b"app_2.raw".to_vec()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: for a symbolic link, that of the link.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
}

impl Entry {
    /// An entry as a directory listing gives it.
    #[must_use]
    pub fn new(name: impl Into<Vec<u8>>, kind: EntryKind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// What an entry is, after symbolic links.
///
/// ```
/// use confext_ddi::vpick::{Accept, Entry, EntryKind, Filter, choose};
///
/// // The newest one is a link that leads nowhere.
/// let entries = [Entry::new("app_1.raw", EntryKind::Regular), Entry::new("app_2.raw", EntryKind::Dangling)];
/// let choice = choose(entries, &[Filter::new("app", ".raw", Accept::Raw)]);
/// assert_eq!(choice.chosen.map(|pick| pick.kind), Some(EntryKind::Regular));
/// assert_eq!(choice.rejected[0].reason.code(), "kind");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A character device, pipe or socket.
    Other,
    /// A symbolic link that leads nowhere, or round and round.
    Dangling,
}

impl EntryKind {
    /// The name used in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular file",
            Self::Directory => "directory",
            Self::BlockDevice => "block device",
            Self::Other => "special file",
            Self::Dangling => "dangling symbolic link",
        }
    }
}

/// Which kinds of entry a filter takes.
///
/// ```
/// use confext_ddi::vpick::{Accept, Entry, EntryKind, Filter, choose};
///
/// let entries = || [Entry::new("app_1", EntryKind::Directory), Entry::new("app_2", EntryKind::Regular)];
/// let version = |accept| choose(entries(), &[Filter::new("app", "", accept)]).chosen.map(|pick| pick.version);
/// assert_eq!(version(Accept::Directory).as_deref(), Some("1"));
/// assert_eq!(version(Accept::Any).as_deref(), Some("2"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accept {
    /// Everything that exists.
    Any,
    /// Regular files and block devices.
    Raw,
    /// Directories.
    Directory,
}

impl Accept {
    const fn takes(self, kind: EntryKind) -> bool {
        match self {
            Self::Any => !matches!(kind, EntryKind::Dangling),
            Self::Raw => matches!(kind, EntryKind::Regular | EntryKind::BlockDevice),
            Self::Directory => matches!(kind, EntryKind::Directory),
        }
    }
}

/// What the architecture part of a name means.
///
/// ```
/// use confext_ddi::dps::Architecture;
/// use confext_ddi::vpick::{Accept, ArchitectureRule, Entry, EntryKind, Filter, choose};
///
/// let native = Architecture::X86_64;
/// let rule = ArchitectureRule::Host { native, secondary: native.secondary() };
/// let filter = Filter::new("app", ".raw", Accept::Raw).architecture(rule);
/// let names = ["app_2_x86.raw", "app_2_x86-64.raw", "app_3_arm64.raw"];
/// let choice = choose(names.map(|name| Entry::new(name, EntryKind::Regular)), &[filter]);
/// assert_eq!(choice.chosen.and_then(|pick| pick.architecture), Some(native));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArchitectureRule {
    /// Names have no such part: an underscore belongs to nothing and makes the version invalid.
    Unused,
    /// Names of this machine's architecture, of the one it runs besides (x86 on x86-64), and without any.
    Host {
        /// The machine's own.
        native: Architecture,
        /// The one it runs besides.
        secondary: Option<Architecture>,
    },
    /// Names of this architecture only.
    Only(Architecture),
}

/// What the `+LEFT-DONE` part of a name means.
///
/// ```
/// use confext_ddi::vpick::{Accept, Entry, EntryKind, Filter, TriesRule, choose};
///
/// // Version 2 was tried three times, and never worked.
/// let names = ["app_1.raw", "app_2+0-3.raw"].map(|name| Entry::new(name, EntryKind::Regular));
/// let filter = Filter::new("app", ".raw", Accept::Raw).tries(TriesRule::Honoured);
/// assert_eq!(choose(names, &[filter]).chosen.map(|pick| pick.version), Some("1".to_owned()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TriesRule {
    /// Names have no such part: a plus sign makes the version invalid.
    Unused,
    /// An entry with no tries left is taken only when there is no other.
    Honoured,
}

/// What is looked for.
///
/// ```
/// use confext_ddi::vpick::{Accept, Entry, EntryKind, Filter, choose};
///
/// let names = ["app_1.9.raw", "app_1.10.raw", "other_2.raw"];
/// let entries = names.map(|name| Entry::new(name, EntryKind::Regular));
/// let choice = choose(entries, &[Filter::new("app", ".raw", Accept::Raw)]);
/// assert_eq!(choice.chosen.map(|pick| pick.version), Some("1.10".to_owned()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// What names start with, before the first `_`; when empty, names start with the version.
    pub base: Vec<u8>,
    /// What names end in, like `.raw`.
    pub suffix: Vec<u8>,
    /// Which kinds of entry.
    pub accept: Accept,
    /// Only this version: the same text, not one that compares equal.
    pub version: Option<String>,
    /// Which architectures.
    pub architecture: ArchitectureRule,
    /// Whether counters are read.
    pub tries: TriesRule,
}

impl Filter {
    /// Any version of `base` and `suffix`; neither architecture nor counters in names.
    #[must_use]
    pub fn new(base: impl Into<Vec<u8>>, suffix: impl Into<Vec<u8>>, accept: Accept) -> Self {
        Self {
            base: base.into(),
            suffix: suffix.into(),
            accept,
            version: None,
            architecture: ArchitectureRule::Unused,
            tries: TriesRule::Unused,
        }
    }

    /// Only this version.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Reads architectures in names, by this rule.
    #[must_use]
    pub fn architecture(mut self, rule: ArchitectureRule) -> Self {
        self.architecture = rule;
        self
    }

    /// Reads counters in names, by this rule.
    #[must_use]
    pub fn tries(mut self, rule: TriesRule) -> Self {
        self.tries = rule;
        self
    }
}
