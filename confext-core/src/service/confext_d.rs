//! Directories `NAME.confext.d` beside units: what is in them is an extension of that unit, without any setting

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::release::is_valid_image_name;
use confext_ddi::unit::{Entry, EntryKind, Extensions, Name, RefreshOnReload};
use serde::Serialize;

use super::place;
use crate::error::Result;
use crate::host::Host;
use crate::trust::masks;

/// Where these directories are, the most important first.
pub const DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];
/// What the name of one ends in.
const SUFFIX: &str = ".confext.d";
/// The drop-in that says the same to systemd. Among the drop-ins of a unit it is one of the last.
pub const DROP_IN: &str = "99-confext.d.conf";

/// What the directories of a unit hold.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// use confext_core::{Host, service::confext_d::Found};
/// use confext_ddi::unit::Name;
///
/// // No setting says so: what is in this directory is an extension of app.service.
/// let directory = root.path().join("etc/systemd/system/app.service.confext.d");
/// std::fs::create_dir_all(directory.join("site.raw.v"))?;
/// let found = Found::of(&Host::open(root.path())?, &Name::parse("app.service")?)?;
/// assert_eq!(found.extensions.images[0].path, "/etc/systemd/system/app.service.confext.d/site.raw.v");
/// assert!(found.extensions.is_refreshed_on_reload() && found.left_out.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Found {
    /// The extensions of the unit: images by name, then directories by name, the last one on top.
    pub extensions: Extensions,
    /// What does not count, and why.
    pub left_out: Vec<LeftOut>,
}

/// An entry that does not count.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// use confext_core::{Host, service::confext_d::Found};
/// use confext_ddi::unit::Name;
///
/// let directory = root.path().join("etc/systemd/system/app.service.confext.d");
/// std::fs::create_dir_all(&directory)?;
/// std::fs::write(directory.join("README.txt"), "…")?;
/// let found = Found::of(&Host::open(root.path())?, &Name::parse("app.service")?)?;
/// let left = found.left_out.first().ok_or("it is no extension")?;
/// assert!(left.path.ends_with("app.service.confext.d/README.txt"));
/// assert_eq!(left.because.as_str(), "unknown");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// Where it is, inside the root.
    pub path: PathBuf,
    /// Why.
    pub because: Because,
}

/// Why an entry does not count.
///
/// ```
/// # let root = tempfile::tempdir()?;
/// use std::{fs, os::unix::fs::symlink};
///
/// use confext_core::{Host, service::confext_d::{Because, Found}};
/// use confext_ddi::unit::Name;
///
/// // What the distribution brings along, and an administrator does not want.
/// let [etc, usr] = ["etc/systemd", "usr/lib/systemd"]
///     .map(|path| root.path().join(path).join("system/app.service.confext.d"));
/// # for directory in [&etc, &usr] { fs::create_dir_all(directory)?; }
/// fs::write(usr.join("site.raw"), "")?;
/// symlink("/dev/null", etc.join("site.raw"))?;
/// let found = Found::of(&Host::open(root.path())?, &Name::parse("app.service")?)?;
/// let because: Vec<_> = found.left_out.iter().map(|left| left.because).collect();
/// assert_eq!(because, [Because::Masked, Because::Overridden]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Because {
    /// A directory that comes before has an entry of its name.
    Overridden,
    /// A link to `/dev/null` masks its name.
    Masked,
    /// It is no image `NAME.raw`, no directory, and no directory of versions `NAME.raw.v` or `NAME.v`.
    Unknown,
    /// A setting cannot name it.
    Unnamable,
}

impl Because {
    /// `overridden`, `masked`, `unknown` or `unnamable`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overridden => "overridden",
            Self::Masked => "masked",
            Self::Unknown => "unknown",
            Self::Unnamable => "unnamable",
        }
    }
}

