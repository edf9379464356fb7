//! [`Request`]: what the release file of an extension asks of the service manager after a merge

use confext_ddi::release::Release;
use confext_ddi::unit::Name;
use serde::{Deserialize, Serialize};

/// What an extension asks of the service manager, read from its release file before it is merged.
///
/// ```
/// use confext_core::units::Request;
/// use confext_ddi::release::Release;
///
/// // From the release file of an extension.
/// let fields = [("ID", "_any"), ("EXTENSION_RELOAD_OR_RESTART_UNITS", "nginx.service nginx.service")];
/// let release: Release = fields.into_iter().collect();
/// let request = Request::of(&release);
/// assert!(request.reload, "unit files are read again first");
/// assert_eq!(request.reload_or_restart, ["nginx.service"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Request {
    /// `EXTENSION_RELOAD_MANAGER`: that unit files are read again. Also set when a unit is named.
    pub reload: bool,
    /// `EXTENSION_RESTART_UNITS`: units to restart.
    pub restart: Vec<String>,
    /// `EXTENSION_RELOAD_OR_RESTART_UNITS`: units to reload, or to restart where they cannot. None that is to be
    /// restarted anyway.
    pub reload_or_restart: Vec<String>,
    /// What is in these keys and means nothing.
    pub invalid: Vec<Invalid>,
}

/// A value that means nothing.
///
/// ```
/// use confext_core::units::Request;
/// use confext_ddi::release::Release;
///
/// let fields = [("EXTENSION_RESTART_UNITS", "nginx.service nginx")];
/// let request = Request::of(&fields.into_iter().collect::<Release>());
/// // A unit has a type in its name; `confext lint` says so, too.
/// assert_eq!(request.restart, ["nginx.service"]);
/// assert_eq!(request.invalid[0].found, "nginx");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Invalid {
    /// The key.
    pub key: String,
    /// The value, or one word of it.
    pub found: String,
}

const RELOAD: &str = "EXTENSION_RELOAD_MANAGER";
const RESTART: &str = "EXTENSION_RESTART_UNITS";
const RELOAD_OR_RESTART: &str = "EXTENSION_RELOAD_OR_RESTART_UNITS";

impl Request {
    /// Reads the three keys.
    ///
    /// *Spec:* os-release(5).
    #[must_use]
    pub fn of(release: &Release) -> Self {
        let mut request = Self::default();
        let reload = match release.get_filled(RELOAD).map(|value| (value, boolean(value))) {
            Some((_, Some(reload))) => reload,
            Some((value, None)) => {
                request.invalid.push(Invalid { key: RELOAD.to_owned(), found: value.to_owned() });
                false
            }
            None => false,
        };
        let restart = request.units(release, RESTART);
        let mut gentle = request.units(release, RELOAD_OR_RESTART);
        gentle.retain(|unit| !restart.contains(unit));
        request.reload = reload || !restart.is_empty() || !gentle.is_empty();
        (request.restart, request.reload_or_restart) = (restart, gentle);
        request
    }

    /// The units of a key, each once, in the order they are named.
    fn units(&mut self, release: &Release, key: &str) -> Vec<String> {
        let mut units: Vec<String> = Vec::new();
        for word in release.get(key).unwrap_or_default().split_ascii_whitespace() {
            if !is_unit_name(word) {
                self.invalid.push(Invalid { key: key.to_owned(), found: word.to_owned() });
            } else if !units.iter().any(|unit| unit == word) {
                units.push(word.to_owned());
            }
        }
        units
    }

    /// All units that are named.
    pub(crate) fn named(&self) -> impl Iterator<Item = &String> {
        self.restart.iter().chain(&self.reload_or_restart)
    }
}

/// A truth value as systemd reads it.
fn boolean(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(&["1", "yes", "y", "true", "t", "on"]) {
        Some(true)
    } else if is(&["0", "no", "n", "false", "f", "off"]) {
        Some(false)
    } else {
        None
    }
}

/// Whether something is the name of a unit that can be started: no template.
///
/// *Spec:* systemd.unit(5).
fn is_unit_name(name: &str) -> bool {
    Name::parse(name).is_ok_and(|unit| unit.as_str() == name && !unit.is_template())
}

/// The name of the file that a unit is loaded from: that of the template, for an instance.
pub(crate) fn file_of(unit: &str) -> String {
    match (unit.split_once('@'), unit.rsplit_once('.')) {
        (Some((prefix, _)), Some((_, kind))) => format!("{prefix}@.{kind}"),
        _ => unit.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request {
        Request::of(&fields.iter().copied().collect())
    }

    #[test]
    fn the_keys_are_read_as_systemd_reads_them() {
        assert_eq!(request(&[]), Request::default());
        for (text, reload) in
            [("1", true), ("YES", true), ("on", true), ("0", false), ("", false), ("off", false)]
        {
            let found = request(&[(RELOAD, text)]);
            assert_eq!((found.reload, found.invalid.len()), (reload, 0), "{text}");
        }
        let found = request(&[
            (RELOAD, "perhaps"),
            (RESTART, " a.service  b@1.service a.service b@.service x y.socket "),
            (RELOAD_OR_RESTART, "a.service c.timer"),
        ]);
        assert!(found.reload, "a unit that is named needs its file read");
        assert_eq!(found.restart, ["a.service", "b@1.service", "y.socket"]);
        assert_eq!(found.reload_or_restart, ["c.timer"], "a unit in both lists is restarted");
        let invalid: Vec<_> =
            found.invalid.iter().map(|one| (one.key.as_str(), one.found.as_str())).collect();
        assert_eq!(invalid, [(RELOAD, "perhaps"), (RESTART, "b@.service"), (RESTART, "x")]);
    }

    #[test]
    fn names_of_units() {
        for good in ["a.service", "dev-sda\\x2d1.device", "a@b@c.service", "x:y_z.mount", "-.mount"] {
            assert!(is_unit_name(good), "{good}");
        }
        let long = format!("{}.service", "a".repeat(250));
        for bad in [
            "",
            ".service",
            "a",
            "a.unit",
            "@a.service",
            "a@.service",
            "a/b.service",
            "ä.service",
            "a b.service",
            &long,
        ] {
            assert!(!is_unit_name(bad), "{bad}");
        }
        assert_eq!((file_of("a@1.service"), file_of("a.service")), ("a@.service".into(), "a.service".into()));
    }
}
