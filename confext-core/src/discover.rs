//! Extension directories under a [`Host`]: candidates, and every refusal with its reason.
//!
//! | class | directories, the first one with a name wins |
//! |---|---|
//! | sysext | `/etc/extensions`, `/run/extensions`, `/var/lib/extensions` |
//! | confext | `/run/confexts`, `/var/lib/confexts`, `/usr/local/lib/confexts`, `/usr/lib/confexts` |
//!
//! In an initrd, `/.extra/sysext` and `/.extra/global_sysext` come last for sysext; for confext `/.extra/confext` and
//! `/.extra/global_confext` take the place of `/usr/lib/confexts`.
//!
//! Nothing of an image is read here. A name that is taken by something unusable stays taken: a lower directory never
//! fills in silently.

mod entry;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::release::{Class, Scope};
use rustix::fs::FileType;
use rustix::io::Errno;
use serde::Serialize;

use crate::directory;
use crate::error::{Error, Result, hint_of};
use crate::host::Host;
use crate::parallel;
use crate::sys::{Mode, OFlags};
pub(crate) use entry::{best, locate, masked};

/// What a candidate is.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::discover::{Kind, discover};
/// use confext_ddi::release::Class;
///
/// std::fs::write(root.path().join("run/confexts/extra.raw"), "its name decides")?;
/// let found = discover(&host, Class::Confext)?.candidates;
/// let kinds: Vec<_> = found.iter().map(|candidate| candidate.kind).collect();
/// assert_eq!(kinds, [Kind::Directory, Kind::Raw, Kind::Directory]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A plain directory tree.
    Directory,
    /// An image in a file.
    Raw,
    /// An image on a block device.
    Block,
}

/// An extension that was found: its name decides, nothing of it was read.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::discover::{Candidate, discover};
/// use confext_ddi::release::Class;
///
/// let versions = root.path().join("run/confexts/tool.raw.v");
/// std::fs::create_dir(&versions)?;
/// std::fs::write(versions.join("tool_1.raw"), "old")?;
/// std::fs::write(versions.join("tool_2.raw"), "new")?;
/// let tool: Candidate = discover(&host, Class::Confext)?.candidates.pop().ok_or("none")?;
/// assert_eq!((tool.name.as_str(), tool.version.as_deref()), ("tool", Some("2")));
/// assert!(tool.entry.ends_with("tool.raw.v") && tool.path.ends_with("tool_2.raw"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Candidate {
    /// The extension's name, without version and endings.
    pub name: String,
    /// Where it was found, inside the root: the name comes from here.
    #[serde(serialize_with = "lossy")]
    pub entry: PathBuf,
    /// What is used, inside the root: links resolved, the version chosen.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// The version chosen from a `.v/` directory.
    pub version: Option<String>,
}

/// How bad a rejection is.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::discover::{Severity, discover};
/// use confext_ddi::release::Class;
///
/// // An empty directory is how one says that an extension is not to be used.
/// std::fs::create_dir(root.path().join("run/confexts/unwanted"))?;
/// let masked = discover(&host, Class::Confext)?.refused.remove(0);
/// assert_eq!((masked.code, masked.severity), ("masked", Severity::Ignored));
/// assert!(Severity::Ignored < Severity::Refused);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As intended: it is not for this host, masked, or no extension at all.
    Ignored,
    /// Something is wrong with it.
    Refused,
}

/// Something that was found and is not used, and why.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::discover::{Rejection, discover};
/// use confext_ddi::release::Class;
///
/// std::fs::write(root.path().join("run/confexts/app.img"), "not called .raw")?;
/// let rejection: Rejection = discover(&host, Class::Confext)?.refused.remove(0);
/// assert_eq!(rejection.code, "not-an-image");
/// println!("{}: {}; {}", rejection.path.display(), rejection.message, rejection.hint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rejection {
    /// The extension's name, as far as it has one.
    pub name: Option<String>,
    /// Where it is, inside the root.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// How bad it is.
    pub severity: Severity,
    /// The stable code.
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
    /// The same in parts, for programs.
    #[serde(flatten)]
    pub details: Box<Details>,
}

/// The parts of a rejection.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::discover::discover;
/// use confext_ddi::release::Class;
///
/// std::fs::create_dir_all(root.path().join("usr/lib/confexts/app/etc"))?;
/// let shadowed = discover(&host, Class::Confext)?.refused.remove(0);
/// assert_eq!(shadowed.path, std::path::Path::new("/usr/lib/confexts/app"));
/// assert_eq!(shadowed.details.by, Some("/run/confexts/app".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Details {
    /// What was found, where the message says it.
    pub found: Option<String>,
    /// What was expected, where the message says it.
    pub expected: Option<String>,
    /// The field of the release file that is for another host.
    pub field: Option<&'static str>,
    /// For an entry that is outranked: the one that has its name.
    #[serde(serialize_with = "lossy_if_any")]
    pub by: Option<PathBuf>,
    /// What it was taken for, where it got that far.
    #[serde(skip)]
    pub(crate) candidate: Option<Candidate>,
    /// Of an extension of a service, its place among what the unit lists.
    #[serde(skip)]
    pub(crate) listed: Option<usize>,
}

