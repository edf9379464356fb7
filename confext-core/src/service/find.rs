//! The files of a unit: which of several of one name counts, which drop-ins it has, and what else it is called

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::confext_d;
use super::place::names;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::OFlags;
use crate::trust::masks;
use confext_ddi::unit::{Extensions, Name};

/// Where units are looked for, the most important first.
pub(super) const DIRECTORIES: [&str; 12] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    GENERATOR,
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/run/systemd/generator.late",
];
/// Where the generator writes to.
pub(super) const GENERATOR: &str = "/run/systemd/generator";
/// How many names may lead from one to the next.
const MOST_ALIASES: usize = 16;

/// The files of a unit.
pub(super) struct Found {
    pub(super) name: Name,
    pub(super) aliases: Vec<Name>,
    /// In the order in which they are read.
    pub(super) files: Vec<File>,
}

/// A file of a unit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum File {
    /// One that is there.
    Path(PathBuf),
    /// The drop-in that stands for directories `NAME.confext.d`, whether or not it was written.
    Generated { path: PathBuf, extensions: Extensions },
}

impl File {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Path(path) | Self::Generated { path, .. } => path,
        }
    }
}

/// Finds all that is read for a unit.
pub(super) fn find(host: &Host, asked: &Name) -> Result<Found> {
    let units = Units::list(host)?;
    let (name, fragment) = units.resolve(host, asked)?;
    let aliases = units.aliases(host, &name);
    let mut files = Vec::new();
    if fragment_counts(host, &fragment)? {
        files.push(File::Path(fragment));
    } else {
        return Err(masked(&name));
    }
    files.extend(drop_ins(host, &name, &aliases)?);
    Ok(Found { name, aliases, files })
}

pub(super) fn masked(name: &Name) -> Error {
    Error::conflict("unit-masked", name.as_str(), "a masked unit", "one with a file")
}

/// Whether a unit file is more than a mask: an empty file, or a link to `/dev/null`.
fn fragment_counts(host: &Host, path: &Path) -> Result<bool> {
    if masks(host, path) {
        return Ok(false);
    }
    let failed = |error| Error::os("open", host.display(path), error);
    let file = std::fs::File::from(host.open_file(path).map_err(failed)?);
    Ok(file.metadata().map_err(failed)?.len() > 0)
}

/// The entries of the directories that units are in.
struct Units {
    /// The first place of each name.
    places: BTreeMap<Vec<u8>, PathBuf>,
}

impl Units {
    fn list(host: &Host) -> Result<Self> {
        let mut places = BTreeMap::new();
        for directory in DIRECTORIES {
            for name in names(host, Path::new(directory))? {
                let path = Path::new(directory).join(OsString::from_vec(name.clone()));
                places.entry(name).or_insert(path);
            }
        }
        Ok(Self { places })
    }

    fn place(&self, name: &str) -> Option<&PathBuf> {
        self.places.get(name.as_bytes())
    }

    /// Follows aliases to the name and the file that count; an instance without a file is its template's.
    fn resolve(&self, host: &Host, asked: &Name) -> Result<(Name, PathBuf)> {
        let mut name = asked.clone();
        for _ in 0..MOST_ALIASES {
            let own = self.place(name.as_str());
            let of_template = || name.template().and_then(|template| self.place(template.as_str()));
            let Some(path) = own.or_else(of_template) else {
                let found =
                    if name == *asked { "no file of it".to_owned() } else { format!("no file of {name}") };
                return Err(Error::conflict(
                    "unit-missing",
                    asked.as_str(),
                    found,
                    "one in a directory of units",
                ));
            };
            match alias(host, path) {
                Some(target) => name = instantiate(&target, &name),
                None => return Ok((name, path.clone())),
            }
        }
        let found = format!("more than {MOST_ALIASES} aliases on the way");
        Err(Error::conflict("unit-missing", asked.as_str(), found, "one in a directory of units"))
    }

    /// The other names of a unit, those of instances of templates among them.
    fn aliases(&self, host: &Host, name: &Name) -> Vec<Name> {
        let mut aliases = BTreeSet::new();
        for entry in self.places.keys().filter_map(|entry| std::str::from_utf8(entry).ok()) {
            let Ok(other) = Name::parse(entry) else { continue };
            let other = match name.instance() {
                Some(instance) if other.is_template() => other.with_instance(instance),
                _ => other,
            };
            let is_one = other != *name && other.kind() == name.kind() && !other.is_template();
            if is_one && self.resolve(host, &other).is_ok_and(|(resolved, _)| resolved == *name) {
                aliases.insert(other);
            }
        }
        aliases.into_iter().collect()
    }
}

/// The name that a link in a directory of units gives another name to. A link to a file elsewhere is that file.
fn alias(host: &Host, path: &Path) -> Option<Name> {
    let place = host.open_path(path, OFlags::NOFOLLOW).ok()?;
    let target = rustix::fs::readlinkat(place, c"", Vec::new()).ok()?;
    let target = path.parent()?.join(std::ffi::OsStr::from_bytes(target.as_bytes()));
    let target = plain(&target);
    let is_unit =
        target.parent().is_some_and(|parent| DIRECTORIES.iter().any(|known| parent == Path::new(known)));
    let name = target.file_name()?.to_str()?;
    if !is_unit || Some(name) == path.file_name()?.to_str() {
        return None;
    }
    Name::parse(name).ok().filter(|parsed| parsed.as_str() == name)
}

/// The path without `.` and `..`, as text.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => plain.push(part),
            std::path::Component::ParentDir => drop(plain.pop()),
            _ => {}
        }
    }
    plain
}

/// What an alias stands for: the alias of an instance for the same instance of another template.
fn instantiate(target: &Name, of: &Name) -> Name {
    match of.instance() {
        Some(instance) if target.is_template() => target.with_instance(instance),
        _ => target.clone(),
    }
}

/// The drop-ins, in the order in which they are read: that of their names. Of several of one name the first counts; one that is
/// masked, or empty, is none.
fn drop_ins(host: &Host, name: &Name, aliases: &[Name]) -> Result<Vec<File>> {
    let mut directories = Vec::new();
    for name in std::iter::once(name).chain(aliases) {
        for directory in DIRECTORIES {
            directories
                .extend(name.drop_in_names().into_iter().map(|name| Path::new(directory).join(name + ".d")));
        }
    }
    // Those of the type come last, whatever directory they are in.
    directories.extend(DIRECTORIES.map(|directory| Path::new(directory).join(format!("{}.d", name.kind()))));
    let generated = confext_d::Found::of(host, name)?.extensions;
    let own = Path::new(GENERATOR).join(format!("{name}.d")).join(confext_d::DROP_IN);
    let mut files: BTreeMap<Vec<u8>, File> = BTreeMap::new();
    for directory in directories {
        let is_generated = own.parent() == Some(directory.as_path());
        if is_generated && !generated.is_empty() {
            let file = File::Generated { path: own.clone(), extensions: generated.clone() };
            files.entry(confext_d::DROP_IN.as_bytes().to_vec()).or_insert(file);
        }
        for entry in names(host, &directory)? {
            let path = directory.join(OsString::from_vec(entry.clone()));
            // What was written there before may be of yesterday: what is in the directories counts.
            if entry.ends_with(b".conf") && !entry.starts_with(b".") && path != own {
                files.entry(entry).or_insert(File::Path(path));
            }
        }
    }
    let counts = |file: &File| match file {
        File::Path(path) => !masks(host, path),
        File::Generated { .. } => true,
    };
    Ok(files.into_values().filter(counts).collect())
}