impl Found {
    /// Reads the directories of a unit: `NAME.confext.d` in each of [`DIRECTORIES`], and for an instance those of its template
    /// after them. Of several entries of one name the first counts; a link to `/dev/null` takes its name away.
    ///
    /// # Errors
    ///
    /// `os` when a directory cannot be read.
    pub fn of(host: &Host, unit: &Name) -> Result<Self> {
        let mut found = Self::default();
        let mut names: BTreeMap<String, Entry> = BTreeMap::new();
        let mut taken: BTreeMap<String, ()> = BTreeMap::new();
        for unit in std::iter::once(unit.clone()).chain(unit.template()) {
            for directory in DIRECTORIES {
                let directory = Path::new(directory).join(format!("{unit}{SUFFIX}"));
                let mut entries = place::names(host, &directory)?;
                entries.sort();
                for entry in entries.iter().filter(|entry| !entry.starts_with(b".")) {
                    let path = directory.join(OsStr::from_bytes(entry));
                    match look(host, &path, entry, &mut taken) {
                        Ok((name, entry)) => drop(names.insert(name, entry)),
                        Err(because) => found.left_out.push(LeftOut { path, because }),
                    }
                }
            }
        }
        for entry in names.into_values() {
            match entry.kind {
                EntryKind::Image => found.extensions.images.push(entry),
                EntryKind::Directory => found.extensions.directories.push(entry),
            }
        }
        if found.extensions.bottom_first().any(Entry::is_versioned) {
            found.extensions.refresh_on_reload =
                RefreshOnReload::Explicit { extensions: true, credentials: false };
        }
        Ok(found)
    }
}

/// The name of an entry and what a setting would say of it.
fn look(
    host: &Host,
    path: &Path,
    entry: &[u8],
    taken: &mut BTreeMap<String, ()>,
) -> std::result::Result<(String, Entry), Because> {
    let text = std::str::from_utf8(entry).map_err(|_| Because::Unknown)?;
    let stem = text.strip_suffix(".v").unwrap_or(text);
    let (name, kind) = match stem.strip_suffix(".raw") {
        Some(name) => (name, EntryKind::Image),
        None => (stem, EntryKind::Directory),
    };
    if !is_valid_image_name(name) {
        return Err(Because::Unknown);
    }
    if taken.insert(name.to_owned(), ()).is_some() {
        return Err(Because::Overridden);
    }
    if masks(host, path) {
        return Err(Because::Masked);
    }
    let place = host.open_path(path, crate::sys::OFlags::empty()).map_err(|_| Because::Unknown)?;
    let stat = rustix::fs::fstat(&place).map_err(|_| Because::Unknown)?;
    let found = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    let expects_directory = kind == EntryKind::Directory || text.ends_with(".v");
    let fits = match found {
        rustix::fs::FileType::Directory => expects_directory,
        rustix::fs::FileType::RegularFile | rustix::fs::FileType::BlockDevice => !expects_directory,
        _ => false,
    };
    if !fits {
        return Err(Because::Unknown);
    }
    let path = path.to_str().ok_or(Because::Unnamable)?;
    // What is taken out of the directory before the service starts is not missed.
    let entry = match kind {
        EntryKind::Image => Entry::image(path).or_skipped(),
        EntryKind::Directory => Entry::directory(path).or_skipped(),
    };
    entry.item().map_err(|_| Because::Unnamable)?;
    Ok((name.to_owned(), entry))
}

/// The units that have such a directory, of which templates have one for all their instances.
///
/// # Errors
///
/// `os` when a directory cannot be read.
pub fn units(host: &Host) -> Result<Vec<Name>> {
    let mut units = std::collections::BTreeSet::new();
    for directory in DIRECTORIES {
        for entry in place::names(host, Path::new(directory))? {
            let name = std::str::from_utf8(&entry).ok().and_then(|entry| entry.strip_suffix(SUFFIX));
            let parsed =
                name.and_then(|name| Name::parse(name).ok().filter(|parsed| parsed.as_str() == name));
            units.extend(parsed);
        }
    }
    Ok(units.into_iter().collect())
}

#[cfg(test)]
mod tests;