impl Rejection {
    pub(crate) fn new(
        severity: Severity,
        path: &Path,
        code: &'static str,
        found: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Self {
        let (found, expected) = (found.to_string(), expected.to_string());
        Self {
            name: None,
            path: path.to_path_buf(),
            severity,
            code,
            message: format!("found {found}, expected {expected}"),
            hint: hint_of(code),
            details: Box::new(Details { found: Some(found), expected: Some(expected), ..Details::default() }),
        }
    }

    fn ignored(
        path: &Path,
        code: &'static str,
        found: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Self {
        Self::new(Severity::Ignored, path, code, found, expected)
    }

    /// Whether it is why its name is not used, and not one entry among others.
    pub(crate) fn is_for_its_name(&self) -> bool {
        !matches!(self.code, "shadowed" | "version-rejected" | "version-outranked")
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// As an error, where one bad extension stops everything.
    #[must_use]
    pub fn into_error(self) -> Error {
        let (found, expected) = match (self.details.found, self.details.expected) {
            (Some(found), Some(expected)) => (found, expected),
            _ => (self.message, "a usable extension".to_owned()),
        };
        Error::conflict(self.code, self.path.display().to_string(), found, expected)
    }

    /// A candidate that an error keeps out.
    #[must_use]
    pub fn of(candidate: &Candidate, severity: Severity, error: &Error) -> Self {
        let (found, expected) = error.difference().unzip();
        Self {
            name: Some(candidate.name.clone()),
            path: candidate.path.clone(),
            severity,
            code: error.code(),
            message: error.explain(),
            hint: error.hint(),
            details: Box::new(Details {
                found,
                expected,
                field: error.host_field(),
                by: None,
                candidate: Some(candidate.clone()),
                listed: None,
            }),
        }
    }

    /// A name that the caller asks for, and that nothing has.
    pub(crate) fn missing(name: &str, place: &Path) -> Self {
        let expected = format!("an extension called {name}, which is required");
        Self::new(Severity::Refused, place, "required-missing", "none", expected).named(name)
    }
}

/// What [`discover`] found.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::discover::{Discovery, discover};
/// use confext_ddi::release::Class;
///
/// let Discovery { candidates, refused, .. } = discover(&host, Class::Confext)?;
/// let names: Vec<_> = candidates.iter().map(|candidate| candidate.name.as_str()).collect();
/// assert_eq!(names, ["app", "site"]);
/// assert!(refused.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Discovery {
    /// One for each name, sorted by name.
    pub candidates: Vec<Candidate>,
    /// Everything else, in the order it was met.
    pub refused: Vec<Rejection>,
    /// The directories that were looked into, in order of precedence.
    pub searched: Vec<Searched>,
}

/// A directory in which extensions are looked for.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::discover::{SearchState, discover};
/// use confext_ddi::release::Class;
///
/// let found = discover(&host, Class::Confext)?;
/// let listed = found.searched.iter().filter(|searched| searched.state == SearchState::Listed);
/// assert_eq!(listed.map(|searched| searched.path).collect::<Vec<_>>(), ["/run/confexts"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Searched {
    /// Where it is, inside the root.
    pub path: &'static str,
    /// Whether it is there.
    pub state: SearchState,
}

/// Whether a search directory is there.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::discover::{SearchState, discover};
/// use confext_ddi::release::Class;
///
/// let found = discover(&host, Class::Sysext)?;
/// // Where a sysext could be put.
/// assert_eq!(found.searched[0].path, "/etc/extensions");
/// assert_eq!(found.searched[0].state, SearchState::Missing);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SearchState {
    /// It was listed.
    Listed,
    /// There is none.
    Missing,
}

/// The directories of a class, first wins.
#[must_use]
pub const fn search_directories(class: Class, scope: Scope) -> &'static [&'static str] {
    match (class, scope) {
        (Class::Sysext, Scope::Initrd) => &[
            "/etc/extensions",
            "/run/extensions",
            "/var/lib/extensions",
            "/.extra/sysext",
            "/.extra/global_sysext",
        ],
        (Class::Confext, Scope::Initrd) => &[
            "/run/confexts",
            "/var/lib/confexts",
            "/usr/local/lib/confexts",
            "/.extra/confext",
            "/.extra/global_confext",
        ],
        (Class::Sysext, _) => &["/etc/extensions", "/run/extensions", "/var/lib/extensions"],
        (Class::Confext, _) => {
            &["/run/confexts", "/var/lib/confexts", "/usr/local/lib/confexts", "/usr/lib/confexts"]
        }
    }
}

