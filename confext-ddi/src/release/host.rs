//! Whether an extension is for a host.

use super::{Class, Release};
use crate::dps::Architecture;
use crate::error::{Corrupt, Refused, Result};
use serde::Serialize;

/// In which kind of environment an extension is attached.
///
/// ```
/// use confext_ddi::{Limits, dps::Architecture, release::{Class, Host, Release, Scope}};
///
/// let release = |text: &str| Release::parse(text.as_bytes(), &Limits::default());
/// let extension = release("ID=_any\nSYSEXT_SCOPE=initrd\n")?;
/// let host = |scope| Host::new(release("ID=debian\n")?, Architecture::X86_64, scope);
/// assert!(host(Scope::Initrd)?.admits(&extension, Class::Sysext).is_ok());
/// let refused = host(Scope::System)?.admits(&extension, Class::Sysext).unwrap_err();
/// assert_eq!(refused.code(), "host-scope");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The initial RAM disk: the root has an `/etc/initrd-release`.
    Initrd,
    /// The running system.
    System,
    /// A portable service.
    Portable,
    /// A single service, by its own settings: the scope is not compared.
    Service,
}

impl Scope {
    /// The word used in release files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initrd => "initrd",
            Self::System => "system",
            Self::Portable => "portable",
            Self::Service => "service",
        }
    }
}

/// What an extension is compared with.
///
/// ```
/// use confext_ddi::dps::Architecture;
/// use confext_ddi::release::{Class, Host, Release, Scope};
/// use confext_ddi::Limits;
///
/// let release = |text: &str| Release::parse(text.as_bytes(), &Limits::default());
/// let host = Host::new(release("ID=debian\nVERSION_ID=13")?, Architecture::X86_64, Scope::System)?;
/// assert!(host.admits(&release("ID=debian\nVERSION_ID=13")?, Class::Confext).is_ok());
/// let error = host.admits(&release("ID=debian\nVERSION_ID=12")?, Class::Confext).unwrap_err();
/// assert_eq!(error.code(), "host-version");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Host {
    /// The host's `os-release`. It has an `ID`.
    pub os_release: Release,
    /// The architecture of its kernel.
    pub architecture: Architecture,
    /// In which environment extensions are attached.
    pub scope: Scope,
}

impl Host {
    /// A host with this `os-release`.
    ///
    /// # Errors
    ///
    /// `host-id-missing`: without an `ID` nothing can be compared, not even an extension for any host.
    pub fn new(os_release: Release, architecture: Architecture, scope: Scope) -> Result<Self> {
        os_release.get_filled("ID").ok_or(Corrupt::HostId)?;
        Ok(Self { os_release, architecture, scope })
    }

    /// Compares an extension's release file with this host.
    ///
    /// # Errors
    ///
    /// The first of these that does not fit, with what was found and what was expected: `host-scope`,
    /// `host-architecture`, `release-id`, `host-os`, `host-level`, `host-version`.
    ///
    /// *Spec:* UAPI.4, "Extension image metadata"; `ID_LIKE` as in systemd.
    pub fn admits(&self, extension: &Release, class: Class) -> Result<()> {
        self.check_scope(extension, class.scope_key())?;
        self.check_architecture(extension)?;
        let id = extension.get_filled("ID").ok_or(Corrupt::ReleaseId)?;
        if id == "_any" {
            return Ok(());
        }
        self.check_os(id)?;
        self.check_version(extension, class.level_key())
    }

    fn check_scope(&self, extension: &Release, field: &'static str) -> Result<()> {
        let found = extension.get(field).unwrap_or("system portable");
        let expected = self.scope.as_str();
        if self.scope == Scope::Service || found.split_ascii_whitespace().any(|word| word == expected) {
            return Ok(());
        }
        Err(Refused::HostScope { field, found: found.to_owned(), expected }.into())
    }

    fn check_architecture(&self, extension: &Release) -> Result<()> {
        let expected = self.architecture.as_str();
        match extension.get_filled("ARCHITECTURE") {
            None | Some("_any") => Ok(()),
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(Refused::HostArchitecture { found: found.to_owned(), expected }.into()),
        }
    }

