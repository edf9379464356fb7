//! [`Service`]: what a unit says that matters to its extensions: they themselves, its root, what covers them, its reload.

use serde::Serialize;

use super::word::{self, Backslash};
use super::{Assignment, Extensions, Name, Place, Specifiers};
use crate::error::{Corrupt, Result, ResultExt as _};
use crate::limits::Limits;
use crate::policy::Policy;

/// What a unit says that matters to its extensions.
///
/// ```
/// use confext_ddi::Limits;
/// use confext_ddi::unit::{self, Name, Service, Specifiers};
///
/// let (unit, limits) = (Name::parse("app.service")?, Limits::default());
/// let text = b"[Service]\nType=notify-reload\nExtensionImages=/var/lib/%N.raw.v\n";
/// let mut service = Service::default();
/// for setting in unit::parse(text, "app.service", &limits)? {
///     service.assign(&setting, &unit, &Specifiers::new(&unit), &limits)?;
/// }
/// assert_eq!(service.extensions.images[0].path, "/var/lib/app.raw.v");
/// // A new version is seen when the service reloads.
/// assert!(service.can_reload() && service.extensions.is_refreshed_on_reload());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Service {
    /// Its extensions.
    pub extensions: Extensions,
    /// What the service sees as `/`.
    pub root: Root,
    /// `RootImagePolicy=`; `None` where it is not set.
    pub root_policy: Option<Policy>,
    /// What else is mounted at a directory that extensions are merged over, or below it.
    pub covered: Vec<Covered>,
    /// What a reload is.
    pub reload: Reload,
}

/// What a service sees as `/`.
///
/// ```
/// use confext_ddi::Limits;
/// use confext_ddi::unit::{Assignment, Name, Root, Service, Specifiers};
///
/// let unit = Name::parse("app.service")?;
/// let mut service = Service::default();
/// assert_eq!(service.root, Root::Host);
/// let setting = Assignment::new("Service", "RootImage", "/srv/%p.raw");
/// service.assign(&setting, &unit, &Specifiers::new(&unit), &Limits::default())?;
/// assert_eq!(service.root, Root::Image("/srv/app.raw".to_owned()));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// That of the host.
    #[default]
    Host,
    /// `RootDirectory=`, which can be a path into a `.v` directory.
    Directory(String),
    /// `RootImage=`, which can be a path into a `.v` directory.
    Image(String),
}

/// A mount at `/etc`, `/usr` or `/opt`, or below it. At the directory itself systemd uses it or the extensions, and says nothing
/// of the other; below it, it is over what extensions have there.
///
/// ```
/// use confext_ddi::Limits;
/// use confext_ddi::unit::{Assignment, Name, Service, Specifiers};
///
/// // What extensions have in `/etc/app` is not seen by this service.
/// let unit = Name::parse("app.service")?;
/// let mut service = Service::default();
/// let setting = Assignment::new("Service", "TemporaryFileSystem", "/etc/app:ro");
/// service.assign(&setting, &unit, &Specifiers::new(&unit), &Limits::default())?;
/// let covered = &service.covered[0];
/// assert_eq!((covered.hierarchy, covered.path.as_str()), ("/etc", "/etc/app"));
/// assert!(!covered.is_whole());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Covered {
    /// The directory.
    pub hierarchy: &'static str,
    /// Where it is mounted: there, or below.
    pub path: String,
    /// The setting: `BindPaths`.
    pub key: String,
    /// Where it is set.
    pub place: Place,
}

