//! [`Unit`]: what a unit says of its extensions: from its files and drop-ins, or as the running manager has it

use std::path::Path;

use confext_ddi::Limits;
use confext_ddi::unit::{self, Assignment, Extensions, Name, Service, Specifiers};
use serde::Serialize;

use super::find;
use crate::error::Result;
use crate::host::Host;

/// A unit, as far as it matters to its extensions.
///
/// ```
/// use confext_core::{Host, service::Unit};
///
/// let root = tempfile::tempdir()?;
/// let units = root.path().join("etc/systemd/system");
/// std::fs::create_dir_all(&units)?;
/// std::fs::write(units.join("app.service"), "[Service]\nExecStart=/bin/app\nExtensionImages=/var/lib/app.raw\n")?;
/// let unit = Unit::read(&Host::open(root.path())?, "app")?;
/// assert_eq!(unit.service.extensions.images[0].path, "/var/lib/app.raw");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Unit {
    /// Its name: where it was asked for by an alias, the name behind that.
    pub name: Name,
    /// Other names it has.
    pub aliases: Vec<Name>,
    /// What it says.
    pub service: Service,
    /// The files that say it, in the order in which they are read; masked ones are left out.
    pub files: Vec<String>,
    /// The settings about extensions, in this order, each with its place. What comes later counts.
    pub settings: Vec<Assignment>,
    /// What the running manager says of it; `None` where only files were read.
    pub running: Option<Running>,
}

/// A unit in the running manager.
///
/// ```no_run
/// use std::time::Duration;
///
/// use confext_core::service::Unit;
///
/// let unit = Unit::live("nginx", Duration::from_secs(5))?;
/// let running = unit.running.ok_or("the manager was asked")?;
/// assert!(!running.is_outdated, "systemctl daemon-reload");
/// println!("{} ({}), main process {:?}", running.active, running.sub, running.main_pid);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Running {
    /// Its main process.
    pub main_pid: Option<u32>,
    /// `active`, `reloading`, `refreshing`, `inactive`, `failed`, …
    pub active: String,
    /// What that is more exactly, like `running`.
    pub sub: String,
    /// Whether it can be reloaded now.
    pub can_reload: bool,
    /// Whether files changed since the manager read them.
    pub is_outdated: bool,
}

impl Unit {
    /// Reads a unit's files below a host's root, and its drop-ins: those of its names, of its template, of prefixes of its name
    /// (`foo-.service.d`) and of its type (`service.d`), in the order in which systemd reads them. Directories `NAME.confext.d`
    /// count as if the generator had been there.
    ///
    /// Specifiers that the host's files answer are known, beside those that the name answers.
    ///
    /// # Errors
    ///
    /// `unit-missing`, `unit-masked`, the `unit-` and `policy-` codes for whatever cannot be read as it stands, `os`.
    ///
    /// *Spec*: systemd.unit(5), "Unit File Load Path".
    pub fn read(host: &Host, name: &str) -> Result<Self> {
        let limits = Limits::default();
        let found = find::find(host, &Name::parse(name)?)?;
        let specifiers = specifiers(host, &found.name, &limits);
        let (mut service, mut settings, mut files) = (Service::default(), Vec::new(), Vec::new());
        for file in &found.files {
            let all = match file {
                find::File::Path(path) => read(host, path, &limits)?,
                find::File::Generated { path, extensions } => generated(&found.name, path, extensions)?,
            };
            files.push(file.path().display().to_string());
            for setting in all {
                service.assign(&setting, &found.name, &specifiers, &limits)?;
                if Extensions::KEYS.contains(&setting.key.as_str()) && !setting.section.starts_with("X-") {
                    settings.push(setting);
                }
            }
        }
        Ok(Self { name: found.name, aliases: found.aliases, service, files, settings, running: None })
    }
}

/// The settings of a file, with the path inside the root as their place.
fn read(host: &Host, path: &Path, limits: &Limits) -> Result<Vec<Assignment>> {
    let text = host.read(path, "unit file", limits.unit_bytes)?;
    Ok(unit::parse(&text, &path.display().to_string(), limits)?)
}

/// What the generator would write.
fn generated(name: &Name, path: &Path, extensions: &Extensions) -> Result<Vec<Assignment>> {
    let text = super::dropin::drop_in_text(name, extensions)?;
    Ok(unit::parse(text.as_bytes(), &path.display().to_string(), &Limits::default())?)
}

/// What specifiers stand for, with those that files of the host answer.
fn specifiers(host: &Host, name: &Name, limits: &Limits) -> Specifiers {
    let mut specifiers = Specifiers::new(name);
    if let Ok(release) = host.os_release(limits) {
        for (specifier, key) in [
            ('o', "ID"),
            ('w', "VERSION_ID"),
            ('W', "VARIANT_ID"),
            ('B', "BUILD_ID"),
            ('M', "IMAGE_ID"),
            ('A', "IMAGE_VERSION"),
        ] {
            specifiers = specifiers.with(specifier, release.get(key).unwrap_or_default());
        }
    }
    let id = host.read(Path::new("etc/machine-id"), "machine ID", 64).ok();
    let id = id.and_then(|id| String::from_utf8(id).ok()).map(|id| id.trim_end().to_owned());
    match id.filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        Some(id) => specifiers.with('m', id.to_ascii_lowercase()),
        None => specifiers,
    }
}

#[cfg(test)]
mod tests;
