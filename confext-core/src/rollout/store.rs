//! [`store_of`] and [`version_of`]: the directory of versions that a unit lists for an image, and which version it is

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::unit::{EntryKind, Extensions};
use confext_ddi::vpick::Pattern;

use crate::error::{Error, Result};

/// The one directory `NAME.raw.v` among the extensions of a unit whose versions are called as this image is: `NAME_VERSION.raw`, or
/// `NAME.raw`.
///
/// # Errors
///
/// `rollout-store` when there is none or several, with those that there are.
pub fn store_of(unit: &str, extensions: &Extensions, image: &Path) -> Result<PathBuf> {
    let mut listed: Vec<(PathBuf, bool)> = Vec::new();
    for entry in extensions.bottom_first().filter(|entry| entry.kind == EntryKind::Image) {
        if let Ok(Pattern::Versioned { directory, base, .. }) = entry.pattern() {
            let directory = PathBuf::from(OsStr::from_bytes(&directory));
            if !listed.iter().any(|(known, _)| *known == directory) {
                listed.push((directory, fits(image, &base)));
            }
        }
    }
    let mut fitting = listed.iter().filter(|(_, fits)| *fits);
    if let (Some((directory, _)), None) = (fitting.next(), fitting.next()) {
        return Ok(directory.clone());
    }
    let several = listed.iter().any(|(_, fits)| *fits);
    let shown = listed.iter().filter(|(_, fits)| *fits == several);
    let shown: Vec<_> = shown.map(|(directory, _)| directory.display().to_string()).collect();
    let found = match (several, shown.is_empty()) {
        (true, _) => format!("several directories of versions that fit: {}", shown.join(", ")),
        (false, true) => "no directory of versions".to_owned(),
        (false, false) => format!("directories of versions of other names: {}", shown.join(", ")),
    };
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    Err(Error::conflict("rollout-store", unit, found, format!("one for {name}, or a directory by --store")))
}

/// The version that the name of an image says, in a store of this [name](crate::publish::Store::name): `NAME_VERSION.raw`.
///
/// # Errors
///
/// `version-name` when it says none.
pub fn version_of(store: &str, image: &Path) -> Result<String> {
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let rest = name.strip_suffix(".raw").and_then(|name| name.strip_prefix(store));
    let version = rest.and_then(|rest| rest.strip_prefix('_')).filter(|version| !version.is_empty());
    version.map(str::to_owned).ok_or_else(|| {
        let expected = format!("{store}_VERSION.raw, or --version");
        Error::conflict("version-name", "IMAGE", format!("{name:?}"), expected)
    })
}

/// Whether a file is called as a version of this name is.
fn fits(image: &Path, base: &[u8]) -> bool {
    let name = image.file_name().unwrap_or_default().as_bytes();
    let stem = [&b".confext.raw"[..], b".sysext.raw", b".raw"].iter().find_map(|end| name.strip_suffix(*end));
    let rest = stem.and_then(|stem| stem.strip_prefix(base));
    !base.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"_"))
}

#[cfg(test)]
mod tests {
    use confext_ddi::unit::Entry;

    use super::*;

    #[test]
    fn a_name_says_its_version() {
        let of = |image: &str| version_of("app", Path::new(image)).map_err(|error| error.code());
        assert_eq!(of("new/app_2+3-0.raw").as_deref(), Ok("2+3-0"));
        for image in ["app.raw", "app_.raw", "app_2", "apple_2.raw", "top_2.raw", "/"] {
            assert_eq!(of(image), Err("version-name"), "{image}");
        }
    }

    #[test]
    fn one_directory_fits_or_all_are_named() {
        let of = |paths: &[&str], image: &str| {
            let mut extensions = Extensions::default();
            extensions.images = paths.iter().map(|path| Entry::image(*path)).collect();
            extensions.directories = vec![Entry::directory("/lib/app.v")];
            store_of("app.service", &extensions, Path::new(image)).map_err(|error| {
                assert_eq!(error.code(), "rollout-store");
                error.explain()
            })
        };
        let (app, top) = ("/lib/app.raw.v", "/lib/top.raw.v");
        for image in ["new/app_2.raw", "app_2+3-0.raw", "app.raw", "app_2.confext.raw", "app_1_x86-64.raw"] {
            assert_eq!(of(&[top, app, "/lib/app.raw"], image).unwrap(), Path::new(app), "{image}");
        }
        assert_eq!(of(&["/lib/app.raw.v/app___.raw", app], "app_2.raw").unwrap(), Path::new(app));
        for (paths, image, expected) in [
            (
                &[app, top][..],
                "apple_2.raw",
                "directories of versions of other names: /lib/app.raw.v, /lib/top.raw.v",
            ),
            (&[app], "2.raw", "of other names: /lib/app.raw.v"),
            (&[app], "app_2", "of other names"),
            (&["/lib/app.raw"], "app_2.raw", "no directory of versions"),
            (&[app, "/srv/app.raw.v", top], "app_2.raw", "that fit: /lib/app.raw.v, /srv/app.raw.v"),
        ] {
            let said = of(paths, image).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }
}