/// What a reload of a service is.
///
/// ```
/// use confext_ddi::Limits;
/// use confext_ddi::unit::{Assignment, Name, Service, Specifiers};
///
/// let unit = Name::parse("app.service")?;
/// let mut service = Service::default();
/// assert!(!service.can_reload());
/// let setting = Assignment::new("Service", "ExecReload", "/usr/bin/app --reload");
/// service.assign(&setting, &unit, &Specifiers::new(&unit), &Limits::default())?;
/// assert_eq!(service.reload.commands, ["/usr/bin/app --reload"]);
/// assert!(service.can_reload());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Reload {
    /// `Type=` as written; empty where it is not set.
    pub kind: String,
    /// `ExecReload=` as written.
    pub commands: Vec<String>,
    /// `ReloadSignal=`, which counts for `Type=notify-reload`; empty where it is not set: `SIGHUP`.
    pub signal: String,
    /// Whether there is an `ExecStart=`.
    pub is_started: bool,
}

/// Types of units that have processes, with the section that says how they run.
const SECTIONS: [(&str, &str); 4] =
    [("service", "Service"), ("socket", "Socket"), ("mount", "Mount"), ("swap", "Swap")];
const SERVICE: &str = "Service";
const HIERARCHIES: [&str; 3] = ["/etc", "/usr", "/opt"];
/// Settings that are lists of places, and what is before the place in an item: a source and a colon.
const MOUNTS: [(&str, Item); 5] = [
    ("BindPaths", Item::SourceTarget),
    ("BindReadOnlyPaths", Item::SourceTarget),
    ("MountImages", Item::SourceTarget),
    ("TemporaryFileSystem", Item::Target),
    ("InaccessiblePaths", Item::Target),
];

impl Covered {
    /// Whether it is at the directory itself, and not below it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.path == self.hierarchy
    }
}

/// What the items of a list of mounts are.
#[derive(Debug, Clone, Copy)]
enum Item {
    /// `SOURCE[:TARGET[:OPTIONS]]`.
    SourceTarget,
    /// `TARGET[:OPTIONS]`.
    Target,
}

impl Service {
    /// Takes a setting over what the ones before it said. Settings that do not matter here are left alone, whatever they
    /// say.
    ///
    /// # Errors
    ///
    /// Those of [`Extensions::assign`] and of [`Policy::parse`]; `unit-section` where one of [`Extensions::KEYS`] is in a section in which it means
    /// nothing. What is in here is then not to be used.
    pub fn assign(
        &mut self,
        from: &Assignment,
        unit: &Name,
        specifiers: &Specifiers,
        limits: &Limits,
    ) -> Result<()> {
        let own = SECTIONS.iter().find(|(kind, _)| *kind == unit.kind()).map_or("", |(_, section)| section);
        let key = from.key.as_str();
        if Extensions::KEYS.contains(&key) && !from.section.starts_with("X-") {
            let expected = if key == super::parse::REFRESH { SERVICE } else { own };
            if from.section != own || from.section != expected {
                return Err(misplaced(from, expected));
            }
            return self.extensions.assign(from, specifiers, limits).map(drop);
        }
        if from.section != own {
            return Ok(());
        }
        match key {
            "RootDirectory" => self.set_root(Root::Directory, from, specifiers)?,
            "RootImage" => self.set_root(Root::Image, from, specifiers)?,
            "RootImagePolicy" if from.value.is_empty() => self.root_policy = None,
            "RootImagePolicy" => {
                self.root_policy = Some(Policy::parse(&from.value).within(from.place.to_string())?);
            }
            "Type" => self.reload.kind.clone_from(&from.value),
            "ReloadSignal" => self.reload.signal.clone_from(&from.value),
            "ExecStart" => self.reload.is_started = !from.value.is_empty(),
            "ExecReload" if from.value.is_empty() => self.reload.commands.clear(),
            "ExecReload" => self.reload.commands.push(from.value.clone()),
            _ => self.cover(from, specifiers),
        }
        Ok(())
    }

    /// Whether systemd takes a request to reload: a command, a notification, or an explicit `RefreshOnReload=` that does
    /// something.
    #[must_use]
    pub fn can_reload(&self) -> bool {
        let explicit = self.extensions.refresh_on_reload != super::RefreshOnReload::Default;
        !self.reload.commands.is_empty()
            || self.reload.kind == "notify-reload"
            || (explicit && self.reload.is_started && self.extensions.is_refreshed_on_reload())
    }

