//! Looking the release file up in an image.

use super::{Class, Release};
use crate::Limits;
use crate::error::{Corrupt, Error, LimitExceeded, Lookup, Refused, Result, ResultExt as _};
use crate::fs::{self, FileSystem, FileType};

/// Which release files are taken when there is none of the image's name.
///
/// ```
/// use confext_ddi::build::{Meta, Tree};
/// use confext_ddi::release::{Class, Strictness, find};
/// use confext_ddi::{Limits, fs::FileSystem};
///
/// // The image was renamed to `other`.
/// let mut tree = Tree::new();
/// tree.add_file("etc/extension-release.d/extension-release.app", "ID=_any\n", Meta::new(0o644))?;
/// let limits = Limits::default();
/// let files = tree.files(&limits);
/// let found = |strictness| find(&files, Class::Confext, "other", strictness, &limits);
/// assert_eq!(found(Strictness::Strict).unwrap_err().code(), "release-name");
/// assert!(found(Strictness::Relaxed).is_ok());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strictness {
    /// One named after the image without its version, or one that says it goes with any image name.
    #[default]
    Strict,
    /// Any, as long as there is only one.
    Relaxed,
}

/// A release file of an image.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::image::{self, Image};
/// use confext_ddi::policy::Policy;
/// use confext_ddi::release::{Class, Strictness};
///
/// let image = Image::open(bytes, &image::Options::default())?;
/// let admitted = Policy::verity().judge(image, None)?;
/// let found = admitted.release(Class::Confext, "app", Strictness::Strict)?;
/// assert_eq!(found.path, b"etc/extension-release.d/extension-release.app");
/// assert_eq!(found.release.get("ID"), Some("_any"));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it says.
    pub release: Release,
    /// Where it is, relative to the root of the image, symbolic links resolved.
    pub path: Vec<u8>,
}

const PREFIX: &str = "extension-release.";
const STRICT_XATTR: &[u8] = b"user.extension-release.strict";

/// Looks up the release file of the image called `image_name`.
///
/// The file of exactly that name is taken first. Only when there is none, the directory is searched for a regular file
/// that is named after the image without its version, or whose extended attribute `user.extension-release.strict` is
/// false.
///
/// # Errors
///
/// `release-missing`, `release-name`, `release-not-unique`, faults of [`Release::parse`], and whatever reading meets.
///
/// *Spec:* UAPI.4, "Extension image metadata".
pub fn find(
    fs: &dyn FileSystem,
    class: Class,
    image_name: &str,
    strictness: Strictness,
    limits: &Limits,
) -> Result<Found> {
    let directory = class.release_directory();
    let expected = format!("{directory}/{PREFIX}{image_name}");
    // A name with a slash would leave the directory.
    let exact = if is_valid_image_name(image_name) {
        absent_as_none(fs::resolve(fs, expected.as_bytes(), limits))?
    } else {
        None
    };
    let path = match exact {
        Some(path) => path,
        None => search(fs, class, image_name, strictness, limits)?,
    };
    let release = read(fs, &path, limits).within(String::from_utf8_lossy(&path).into_owned())?;
    Ok(Found { release, path })
}

/// Reads what an operating system says of itself: `etc/os-release`, else `usr/lib/os-release`; links are followed inside.
///
/// # Errors
///
/// `no-such-file` when there is neither; faults of [`Release::parse`], and whatever reading meets.
///
/// *Spec:* os-release(5).
pub fn os_release(fs: &dyn FileSystem, limits: &Limits) -> Result<Release> {
    let path = match absent_as_none(fs::resolve(fs, b"etc/os-release", limits))? {
        Some(path) => path,
        None => fs::resolve(fs, b"usr/lib/os-release", limits)?,
    };
    read(fs, &path, limits).within(String::from_utf8_lossy(&path).into_owned())
}

/// Reads a release file of this path.
pub(crate) fn read(fs: &dyn FileSystem, path: &[u8], limits: &Limits) -> Result<Release> {
    let meta = fs.stat(path)?;
    if meta.file_type == FileType::Regular && meta.size_bytes > limits.release_bytes {
        let (found, most) = (meta.size_bytes, limits.release_bytes);
        return Err(LimitExceeded::Bytes { what: "release file", found, most }.into());
    }
    Release::parse(&fs.read(path)?, limits)
}

