//! When a path stands for the best of many.

use super::{Accept, ArchitectureRule, Filter, TriesRule};
use crate::error::{Lookup, Result};
use crate::release::{Class, is_valid_image_name};

/// What a path asks for.
///
/// ```
/// use confext_ddi::vpick::{Accept, Pattern};
///
/// let pattern = Pattern::parse(b"/var/lib/app.raw.v", b".raw", Accept::Raw)?;
/// let Pattern::Versioned { directory, base, .. } = pattern else { panic!("it ends in .v") };
/// assert_eq!((directory.as_slice(), base.as_slice()), (&b"/var/lib/app.raw.v"[..], &b"app"[..]));
/// assert_eq!(Pattern::parse(b"/var/lib/app.raw", b".raw", Accept::Raw)?, Pattern::Literal);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// The file itself.
    Literal,
    /// The best entry of a directory.
    Versioned {
        /// The directory to list; empty means the current one.
        directory: Vec<u8>,
        /// What names in it start with.
        base: Vec<u8>,
        /// What names in it end in.
        suffix: Vec<u8>,
        /// Which kinds of entry.
        accept: Accept,
    },
}

impl Pattern {
    /// Reads a path: `dir/NAME.v` asks for the best `NAME_…` with `suffix` in it, `dir.v/NAME___SUFFIX` for the best
    /// `NAME_…SUFFIX`, where a slash at the end asks for a directory. Everything else is literal.
    ///
    /// # Errors
    ///
    /// `pattern-empty`, `pattern-directory`.
    ///
    /// *Spec:* "`.v/` directories" of systemd's `systemd.v`(7).
    pub fn parse(path: &[u8], suffix: &[u8], accept: Accept) -> Result<Self> {
        if path.is_empty() {
            return Err(Lookup::PatternEmpty.into());
        }
        let trimmed = trim_slashes(path);
        let (parent, last) = split_last_component(trimmed);
        if let Some(stem) = last.strip_suffix(b".v") {
            let base = stem.strip_suffix(suffix).unwrap_or(stem);
            return Ok(Self::Versioned {
                directory: trimmed.to_vec(),
                base: base.to_vec(),
                suffix: suffix.to_vec(),
                accept,
            });
        }
        let in_versioned = split_last_component(trim_slashes(parent)).1.ends_with(b".v");
        let Some((base, suffix)) = split_triple_underscore(last).filter(|_| in_versioned) else {
            return Ok(Self::Literal);
        };
        let accept = match (trimmed.len() < path.len(), accept) {
            (false, accept) => accept,
            (true, Accept::Any | Accept::Directory) => Accept::Directory,
            (true, Accept::Raw) => {
                return Err(Lookup::PatternDirectory { found: String::from_utf8_lossy(path).into() }.into());
            }
        };
        let directory = trim_slashes(parent).to_vec();
        Ok(Self::Versioned { directory, base: base.to_vec(), suffix: suffix.to_vec(), accept })
    }
}

/// A `NAME[.CLASS][.raw].v` entry of a search directory, taken apart.
///
/// ```
/// use confext_ddi::{release::Class, vpick::{ArchitectureRule, VersionedImage}};
///
/// let architecture = ArchitectureRule::Unused;
/// let image = VersionedImage::parse(b"app.confext.raw.v", Class::Confext, architecture);
/// let image = image.ok_or("a directory of versions")?;
/// assert_eq!((image.name.as_str(), image.filter.suffix.as_slice()), ("app", &b".confext.raw"[..]));
/// assert!(VersionedImage::parse(b"app.raw", Class::Confext, architecture).is_none());
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedImage {
    /// The image's name: without version, and the one its release file is looked up by.
    pub name: String,
    /// What to look for inside.
    pub filter: Filter,
}

impl VersionedImage {
    /// Takes the entry's name apart; `None` when it does not end in `.v` or gives no valid image name.
    #[must_use]
    pub fn parse(entry: &[u8], class: Class, architecture: ArchitectureRule) -> Option<Self> {
        let inner = entry.strip_suffix(b".v")?;
        let (stem, accept) = match inner.strip_suffix(b".raw") {
            Some(stem) => (stem, Accept::Raw),
            None => (inner, Accept::Directory),
        };
        let class_suffix: &[u8] = match class {
            Class::Sysext => b".sysext",
            Class::Confext => b".confext",
        };
        let name = stem.strip_suffix(class_suffix).unwrap_or(stem);
        let suffix = inner.strip_prefix(name)?;
        let filter = Filter::new(name, suffix, accept).architecture(architecture).tries(TriesRule::Honoured);
        let name = std::str::from_utf8(name).ok().filter(|name| is_valid_image_name(name))?;
        Some(Self { name: name.to_owned(), filter })
    }
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last.saturating_add(1));
    path.get(..end).unwrap_or(path)
}

