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
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::release::{Class, Scope};
use rustix::io::Errno;
use serde::Serialize;

use crate::directory;
use crate::error::{Error, Result, hint_of};
use crate::host::Host;
use crate::sys::OFlags;

/// What a candidate is.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As intended: it is not for this host, masked, or no extension at all.
    Ignored,
    /// Something is wrong with it.
    Refused,
}

/// Something that was found and is not used, and why.
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
    /// Found and expected, where the message is made of them.
    #[serde(skip)]
    difference: Option<Box<(String, String)>>,
}

impl Rejection {
    fn new(
        severity: Severity,
        path: &Path,
        code: &'static str,
        found: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Self {
        let (found, expected) = (found.to_string(), expected.to_string());
        let message = format!("found {found}, expected {expected}");
        let difference = Some(Box::new((found, expected)));
        Self {
            name: None,
            path: path.to_path_buf(),
            severity,
            code,
            message,
            hint: hint_of(code),
            difference,
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

    fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// As an error, where one bad extension stops everything.
    #[must_use]
    pub fn into_error(self) -> Error {
        let (found, expected) = match self.difference {
            Some(difference) => *difference,
            None => (self.message, "a usable extension".to_owned()),
        };
        Error::conflict(self.code, self.path.display().to_string(), found, expected)
    }

    /// A candidate that an error keeps out.
    #[must_use]
    pub fn of(candidate: &Candidate, severity: Severity, error: &Error) -> Self {
        Self {
            name: Some(candidate.name.clone()),
            path: candidate.path.clone(),
            severity,
            code: error.code(),
            message: error.explain(),
            hint: error.hint(),
            difference: None,
        }
    }
}

/// What [`discover`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Discovery {
    /// One for each name, sorted by name.
    pub candidates: Vec<Candidate>,
    /// Everything else, in the order it was met.
    pub refused: Vec<Rejection>,
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
    let mut taken: BTreeMap<String, Found> = BTreeMap::new();
    let mut refused = Vec::new();
    for directory in search_directories(class, host.scope()) {
        let directory = Path::new(directory);
        let mut here = Vec::new();
        for entry in list(host, directory)? {
            let path = directory.join(std::ffi::OsStr::from_bytes(&entry));
            here.extend(entry::examine(host, class, &path, &entry, &mut refused));
        }
        // Within one directory, the fixed order of endings settles two entries of one name.
        here.sort_by(|a, b| (&a.name, a.rank, &a.entry).cmp(&(&b.name, b.rank, &b.entry)));
        for found in here {
            if let Some(first) = taken.get(&found.name) {
                let second = format!("a second {}", found.name);
                let one = format!("one: {} comes first", first.entry.display());
                refused.push(Rejection::ignored(&found.entry, "shadowed", second, one).named(&found.name));
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
    Ok(Discovery { candidates, refused })
}

/// An entry that has a name, usable or not: it takes the name either way.
struct Found {
    name: String,
    entry: PathBuf,
    rank: u8,
    result: std::result::Result<Candidate, Rejection>,
}

/// The names in a directory, sorted by bytes; a missing directory has none.
fn list(host: &Host, directory: &Path) -> Result<Vec<Vec<u8>>> {
    let failed = |errno: Errno| Error::os("list", host.display(directory), errno);
    let place = match host.open_path(directory, OFlags::DIRECTORY) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        place => place.map_err(|error| Error::os("open", host.display(directory), error))?,
    };
    directory::names(place.as_fd()).map_err(failed)
}

pub(crate) fn lossy<S: serde::Serializer>(
    path: &Path,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

#[cfg(test)]
mod tests;