fn search(
    fs: &dyn FileSystem,
    class: Class,
    image_name: &str,
    strictness: Strictness,
    limits: &Limits,
) -> Result<Vec<u8>> {
    let directory = class.release_directory();
    let expected = || format!("{directory}/{PREFIX}{image_name}");
    let (mut accepted, mut others) = (Vec::new(), Vec::new());
    if let Some(resolved) = absent_as_none(fs::resolve(fs, directory.as_bytes(), limits))? {
        for entry in fs.read_dir(&resolved)? {
            let Some(name) = candidate(&entry) else { continue };
            let path = [&resolved, b"/".as_slice(), &entry.name].concat();
            let takes = strictness == Strictness::Relaxed
                || name == base_name(image_name)
                || goes_with_any_name(fs, &path)?;
            if takes { accepted.push((path, name.to_owned())) } else { others.push(name.to_owned()) }
        }
    }
    let mut accepted = accepted.into_iter();
    match (accepted.next(), accepted.next()) {
        (Some((path, _)), None) => Ok(path),
        (Some((_, first)), Some((_, second))) => {
            let (first, second) = (format!("{PREFIX}{first}"), format!("{PREFIX}{second}"));
            Err(Corrupt::ReleaseNotUnique { expected: expected(), first, second }.into())
        }
        (None, _) => {
            let expected = expected();
            Err(match others.first() {
                Some(name) => Corrupt::ReleaseName { expected, found: format!("{PREFIX}{name}") }.into(),
                None => Corrupt::ReleaseMissing { expected, found: "none".to_owned() }.into(),
            })
        }
    }
}

fn candidate(entry: &fs::DirEntry) -> Option<&str> {
    let name = std::str::from_utf8(&entry.name).ok()?.strip_prefix(PREFIX)?;
    (entry.file_type == FileType::Regular && is_valid_image_name(name)).then_some(name)
}

fn goes_with_any_name(fs: &dyn FileSystem, path: &[u8]) -> Result<bool> {
    const FALSE: [&str; 6] = ["0", "no", "n", "false", "f", "off"];
    let xattrs = fs.xattrs(path)?;
    let value = xattrs.iter().find(|(name, _)| name == STRICT_XATTR).map(|(_, value)| value);
    Ok(value.is_some_and(|value| FALSE.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()))))
}

/// Refuses an image that would replace the file its release is compared with.
///
/// `usr/lib/os-release` must not exist in either class, `etc/os-release` not in a confext. The file is not followed:
/// a dangling link there would hide the host's file just as well.
///
/// # Errors
///
/// `forbidden-content`, and whatever reading meets.
///
/// *Spec:* UAPI.4; stricter than systemd in the two points above.
pub fn check_content(fs: &dyn FileSystem, class: Class, limits: &Limits) -> Result<()> {
    let forbidden: &[(&str, &str, &'static str)] = match class {
        Class::Sysext => &[("usr/lib", "os-release", "usr/lib/os-release")],
        Class::Confext => {
            &[("usr/lib", "os-release", "usr/lib/os-release"), ("etc", "os-release", "etc/os-release")]
        }
    };
    for (directory, name, path) in forbidden {
        let Some(resolved) = absent_as_none(fs::resolve(fs, directory.as_bytes(), limits))? else { continue };
        let full = [&resolved, b"/".as_slice(), name.as_bytes()].concat();
        if absent_as_none(fs.stat(&full))?.is_some() {
            return Err(Refused::ForbiddenContent { path }.into());
        }
    }
    Ok(())
}

/// The image name without its version: an ending `.sysext.raw`, `.confext.raw` or `.raw` and everything from the first
/// `_` or `+` is cut.
#[must_use]
pub fn base_name(image_name: &str) -> &str {
    let stem = [".sysext.raw", ".confext.raw", ".raw"]
        .iter()
        .find_map(|suffix| image_name.strip_suffix(suffix))
        .unwrap_or(image_name);
    stem.split(['_', '+']).next().unwrap_or(stem)
}

/// Whether the text can name an image: one file name of at most 255 bytes, no control characters, not starting in `.#`.
#[must_use]
pub fn is_valid_image_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.starts_with(".#")
        && !name.chars().any(|character| character == '/' || character.is_control())
}