/// Finds the extensions of a class.
///
/// # Errors
///
/// `os` when a search directory exists and cannot be listed: what it masks is unknown then. Whatever is wrong with one
/// entry is in [`Discovery::refused`].
pub fn discover(host: &Host, class: Class) -> Result<Discovery> {
    find(host, class, Masks::Known)
}

/// The same for who looks into directories anyway, and finds there that one is empty.
///
/// # Errors
///
/// As [`discover`].
pub(crate) fn discover_to_open(host: &Host, class: Class) -> Result<Discovery> {
    find(host, class, Masks::AreCandidates)
}

/// What is made of directories in which nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Masks {
    /// They are told from others.
    Known,
    /// A directory that is one of its own is not looked into.
    AreCandidates,
}

fn find(host: &Host, class: Class, masks: Masks) -> Result<Discovery> {
    let mut taken: BTreeMap<String, Found> = BTreeMap::new();
    let (mut refused, mut searched) = (Vec::new(), Vec::new());
    for path in search_directories(class, host.scope()) {
        let directory = Path::new(path);
        let mut here = Vec::new();
        let Some(listed) = Listed::of(host, directory)? else {
            searched.push(Searched { path, state: SearchState::Missing });
            continue;
        };
        searched.push(Searched { path, state: SearchState::Listed });
        let Listed { directory: within, entries } = listed;
        let examine = |(entry, kind): (Vec<u8>, FileType)| {
            let path = directory.join(std::ffi::OsStr::from_bytes(&entry));
            let mut refused = Vec::new();
            let place = within.plain(&entry, kind, masks);
            let place = place.map_or_else(|| locate(host, &path), Ok);
            (entry::examine((host, class), &path, (&entry, place), &mut refused), refused)
        };
        // Where nothing is opened, a thread costs more than it saves.
        let opens = |(_, kind): &(_, FileType)| masks == Masks::Known || *kind != FileType::Directory;
        let examined: Vec<_> = if entries.iter().any(opens) {
            parallel::map(entries, examine)
        } else {
            entries.into_iter().map(examine).collect()
        };
        for (found, without_name) in examined {
            here.extend(found);
            refused.extend(without_name);
        }
        // Within one directory, the fixed order of endings settles two entries of one name.
        here.sort_by(|a, b| (&a.name, a.rank, &a.entry).cmp(&(&b.name, b.rank, &b.entry)));
        for found in here {
            if let Some(first) = taken.get(&found.name) {
                let second = format!("a second {}", found.name);
                let one = format!("one: {} comes first", first.entry.display());
                let mut rejection = Rejection::ignored(&found.entry, "shadowed", second, one);
                rejection.details.by = Some(first.entry.clone());
                refused.push(rejection.named(&found.name));
            } else {
                taken.insert(found.name.clone(), found);
            }
        }
    }
    let mut candidates = Vec::new();
    for found in taken.into_values() {
        match found.result {
            Ok(candidate) => candidates.push(candidate),
            Err(rejection) => refused.push(rejection.named(&found.name)),
        }
    }
    Ok(Discovery { candidates, refused, searched })
}

/// An entry that has a name, usable or not: it takes the name either way.
struct Found {
    name: String,
    entry: PathBuf,
    rank: u8,
    result: std::result::Result<Candidate, Rejection>,
}

/// A search directory.
struct Listed {
    directory: Within,
    /// Names, sorted by bytes, and what the listing says of their kind.
    entries: Vec<(Vec<u8>, FileType)>,
}

impl Listed {
    /// `None` when there is no such directory.
    fn of(host: &Host, directory: &Path) -> Result<Option<Self>> {
        let failed = |errno: Errno| Error::os("list", host.display(directory), errno);
        let place = match host.open_path(directory, OFlags::DIRECTORY) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            place => place.map_err(|error| Error::os("open", host.display(directory), error))?,
        };
        let entries = directory::listing(place.as_fd()).map_err(failed)?;
        let path = host.path_of(place.as_fd()).map(|inside| Path::new("/").join(inside));
        Ok(Some(Self { directory: Within { place, path }, entries }))
    }
}

/// Where entries are that are to be opened without their whole paths.
struct Within {
    place: OwnedFd,
    /// From the root, without links; `None` when it is not there any more.
    path: Option<PathBuf>,
}

impl Within {
    /// An entry that is a directory of its own and no link: it is where its name is. `None` where that cannot be told.
    fn plain(&self, name: &[u8], kind: FileType, masks: Masks) -> Option<entry::Place> {
        let path = self.path.as_ref().filter(|_| kind == FileType::Directory)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match masks {
            Masks::Known => Some(rustix::fs::openat(&self.place, name, flags, Mode::empty()).ok()?),
            Masks::AreCandidates => None,
        };
        Some(entry::Place { fd, kind, path: path.join(std::ffi::OsStr::from_bytes(name)) })
    }
}

pub(crate) fn lossy<S: serde::Serializer>(
    path: &Path,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

pub(crate) fn lossy_if_any<S: serde::Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.display().to_string()).serialize(serializer)
}

#[cfg(test)]
mod tests;
