//! [`Name`]: the name of a unit, and its parts.

use crate::error::{Lookup, Result};

/// The name of a unit: `nginx.service`, `getty@tty1.service`, and of a template, `getty@.service`.
///
/// *Spec*: systemd.unit(5).
///
/// ```
/// use confext_ddi::unit::Name;
///
/// let name = Name::parse("app@blue.service")?;
/// assert_eq!(name.instance(), Some("blue"));
/// assert_eq!(name.template().map(|name| name.to_string()), Some("app@.service".to_owned()));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// What units there are.
const TYPES: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

impl Name {
    /// Reads a name; without a type it is a service's.
    ///
    /// # Errors
    ///
    /// `unit-name`.
    pub fn parse(text: &str) -> Result<Self> {
        let whole = Self::whole(text);
        let stem = whole.rsplit_once('.').map_or("", |(stem, _)| stem);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        if stem.is_empty() || stem.starts_with('@') || whole.len() > 255 || !stem.bytes().all(allowed) {
            let found = crate::settings::excerpt(text);
            return Err(Lookup::UnitName { found }.into());
        }
        Ok(Self(whole))
    }

    /// What a name means that may lack its type. It is not checked.
    #[must_use]
    pub fn whole(text: &str) -> String {
        let known = text.rsplit_once('.').is_some_and(|(_, kind)| TYPES.contains(&kind));
        if known { text.to_owned() } else { format!("{text}.service") }
    }

    /// All of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// All but the type.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(stem, _)| stem)
    }

    /// The type: `service`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, kind)| kind)
    }

    /// What is before `@`, or the stem.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.stem().split_once('@').map_or(self.stem(), |(prefix, _)| prefix)
    }

    /// What is behind `@`: empty for a template, `None` for a unit that is neither template nor instance.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.stem().split_once('@').map(|(_, instance)| instance)
    }

    /// Whether instances are made of it.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.instance() == Some("")
    }

    /// The template that an instance is of.
    #[must_use]
    pub fn template(&self) -> Option<Self> {
        self.instance().filter(|instance| !instance.is_empty())?;
        Some(Self(format!("{}@.{}", self.prefix(), self.kind())))
    }

    /// This template with an instance.
    #[must_use]
    pub fn with_instance(&self, instance: &str) -> Self {
        Self(format!("{}@{instance}.{}", self.prefix(), self.kind()))
    }

    /// The names that drop-in directories of it have, without `.d`, the most important first: of `foo-bar@x.service` these are
    /// `foo-bar@x.service`, `foo-bar@.service`, `foo-.service`, `foo-@x.service`, `foo-@.service`. Those of its type, like
    /// `service`, come after all of them.
    #[must_use]
    pub fn drop_in_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.add_drop_in_names(&mut names);
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    fn add_drop_in_names(&self, names: &mut Vec<String>) {
        names.push(self.0.clone());
        if let Some(template) = self.template() {
            template.add_drop_in_names(names);
        }
        // A dash at the end is passed over, once.
        let prefix = self.prefix();
        let Some((shorter, _)) = prefix.strip_suffix('-').unwrap_or(prefix).rsplit_once('-') else { return };
        let instance = self.instance().filter(|instance| !instance.is_empty());
        let instance = instance.map_or_else(String::new, |instance| format!("@{instance}"));
        Self(format!("{shorter}-{instance}.{}", self.kind())).add_drop_in_names(names);
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of a name as what it stands for: `-` is a slash, `\x2d` a byte.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'-' => bytes.push(b'/'),
            b'\\' => {
                let (digits, behind) = behind.strip_prefix(b"x")?.split_at_checked(2)?;
                let digits = std::str::from_utf8(digits).ok()?;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                bytes.push(u8::from_str_radix(digits, 16).ok().filter(|byte| is_hex && *byte != 0)?);
                rest = behind;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_parts() {
        let name = Name::parse("a-b-c@x-y\\x2dz.service").unwrap();
        assert_eq!((name.stem(), name.kind()), ("a-b-c@x-y\\x2dz", "service"));
        assert_eq!((name.prefix(), name.instance()), ("a-b-c", Some("x-y\\x2dz")));
        assert_eq!(name.template().unwrap().as_str(), "a-b-c@.service");
        assert!(name.template().unwrap().is_template() && !name.is_template());
        assert_eq!(name.template().unwrap().with_instance("q").as_str(), "a-b-c@q.service");
        assert_eq!(
            Name::parse("a-b@x.service").unwrap().drop_in_names(),
            ["a-b@x.service", "a-b@.service", "a-.service", "a-@x.service", "a-@.service"]
        );
        assert_eq!(
            Name::parse("a-b-c").unwrap().drop_in_names(),
            ["a-b-c.service", "a-b-.service", "a-.service"]
        );
        assert_eq!(
            Name::parse("a--b").unwrap().drop_in_names(),
            ["a--b.service", "a--.service", "a-.service"]
        );
        let plain = Name::parse("nginx").unwrap();
        assert_eq!((plain.as_str(), plain.instance(), plain.template()), ("nginx.service", None, None));
        assert_eq!(plain.drop_in_names(), ["nginx.service"]);
        assert_eq!(unescaped("x-y\\x2dz").unwrap(), "x/y-z");
        assert_eq!(
            (unescaped("a\\x0"), unescaped("a\\x00"), unescaped("a\\y"), unescaped("\\xff")),
            (None, None, None, None)
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(248);
        assert!(Name::parse(&long[1..]).is_ok());
        for text in ["", ".service", "@.service", "@a", "a/b", "a b", "a\nb", "é", "../a", &long] {
            assert_eq!(Name::parse(text).unwrap_err().code(), "unit-name", "{text}");
        }
        for (text, whole) in
            [("a.conf", "a.conf.service"), ("dbus.socket", "dbus.socket"), ("app@1.2", "app@1.2.service")]
        {
            assert_eq!(Name::parse(text).unwrap().as_str(), whole);
        }
    }
}