fn absent_as_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error.fault(), crate::error::Fault::Lookup(Lookup::NoSuchFile { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::memory::MemoryFs;

    const DIR: &str = "usr/lib/extension-release.d";

    fn lookup(fs: &MemoryFs, name: &str) -> Result<String> {
        let found = find(fs, Class::Sysext, name, Strictness::Strict, &Limits::default())?;
        Ok(format!(
            "{}:{}",
            String::from_utf8_lossy(&found.path).rsplit('.').next().unwrap(),
            found.release.get("ID").unwrap()
        ))
    }

    fn with(files: &[&str]) -> MemoryFs {
        let mut fs = MemoryFs::new();
        for name in files {
            fs.file(&format!("{DIR}/extension-release.{name}"), format!("ID={name}"));
        }
        fs
    }

    #[test]
    fn the_exact_name_comes_first() {
        assert_eq!(lookup(&with(&["app", "other"]), "app").unwrap(), "app:app");
        assert_eq!(lookup(&with(&["app", "app_1"]), "app_1").unwrap(), "app_1:app_1");
    }

    #[test]
    fn the_name_without_version_is_next() {
        for name in ["app_1", "app+3", "app_1+3"] {
            assert_eq!(lookup(&with(&["app", "other"]), name).unwrap(), "app:app", "{name}");
        }
        assert_eq!(base_name("app_1.2.sysext.raw"), "app");
        assert_eq!(base_name("app.raw"), "app");
        assert_eq!(base_name("app.sysext"), "app.sysext");
    }

    #[test]
    fn an_attribute_opens_a_file_to_any_image() {
        for (value, expected) in [
            ("0", true),
            ("no", true),
            ("n", true),
            ("f", true),
            ("False", true),
            ("off", true),
            ("1", false),
            ("true", false),
            ("junk", false),
            ("", false),
        ] {
            let mut fs = with(&["other"]);
            fs.xattr(&format!("{DIR}/extension-release.other"), "user.extension-release.strict", value);
            let found = lookup(&fs, "app").map_err(|error| error.code());
            let expected = if expected { Ok("other:other".to_owned()) } else { Err("release-name") };
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn links_inside_the_image_are_followed_for_the_exact_name_only() {
        let mut fs = MemoryFs::new();
        fs.file("usr/share/release.real", "ID=real");
        fs.symlink(&format!("{DIR}/extension-release.app"), "/usr/share/release.real");
        assert_eq!(lookup(&fs, "app").unwrap(), "real:real");
        assert_eq!(lookup(&fs, "app_1").unwrap_err().code(), "release-missing");
    }

    #[test]
    fn faults_have_codes() {
        let missing = lookup(&with(&["other"]), "app").unwrap_err();
        assert_eq!(missing.code(), "release-name");
        let text = missing.to_string();
        assert!(text.contains("extension-release.other") && text.contains("extension-release.app"), "{text}");
        assert_eq!(lookup(&MemoryFs::new(), "app").unwrap_err().code(), "release-missing");
        assert_eq!(lookup(&with(&["app"]), "../app").unwrap_err().code(), "release-name");

        let mut two = with(&["app", "other"]);
        two.xattr(&format!("{DIR}/extension-release.other"), "user.extension-release.strict", "0");
        assert_eq!(lookup(&two, "app_1").unwrap_err().code(), "release-not-unique");
        let relaxed = |fs| find(fs, Class::Sysext, "x", Strictness::Relaxed, &Limits::default());
        assert_eq!(relaxed(&two).unwrap_err().code(), "release-not-unique");
        assert_eq!(relaxed(&with(&["other"])).unwrap().release.get("ID"), Some("other"));

        let mut fs = MemoryFs::new();
        fs.directory(&format!("{DIR}/extension-release.app"));
        assert_eq!(lookup(&fs, "app").unwrap_err().code(), "not-a-file");

        let mut fs = MemoryFs::new();
        fs.file(&format!("{DIR}/extension-release.app"), "junk");
        let error = lookup(&fs, "app").unwrap_err();
        assert_eq!((error.code(), error.path()), ("release-line", format!("{DIR}/extension-release.app")));

        let mut fs = MemoryFs::new();
        fs.file(&format!("{DIR}/extension-release.app"), vec![b'#'; 70_000]);
        assert_eq!(lookup(&fs, "app").unwrap_err().code(), "limit-bytes");
    }

    #[test]
    fn an_extension_must_not_replace_the_identity_of_the_host() {
        let check = |path: &str, class| {
            let mut file = MemoryFs::new();
            file.file(path, "ID=evil");
            let mut dangling = MemoryFs::new();
            dangling.symlink(path, "nowhere");
            let outcome = |fs| check_content(fs, class, &Limits::default()).map_err(|error| error.code());
            assert_eq!(outcome(&file), outcome(&dangling), "{path}");
            outcome(&file)
        };
        assert_eq!(check("usr/lib/os-release", Class::Sysext), Err("forbidden-content"));
        assert_eq!(check("usr/lib/os-release", Class::Confext), Err("forbidden-content"));
        assert_eq!(check("etc/os-release", Class::Confext), Err("forbidden-content"));
        assert_eq!(check("etc/os-release", Class::Sysext), Ok(()));
        assert_eq!(check("usr/lib/os-release.d", Class::Sysext), Ok(()));

        let mut hidden = MemoryFs::new();
        hidden.file("opt/lib/os-release", "ID=evil");
        hidden.symlink("usr", "/opt");
        assert!(check_content(&hidden, Class::Sysext, &Limits::default()).is_err());
    }

    #[test]
    fn image_names() {
        for valid in ["a", "a b", ".hid", "back~", "d.raw", "\u{e9}"] {
            assert!(is_valid_image_name(valid), "{valid:?}");
        }
        for invalid in ["", ".", "..", "a/b", ".#x", "a\nb", &"x".repeat(256)] {
            assert!(!is_valid_image_name(invalid), "{invalid:?}");
        }
    }
}