    fn set_root(
        &mut self,
        kind: fn(String) -> Root,
        from: &Assignment,
        specifiers: &Specifiers,
    ) -> Result<()> {
        // An empty value takes back that of its own kind only.
        if from.value.is_empty() {
            if std::mem::discriminant(&self.root) == std::mem::discriminant(&kind(String::new())) {
                self.root = Root::Host;
            }
            return Ok(());
        }
        let place = from.place.to_string();
        let path = specifiers.expand(&from.value, &place)?;
        if !path.starts_with('/') {
            let (key, found) = (from.key.clone(), crate::settings::excerpt(&path));
            return Err(Corrupt::UnitSetting { place, key, found, expected: "an absolute path" }.into());
        }
        self.root = if path.chars().all(|character| character == '/') { Root::Host } else { kind(path) };
        Ok(())
    }

    /// Notes mounts at a hierarchy and below. An item that cannot be read names none.
    fn cover(&mut self, from: &Assignment, specifiers: &Specifiers) {
        let Some((_, item)) = MOUNTS.iter().find(|(key, _)| *key == from.key) else { return };
        if from.value.is_empty() {
            self.covered.retain(|covered| covered.key != from.key);
            return;
        }
        for word in word::split(&from.value, Backslash::Stays).unwrap_or_default() {
            let Ok(fields) = word::fields(&word) else { continue };
            let source = fields.first().map(|source| source.trim_start_matches(['-', '+']));
            let target = match item {
                Item::SourceTarget => {
                    fields.get(1).map(String::as_str).filter(|target| !target.is_empty()).or(source)
                }
                Item::Target => source,
            };
            let target = target.and_then(|target| specifiers.expand(target, "").ok()).unwrap_or_default();
            let plain: Vec<_> = target.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
            let first = plain.first().filter(|_| !plain.contains(&".."));
            let at = HIERARCHIES.into_iter().find(|it| first == Some(&it.trim_start_matches('/')));
            self.covered.extend(at.map(|hierarchy| Covered {
                hierarchy,
                path: format!("/{}", plain.join("/")),
                key: from.key.clone(),
                place: from.place.clone(),
            }));
        }
    }
}

