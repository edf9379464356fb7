//! Which units images have: those that their service manager would read if they were one tree

use std::collections::{BTreeMap, btree_map};

use confext_ddi::Limits;
use confext_ddi::fs::{self, FileSystem, FileType};
use confext_ddi::release::Class;
use confext_ddi::unit::Name;

use super::Found;
use crate::directory::join;
use crate::error::{Error, Result};

/// Where units are in an image, the most important first, and of which class an extension must be to have some there.
const DIRECTORIES: [(&str, Class); 4] = [
    ("etc/systemd/system", Class::Confext),
    ("usr/local/lib/systemd/system", Class::Sysext),
    ("usr/lib/systemd/system", Class::Sysext),
    ("lib/systemd/system", Class::Sysext),
];
/// What units can be attached.
const TYPES: [&str; 5] = ["service", "socket", "target", "timer", "path"];

/// The base, or an extension.
pub(super) struct Part<'a> {
    pub(super) path: &'a str,
    pub(super) files: &'a dyn FileSystem,
    /// What it is an extension of; `None` for the base.
    pub(super) classes: Option<&'a [Class]>,
}

/// A unit with its text.
pub(super) struct Unit {
    pub(super) found: Found,
    pub(super) name: Name,
    pub(super) text: String,
}

/// Whether a name is another one, or begins with it and one of `-`, `.` and `@`.
pub(super) fn begins(name: &str, with: &str) -> bool {
    let rest = name.strip_prefix(with);
    !with.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', '@']))
}

/// Finds units of these names in parts that lie one over the other, the lowest first. Of several of one name the topmost in the
/// most important directory counts, as in the view that the service has; a mask takes its name away.
pub(super) fn find(parts: &[Part<'_>], matches: &[String], limits: &Limits) -> Result<Vec<Unit>> {
    let mut units: BTreeMap<Name, Option<Unit>> = BTreeMap::new();
    for (directory, class) in DIRECTORIES {
        for part in parts.iter().rev().filter(|part| part.classes.is_none_or(|own| own.contains(&class))) {
            let fault = |source| Error::Image { image: part.path.to_owned(), source };
            let place = match fs::resolve(part.files, directory.as_bytes(), limits) {
                Err(error) if is_absent(&error) => continue,
                place => place.map_err(fault)?,
            };
            for entry in part.files.read_dir(&place).map_err(fault)? {
                let Some(name) = wanted(&entry.name, matches) else { continue };
                if let btree_map::Entry::Vacant(free) = units.entry(name) {
                    let unit = read(part, &join(&place, &entry.name), free.key(), limits)?;
                    free.insert(unit);
                }
            }
        }
    }
    let units: Vec<_> = units.into_values().flatten().collect();
    if units.is_empty() {
        let names = if matches.is_empty() { "any name".to_owned() } else { matches.join(", ") };
        let found = "no unit of these names";
        return Err(Error::conflict("portable-units", names, found, "a unit in the image or an extension"));
    }
    Ok(units)
}

fn is_absent(error: &confext_ddi::Error) -> bool {
    matches!(error.code(), "no-such-file" | "not-a-directory")
}

fn wanted(entry: &[u8], matches: &[String]) -> Option<Name> {
    let text = std::str::from_utf8(entry).ok()?;
    let name = Name::parse(text).ok().filter(|name| name.as_str() == text && TYPES.contains(&name.kind()))?;
    (matches.is_empty() || matches.iter().any(|wanted| begins(text, wanted))).then_some(name)
}

/// The text of a unit; `None` for a mask: an empty file, or a link to `/dev/null`.
fn read(part: &Part<'_>, path: &[u8], name: &Name, limits: &Limits) -> Result<Option<Unit>> {
    let fault = |source| Error::Image { image: part.path.to_owned(), source };
    let shown = String::from_utf8_lossy(path).into_owned();
    let refused = |found: &str| {
        let target = format!("{shown} in {}", part.path);
        Error::conflict("portable-unit", target, found.to_owned(), "a file with the text of a unit")
    };
    let own = part.files.stat(path).map_err(fault)?;
    if own.file_type == FileType::Symlink && part.files.read_link(path).map_err(fault)? == b"/dev/null" {
        return Ok(None);
    }
    let place = match fs::resolve(part.files, path, limits) {
        Err(error) if is_absent(&error) => return Err(refused("a link to nothing")),
        place => place.map_err(fault)?,
    };
    let stat = part.files.stat(&place).map_err(fault)?;
    if stat.file_type != FileType::Regular {
        return Err(refused(stat.file_type.as_str()));
    }
    if stat.size_bytes > limits.unit_bytes {
        return Err(refused("a file that is too long"));
    }
    let text = String::from_utf8(part.files.read(&place).map_err(fault)?);
    let text = text.map_err(|_| refused("bytes that are no text"))?;
    let found = Found { name: name.to_string(), from: part.path.to_owned(), path: format!("/{shown}") };
    Ok((!text.is_empty()).then(|| Unit { found, name: name.clone(), text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_whole_words() {
        for (name, with, expected) in [
            ("base.service", "base", true),
            ("base-x.service", "base", true),
            ("base@.service", "base", true),
            ("base.service", "base.service", true),
            ("based.service", "base", false),
            ("base.service", "", false),
            ("a.service", "base", false),
        ] {
            assert_eq!(begins(name, with), expected, "{name} {with}");
        }
    }
}
