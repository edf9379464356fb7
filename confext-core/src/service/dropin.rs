//! [`DropIn`]: a drop-in of a unit with its extensions, written whole or not at all, and read again before

use std::path::{Path, PathBuf};

use confext_ddi::Limits;
use confext_ddi::unit::{self, Extensions, Name, Service, Specifiers};

use super::place::{self, Wrote};
use crate::error::{Error, Result};
use crate::host::Host;

/// A drop-in of a unit.
///
/// ```
/// use confext_core::{Host, service::{DropIn, Lifetime}};
/// use confext_ddi::unit::{Entry, Extensions, Name};
///
/// let root = tempfile::tempdir()?;
/// let drop_in = DropIn::new(&Name::parse("app.service")?, "50-confext.conf", Lifetime::Persistent)?;
/// let extensions = Extensions::of([Entry::image("/var/lib/confexts/app.raw.v")], []);
/// drop_in.write(&Host::open(root.path())?, &extensions)?;
/// assert!(root.path().join("etc/systemd/system/app.service.d/50-confext.conf").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIn {
    path: PathBuf,
    unit: Name,
}

/// How long a drop-in counts.
///
/// ```
/// use std::path::Path;
///
/// use confext_core::service::{DropIn, Lifetime};
/// use confext_ddi::unit::Name;
///
/// // To try something out: it is gone after the next boot.
/// let drop_in = DropIn::new(&Name::parse("app.service")?, "90-try.conf", Lifetime::Runtime)?;
/// assert_eq!(drop_in.path(), Path::new("/run/systemd/system/app.service.d/90-try.conf"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifetime {
    /// Until it is removed: in `/etc/systemd/system`.
    #[default]
    Persistent,
    /// Until the machine stops: in `/run/systemd/system`.
    Runtime,
}

impl DropIn {
    /// The drop-in of a unit with this file name, like `50-extensions.conf`.
    ///
    /// # Errors
    ///
    /// `drop-in-name`.
    pub fn new(unit: &Name, file: &str, lifetime: Lifetime) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+@:".contains(&byte);
        let stem = file.strip_suffix(".conf").unwrap_or_default();
        if stem.is_empty() || stem.starts_with('.') || file.len() > 200 || !file.bytes().all(plain) {
            let found = file.chars().take(80).collect::<String>();
            return Err(Error::conflict("drop-in-name", found, "this name", "one like 50-extensions.conf"));
        }
        let directory = match lifetime {
            Lifetime::Persistent => "/etc/systemd/system",
            Lifetime::Runtime => "/run/systemd/system",
        };
        let path = Path::new(directory).join(format!("{unit}.d")).join(file);
        Ok(Self { path, unit: unit.clone() })
    }

    /// Where it is, inside the root.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes it, in place of what is there: on disk before it has its name, and by one step. The manager does not look until
    /// it reloads.
    ///
    /// # Errors
    ///
    /// `unit-entry` for what no unit can say, `drop-in-text` should what is written not be read as what was meant, `os`. What
    /// was there before then still is.
    pub fn write(&self, host: &Host, extensions: &Extensions) -> Result<Wrote> {
        let text = drop_in_text(&self.unit, extensions)?;
        place::write(host, &self.path, text.as_bytes(), place::PLAIN)
    }

    /// Removes it, and its directory where nothing else is in it. Whether it was there is said.
    ///
    /// # Errors
    ///
    /// `os`.
    pub fn remove(&self, host: &Host) -> Result<bool> {
        place::remove(host, &self.path)
    }
}

/// The text of a drop-in that says this and nothing else, which was read again to see that it does.
///
/// # Errors
///
/// As [`DropIn::write`].
pub fn drop_in_text(unit: &Name, extensions: &Extensions) -> Result<String> {
    let section = match unit.kind() {
        "socket" => "Socket",
        "mount" => "Mount",
        "swap" => "Swap",
        _ => "Service",
    };
    let mut text = format!("# Written by confext.\n[{section}]\n");
    for line in extensions.lines()? {
        text.push_str(&line);
        text.push('\n');
    }
    let limits = Limits::default();
    let mut again = Service::default();
    for setting in unit::parse(text.as_bytes(), "drop-in", &limits)? {
        again.assign(&setting, unit, &Specifiers::new(unit), &limits)?;
    }
    if again.extensions != *extensions {
        return Err(Error::conflict(
            "drop-in-text",
            unit.as_str(),
            "settings that read as something else",
            "the same ones",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use confext_ddi::policy::Policy;
    use confext_ddi::unit::{Entry, RefreshOnReload};

    fn host() -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        let host = Host::open(root.path()).unwrap();
        (root, host)
    }

    #[test]
    fn what_is_written_is_what_the_unit_says() {
        let (root, host) = host();
        let unit = Name::parse("app").unwrap();
        let mut extensions = Extensions::default();
        extensions.images = vec![Entry::image("/a b:%n.raw"), Entry::image("/c.v").or_skipped()];
        extensions.directories = vec![Entry::directory("/d \"e\"")];
        extensions.policy = Some(Policy::signed());
        extensions.refresh_on_reload = RefreshOnReload::Explicit { extensions: true, credentials: false };
        let service = root.path().join("usr/lib/systemd/system/app.service");
        std::fs::create_dir_all(service.parent().unwrap()).unwrap();
        std::fs::write(&service, "[Service]\nExecStart=/bin/x\n").unwrap();
        let drop_in = DropIn::new(&unit, "50-a.conf", Lifetime::Persistent).unwrap();
        assert_eq!(drop_in.write(&host, &extensions).unwrap(), Wrote::New);
        assert_eq!(drop_in.write(&host, &extensions).unwrap(), Wrote::Same);
        assert_eq!(super::super::Unit::read(&host, "app").unwrap().service.extensions, extensions);
        extensions.policy = None;
        assert_eq!(drop_in.write(&host, &extensions).unwrap(), Wrote::Changed);
        let directory = root.path().join("etc/systemd/system/app.service.d");
        let names: Vec<_> =
            std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["50-a.conf"]);
        assert!(drop_in.remove(&host).unwrap() && !drop_in.remove(&host).unwrap());
        assert!(!directory.exists());
    }

    #[test]
    fn what_no_unit_can_say_changes_nothing() {
        let (_root, host) = host();
        let unit = Name::parse("app").unwrap();
        let drop_in = DropIn::new(&unit, "50-a.conf", Lifetime::Runtime).unwrap();
        let mut extensions = Extensions::default();
        extensions.images = vec![Entry::image("/a.raw")];
        drop_in.write(&host, &extensions).unwrap();
        extensions.directories = vec![Entry::directory("/two\nlines")];
        assert_eq!(drop_in.write(&host, &extensions).unwrap_err().code(), "unit-entry");
        assert_eq!(drop_in.write(&host, &Extensions::default()).unwrap(), Wrote::Changed);
        for name in ["a", ".conf", "..conf", "a/b.conf", "a b.conf", "../a.conf", "a\n.conf"] {
            let error = DropIn::new(&unit, name, Lifetime::Runtime).unwrap_err();
            assert_eq!(error.code(), "drop-in-name", "{name}");
        }
    }

    #[test]
    fn a_link_in_the_way_leads_nowhere() {
        let (root, host) = host();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/systemd")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("etc/systemd/system")).unwrap();
        let drop_in = DropIn::new(&Name::parse("app").unwrap(), "50-a.conf", Lifetime::Persistent).unwrap();
        assert_eq!(drop_in.write(&host, &Extensions::default()).unwrap_err().code(), "os");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