fn misplaced(from: &Assignment, expected: &str) -> crate::Error {
    let expected = if expected.is_empty() {
        "no section: units of this type have no processes".to_owned()
    } else {
        format!("section {expected:?}, of a unit of that type")
    };
    Corrupt::UnitSection {
        place: from.place.to_string(),
        key: from.key.clone(),
        found: crate::settings::excerpt(&from.section),
        expected,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit;

    fn read(name: &str, text: &str) -> Result<Service> {
        let (name, limits) = (Name::parse(name).unwrap(), Limits::default());
        let mut service = Service::default();
        for from in unit::parse(text.as_bytes(), "/f", &limits)? {
            service.assign(&from, &name, &Specifiers::new(&name), &limits)?;
        }
        Ok(service)
    }

    #[test]
    fn what_matters_is_taken_and_the_rest_is_left_alone() {
        let service = read(
            "a.service",
            "[Unit]\nDescription=%Z\n[Service]\nType=notify-reload\nExecStart=/bin/x \\q\nRootDirectory=/srv/%p\n\
             ExecReload=/bin/a\nExecReload=\nExecReload=/bin/b\nReloadSignal=SIGUSR1\nExtensionImages=/a.v\n\
             [X-Mine]\nExtensionImages=nonsense\n[Install]\nWantedBy=multi-user.target\n",
        )
        .unwrap();
        assert_eq!(service.root, Root::Directory("/srv/a".to_owned()));
        assert_eq!(
            (service.reload.kind.as_str(), service.reload.signal.as_str()),
            ("notify-reload", "SIGUSR1")
        );
        assert_eq!(service.reload.commands, ["/bin/b"]);
        assert!(service.reload.is_started && service.extensions.images.len() == 1);
    }

    #[test]
    fn the_root_is_the_last_one_that_is_set() {
        for (text, root) in [
            ("RootImage=/a.raw", Root::Image("/a.raw".to_owned())),
            ("RootImage=/a.raw\nRootImage=", Root::Host),
            ("RootImage=/a.raw\nRootDirectory=", Root::Image("/a.raw".to_owned())),
            ("RootDirectory=/", Root::Host),
        ] {
            assert_eq!(read("a.service", &format!("[Service]\n{text}\n")).unwrap().root, root, "{text}");
        }
        assert_eq!(read("a.service", "[Service]\nRootImage=a").unwrap_err().code(), "unit-setting");
    }

    #[test]
    fn mounts_at_a_hierarchy_and_below_are_noted() {
        for (text, expected) in [
            ("BindPaths=/a:/etc", vec!["/etc"]),
            ("BindPaths=/a:/etc/:rbind -/usr /x", vec!["/etc", "/usr"]),
            ("BindReadOnlyPaths=\"/a b:/opt\"", vec!["/opt"]),
            ("TemporaryFileSystem=%E:ro", vec!["/etc"]),
            ("BindPaths=/a:/etc/x\nTemporaryFileSystem=/etc//y /var", vec!["/etc/x", "/etc/y"]),
            ("InaccessiblePaths=-+/etc/x/ /etcetera /etc/../usr", vec!["/etc/x"]),
            ("MountImages=/a.raw:/usr/share/a", vec!["/usr/share/a"]),
            ("BindPaths=/etc:/x %Z \\q", vec![]),
            ("BindPaths=/a:/etc\nBindPaths=", vec![]),
        ] {
            let covered = read("a.service", &format!("[Service]\n{text}\n")).unwrap().covered;
            let paths: Vec<_> = covered.iter().map(|covered| covered.path.as_str()).collect();
            assert_eq!(paths, expected, "{text}");
            assert!(covered.iter().all(|covered| covered.path.starts_with(covered.hierarchy)));
            assert!(covered.iter().all(|covered| covered.is_whole() != covered.path[1..].contains('/')));
        }
    }

    #[test]
    fn settings_about_extensions_are_refused_where_they_mean_nothing() {
        for (name, text) in [
            ("a.service", "[Unit]\nExtensionImages=/a"),
            ("a.service", "[Servcie]\nExtensionImages=/a"),
            ("a.service", "[Install]\nExtensionImagePolicy=root=signed"),
            ("a.socket", "[Service]\nExtensionImages=/a"),
            ("a.socket", "[Socket]\nRefreshOnReload=yes"),
            ("a.timer", "[Timer]\nExtensionDirectories=/a"),
        ] {
            assert_eq!(read(name, text).unwrap_err().code(), "unit-section", "{name} {text}");
        }
        assert_eq!(read("a.socket", "[Socket]\nExtensionImages=/a").unwrap().extensions.images.len(), 1);
    }

    #[test]
    fn what_can_reload_is_what_systemd_reloads() {
        for (text, can) in [
            ("ExecReload=/bin/x", true),
            ("Type=notify-reload", true),
            ("Type=notify", false),
            ("ExtensionImages=/a.v", false),
            ("ExecStart=/bin/x\nExtensionImages=/a.v\nRefreshOnReload=yes", true),
            ("ExecStart=/bin/x\nExtensionImages=/a.raw\nRefreshOnReload=yes", false),
            ("ExecStart=/bin/x\nExtensionImages=/a.v\nRefreshOnReload=credentials", false),
        ] {
            assert_eq!(
                read("a.service", &format!("[Service]\n{text}\n")).unwrap().can_reload(),
                can,
                "{text}"
            );
        }
    }
}