    fn check_os(&self, found: &str) -> Result<()> {
        let own = self.os_release.get("ID").unwrap_or_default();
        let like = self.os_release.get("ID_LIKE").unwrap_or_default();
        let mut accepted = std::iter::once(own).chain(like.split_ascii_whitespace());
        if accepted.clone().any(|id| id == found) {
            return Ok(());
        }
        let mut expected = format!("{:?}", accepted.next().unwrap_or_default());
        for other in accepted {
            expected.push_str(&format!(" or {other:?}"));
        }
        Err(Refused::HostOs { found: found.to_owned(), expected }.into())
    }

    /// The API level where both have one, else the version where the host has one.
    fn check_version(&self, extension: &Release, field: &'static str) -> Result<()> {
        let own = |key| self.os_release.get_filled(key);
        if let (Some(expected), Some(found)) = (own(field), extension.get_filled(field)) {
            if found == expected {
                return Ok(());
            }
            return Err(
                Refused::HostLevel { field, found: found.to_owned(), expected: expected.to_owned() }.into()
            );
        }
        let found = extension.get("VERSION_ID").unwrap_or_default();
        match own("VERSION_ID") {
            Some(expected) if found != expected => {
                Err(Refused::HostVersion { found: found.to_owned(), expected: expected.to_owned() }.into())
            }
            _ => Ok(()),
        }
    }
}