/// Directory part (with its slashes) and last component.
fn split_last_component(path: &[u8]) -> (&[u8], &[u8]) {
    let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash.saturating_add(1));
    path.split_at_checked(start).unwrap_or((&[], path))
}

/// Before and after the last `___`.
fn split_triple_underscore(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.windows(3).rposition(|window| window == b"___")?;
    let (before, after) = text.split_at_checked(at)?;
    Some((before, after.strip_prefix(b"___")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dps::Architecture;

    fn parse(path: &str) -> Pattern {
        Pattern::parse(path.as_bytes(), b".raw", Accept::Any).unwrap()
    }

    fn versioned(directory: &str, base: &str, suffix: &str, accept: Accept) -> Pattern {
        Pattern::Versioned { directory: directory.into(), base: base.into(), suffix: suffix.into(), accept }
    }

    #[test]
    fn paths_that_are_patterns() {
        for (path, directory, base, suffix, accept) in [
            ("foo.v", "foo.v", "foo", ".raw", Accept::Any),
            ("path/to/foo.v", "path/to/foo.v", "foo", ".raw", Accept::Any),
            ("./path/to/foo.v", "./path/to/foo.v", "foo", ".raw", Accept::Any),
            ("path/to.v/foo.v", "path/to.v/foo.v", "foo", ".raw", Accept::Any),
            ("path/to/foo.raw.v", "path/to/foo.raw.v", "foo", ".raw", Accept::Any),
            ("/var/lib/m.raw.v/", "/var/lib/m.raw.v", "m", ".raw", Accept::Any),
            ("path/to.v/foo___.hi/a.v", "path/to.v/foo___.hi/a.v", "a", ".raw", Accept::Any),
            ("to.v/foo___.raw", "to.v", "foo", ".raw", Accept::Any),
            ("path/to.v/foo___.img", "path/to.v", "foo", ".img", Accept::Any),
            ("path/to.v/a____b", "path/to.v", "a_", "b", Accept::Any),
            ("path/to.v/foo___", "path/to.v", "foo", "", Accept::Any),
            ("path/to.v//foo___/", "path/to.v", "foo", "", Accept::Directory),
        ] {
            assert_eq!(parse(path), versioned(directory, base, suffix, accept), "{path}");
        }
    }

    #[test]
    fn paths_that_are_not() {
        for path in [
            "path/to/foo.mp4.vtt",
            "path/to/foo.mp4.v.1",
            "path/to.v/a",
            "path/to/foo___.raw",
            "path/to.v/foo__",
            "foo___.raw",
            "/",
            ".",
        ] {
            assert_eq!(parse(path), Pattern::Literal, "{path}");
        }
    }

    #[test]
    fn impossible_patterns_have_codes() {
        assert_eq!(Pattern::parse(b"", b"", Accept::Any).unwrap_err().code(), "pattern-empty");
        let error = Pattern::parse(b"to.v/foo___/", b"", Accept::Raw).unwrap_err();
        assert_eq!(error.code(), "pattern-directory");
        assert!(error.to_string().contains("to.v/foo___/"), "{error}");
    }

    #[test]
    fn versioned_images_are_named_without_version() {
        let host = ArchitectureRule::Host { native: Architecture::X86_64, secondary: None };
        for (entry, class, expected) in [
            ("app.v", Class::Sysext, Some(("app", "", Accept::Directory))),
            ("app.raw.v", Class::Sysext, Some(("app", ".raw", Accept::Raw))),
            ("app.sysext.raw.v", Class::Sysext, Some(("app", ".sysext.raw", Accept::Raw))),
            ("app.sysext.v", Class::Sysext, Some(("app", ".sysext", Accept::Directory))),
            ("app.sysext.raw.v", Class::Confext, Some(("app.sysext", ".raw", Accept::Raw))),
            ("app.raw", Class::Sysext, None),
            (".raw.v", Class::Sysext, None),
            (".v", Class::Sysext, None),
            (".#app.raw.v", Class::Sysext, None),
        ] {
            let found = VersionedImage::parse(entry.as_bytes(), class, host);
            let expected = expected.map(|(name, suffix, accept)| VersionedImage {
                name: name.to_owned(),
                filter: Filter::new(name, suffix, accept).architecture(host).tries(TriesRule::Honoured),
            });
            assert_eq!(found, expected, "{entry} as {class}");
        }
    }
}
