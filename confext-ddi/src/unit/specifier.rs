//! [`Specifiers`]: what `%n` and the like stand for, as far as it is known without asking what runs.

use std::collections::BTreeMap;

use super::name::{self, Name};
use crate::error::{Corrupt, Result, Unsupported};

/// What the specifiers of a unit of the system manager stand for.
///
/// Those that depend on what runs (`%b`, `%H`, `%v` and others) are refused unless [`Specifiers::with`] says them.
///
/// *Spec*: systemd.unit(5), "Specifiers".
///
/// ```
/// use confext_ddi::unit::{Name, Specifiers};
///
/// let specifiers = Specifiers::new(&Name::parse("app@blue.service")?);
/// assert_eq!(specifiers.expand("%S/%p/%i.raw", "app@.service:3")?, "/var/lib/app/blue.raw");
/// // The host's name is known to those who run there.
/// let error = specifiers.expand("/srv/%H.raw", "app@.service:3").unwrap_err();
/// assert_eq!(error.code(), "unit-specifier-unknown");
/// assert_eq!(specifiers.with('H', "alpha").expand("/srv/%H.raw", "")?, "/srv/alpha.raw");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specifiers(BTreeMap<char, String>);

/// Those that there are.
const ALL: &str = "aAbBCdDEfgGhHiIjJlLmMnNopPqrRsStTuUvVwWyYc";

impl Specifiers {
    /// Of a unit of this name.
    #[must_use]
    pub fn new(unit: &Name) -> Self {
        let mut known: BTreeMap<_, _> = [
            ('C', "/var/cache"),
            ('D', "/usr/share"),
            ('E', "/etc"),
            ('g', "root"),
            ('G', "0"),
            ('h', "/root"),
            ('L', "/var/log"),
            ('S', "/var/lib"),
            ('t', "/run"),
            ('T', "/tmp"),
            ('u', "root"),
            ('U', "0"),
            ('V', "/var/tmp"),
        ]
        .into_iter()
        .map(|(specifier, value)| (specifier, value.to_owned()))
        .collect();
        let (prefix, instance) = (unit.prefix(), unit.instance().unwrap_or_default());
        let last = prefix.rsplit_once('-').map_or(prefix, |(_, last)| last);
        let file = if instance.is_empty() { prefix } else { instance };
        for (specifier, value) in [
            ('n', Some(unit.as_str().to_owned())),
            ('N', Some(unit.stem().to_owned())),
            ('p', Some(prefix.to_owned())),
            ('i', Some(instance.to_owned())),
            ('j', Some(last.to_owned())),
            ('d', Some(format!("/run/credentials/{unit}"))),
            ('P', name::unescaped(prefix)),
            ('I', name::unescaped(instance)),
            ('J', name::unescaped(last)),
            ('f', name::unescaped(file).map(|file| format!("/{}", file.trim_start_matches('/')))),
        ] {
            known.extend(value.map(|value| (specifier, value)));
        }
        Self(known)
    }

    /// The same, with what one more stands for.
    #[must_use]
    pub fn with(mut self, specifier: char, value: impl Into<String>) -> Self {
        self.0.insert(specifier, value.into());
        self
    }

    /// The text with what its specifiers stand for; `%%` is a percent sign.
    ///
    /// # Errors
    ///
    /// `unit-specifier`, `unit-specifier-unknown`.
    pub fn expand(&self, text: &str, place: &str) -> Result<String> {
        let mut expanded = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                expanded.push(character);
                continue;
            }
            match characters.next() {
                Some('%') => expanded.push('%'),
                Some(specifier) => expanded.push_str(self.value(specifier, place)?),
                None => {
                    return Err(
                        Corrupt::UnitSpecifier { place: place.to_owned(), found: "%".to_owned() }.into()
                    );
                }
            }
        }
        Ok(expanded)
    }

    fn value(&self, specifier: char, place: &str) -> Result<&str> {
        if let Some(value) = self.0.get(&specifier) {
            return Ok(value);
        }
        let (place, found) = (place.to_owned(), format!("%{specifier}"));
        Err(if ALL.contains(specifier) {
            Unsupported::UnitSpecifier { place, found }.into()
        } else {
            Corrupt::UnitSpecifier { place, found }.into()
        })
    }
}

/// The text so that [`Specifiers::expand`] gives it back.
pub(super) fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said_and_nothing_else() {
        let unit = Name::parse("a-b\\x2dc@x-y.service").unwrap();
        let specifiers = Specifiers::new(&unit);
        let expand = |text: &str| specifiers.expand(text, "/f:1");
        for (text, expected) in [
            ("%n", "a-b\\x2dc@x-y.service"),
            ("%N %p", "a-b\\x2dc@x-y a-b\\x2dc"),
            ("%i %I %f", "x-y x/y /x/y"),
            ("%j %J %P", "b\\x2dc b-c a/b-c"),
            ("%d", "/run/credentials/a-b\\x2dc@x-y.service"),
            ("%t %E %S %C %L", "/run /etc /var/lib /var/cache /var/log"),
            ("100%%", "100%"),
        ] {
            assert_eq!(expand(text).unwrap(), expected);
        }
        for (text, code) in [
            ("%H", "unit-specifier-unknown"),
            ("%m", "unit-specifier-unknown"),
            ("%Z", "unit-specifier"),
            ("%é", "unit-specifier"),
            ("50%", "unit-specifier"),
        ] {
            assert_eq!(expand(text).unwrap_err().code(), code, "{text}");
        }
        let more = specifiers.clone().with('H', "host");
        assert_eq!(more.expand("%H", "").unwrap(), "host");
        let text = "%n%%é%";
        assert_eq!(specifiers.expand(&literal(text), "").unwrap(), text);
    }
}