/// Compares an extension's release file with a host: [`Host::admits`] as a function.
///
/// # Errors
///
/// As [`Host::admits`].
pub fn matches(extension: &Release, host: &Host, class: Class) -> Result<()> {
    host.admits(extension, class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn release(text: &str) -> Release {
        // `|` stands for the end of a line, so that a row fits on one.
        Release::parse(text.replace('|', "\n").as_bytes(), &Limits::default()).unwrap()
    }

    fn outcome(host: &str, extension: &str, class: Class, scope: Scope) -> &'static str {
        let host = match Host::new(release(host), Architecture::X86_64, scope) {
            Ok(host) => host,
            Err(error) => return error.code(),
        };
        matches(&release(extension), &host, class).map_or_else(|error| error.code(), |()| "match")
    }

    #[test]
    fn the_whole_matrix() {
        let like = "ID=deb|VERSION_ID=1|ID_LIKE=\"foo bar\"";
        for (host, extension, expected) in [
            ("ID=deb|VERSION_ID=1", "ID=deb|VERSION_ID=1", "match"),
            ("ID=deb|VERSION_ID=1", "ID=deb|VERSION_ID=2", "host-version"),
            ("ID=deb|VERSION_ID=1", "ID=deb", "host-version"),
            ("ID=deb|VERSION_ID=1|SYSEXT_LEVEL=3", "ID=deb|SYSEXT_LEVEL=3", "match"),
            ("ID=deb|VERSION_ID=1|SYSEXT_LEVEL=3", "ID=deb|SYSEXT_LEVEL=4|VERSION_ID=1", "host-level"),
            ("ID=deb|VERSION_ID=1|SYSEXT_LEVEL=3", "ID=deb|SYSEXT_LEVEL=3|VERSION_ID=9", "match"),
            ("ID=deb|VERSION_ID=1|SYSEXT_LEVEL=3", "ID=deb|VERSION_ID=1", "match"),
            ("ID=deb|VERSION_ID=1", "ID=deb|SYSEXT_LEVEL=3", "host-version"),
            ("ID=deb|VERSION_ID=1", "ID=deb|SYSEXT_LEVEL=3|VERSION_ID=1", "match"),
            ("ID=deb|SYSEXT_LEVEL=3", "ID=deb", "match"),
            ("ID=deb|SYSEXT_LEVEL=3", "ID=deb|VERSION_ID=7", "match"),
            ("ID=deb", "ID=deb|VERSION_ID=7|SYSEXT_LEVEL=9", "match"),
            (like, "ID=bar|VERSION_ID=1", "match"),
            (like, "ID=bar|VERSION_ID=2", "host-version"),
            (like, "ID=ba|VERSION_ID=1", "host-os"),
            ("ID=deb|VERSION_ID=1", "ID=_any", "match"),
            ("ID=deb|VERSION_ID=1", "VERSION_ID=1", "release-id"),
            ("ID=deb|VERSION_ID=1", "ID=|VERSION_ID=1", "release-id"),
            ("ID=deb", "", "release-id"),
            ("VERSION_ID=1", "ID=_any", "host-id-missing"),
            ("ID=", "ID=_any", "host-id-missing"),
            ("ID=deb", "ID=_any|ARCHITECTURE=arm64", "host-architecture"),
            ("ID=deb", "ID=_any|ARCHITECTURE=x86-64", "match"),
            ("ID=deb", "ID=_any|ARCHITECTURE=x86", "host-architecture"),
            ("ID=deb", "ID=_any|ARCHITECTURE=native", "host-architecture"),
            ("ID=deb", "ID=_any|ARCHITECTURE=_any", "match"),
            ("ID=deb", "ID=_any|ARCHITECTURE=", "match"),
            ("ID=deb", "ID=_any|SYSEXT_SCOPE=portable", "host-scope"),
            ("ID=deb", "ID=_any|SYSEXT_SCOPE=\"initrd system\"", "match"),
            ("ID=deb", "ID=_any|SYSEXT_SCOPE=", "host-scope"),
            ("ID=deb", "ID=_any|CONFEXT_SCOPE=portable", "match"),
            ("ID=deb|VERSION_ID=1|CONFEXT_LEVEL=3", "ID=deb|CONFEXT_LEVEL=3", "host-version"),
        ] {
            assert_eq!(
                outcome(host, extension, Class::Sysext, Scope::System),
                expected,
                "{host} / {extension}"
            );
        }
    }

    #[test]
    fn each_class_has_its_own_keys() {
        let host = "ID=deb|VERSION_ID=1|CONFEXT_LEVEL=3";
        assert_eq!(outcome(host, "ID=deb|CONFEXT_LEVEL=3", Class::Confext, Scope::System), "match");
        assert_eq!(outcome(host, "ID=deb|SYSEXT_LEVEL=3", Class::Confext, Scope::System), "host-version");
        assert_eq!(
            outcome(host, "ID=_any|CONFEXT_SCOPE=portable", Class::Confext, Scope::System),
            "host-scope"
        );
    }

    #[test]
    fn scopes() {
        for (scope, field, expected) in [
            (Scope::Initrd, "", "host-scope"),
            (Scope::Portable, "", "match"),
            (Scope::Initrd, "|SYSEXT_SCOPE=initrd", "match"),
            (Scope::Portable, "|SYSEXT_SCOPE=system", "host-scope"),
            (Scope::Service, "|SYSEXT_SCOPE=", "match"),
        ] {
            let extension = format!("ID=_any{field}");
            assert_eq!(outcome("ID=deb", &extension, Class::Sysext, scope), expected, "{scope:?} {field}");
        }
    }

    #[test]
    fn a_refusal_names_field_found_and_expected() {
        let host = Host::new(release("ID=deb|ID_LIKE=foo|VERSION_ID=1"), Architecture::X86_64, Scope::System)
            .unwrap();
        for (extension, parts) in [
            ("ID=other", ["ID=\"other\"", "\"deb\" or \"foo\""]),
            ("ID=deb|VERSION_ID=2", ["VERSION_ID=\"2\"", "expected \"1\""]),
            ("ID=deb|ARCHITECTURE=arm64", ["ARCHITECTURE=\"arm64\"", "expected \"x86-64\""]),
            ("ID=deb|SYSEXT_SCOPE=portable", ["SYSEXT_SCOPE=\"portable\"", "system"]),
        ] {
            let error = host.admits(&release(extension), Class::Sysext).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
