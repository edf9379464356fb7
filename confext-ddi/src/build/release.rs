//! [`ReleaseFields`]: what an image's `extension-release` file says, and its text.

use crate::dps::Architecture;
use crate::error::{Corrupt, Result};
use crate::release::ImageKind;
use std::collections::BTreeMap;

/// The fields of an image's release file: which hosts an extension is for (`extension-release`), or what an operating
/// system or portable service is (`os-release`).
///
/// ```
/// use confext_ddi::{build::ReleaseFields, release::Class};
///
/// let text = ReleaseFields::new("debian").version_id("13").text(Class::Confext)?;
/// assert!(text.contains("ID=debian") && text.contains("VERSION_ID=13"));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFields {
    id: String,
    level: Option<String>,
    scope: Option<String>,
    fields: BTreeMap<String, String>,
}

impl ReleaseFields {
    /// For every host: `ID=_any`.
    #[must_use]
    pub fn any() -> Self {
        Self::new("_any")
    }

    /// For hosts with this `ID` (or that have it in their `ID_LIKE`).
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), level: None, scope: None, fields: BTreeMap::new() }
    }

    /// Only for hosts with this `VERSION_ID`, unless both have a level.
    #[must_use]
    pub fn version_id(self, version: impl Into<String>) -> Self {
        self.field("VERSION_ID", version)
    }

    /// Only for hosts with this `SYSEXT_LEVEL` or `CONFEXT_LEVEL`, whichever the class has.
    #[must_use]
    pub fn level(mut self, level: impl Into<String>) -> Self {
        self.level = Some(level.into());
        self
    }

    /// Only for these scopes: words out of `system`, `initrd`, `portable`, with spaces between.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Only for hosts of this architecture.
    #[must_use]
    pub fn architecture(self, architecture: Architecture) -> Self {
        self.field("ARCHITECTURE", architecture.as_str())
    }

    /// Any other field, such as `EXTENSION_RELOAD_MANAGER`.
    #[must_use]
    pub fn field(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.insert(key.into(), value.into());
        self
    }

    /// The file's text: `ID` first, the others by name, values quoted where a shell would need it.
    ///
    /// # Errors
    ///
    /// `release-key` when a key is not made of capital letters, digits and underscores, or is one that has a setter of
    /// its own, `release-value` when a value holds a control character or is empty where that would match nothing.
    pub fn text(&self, kind: impl Into<ImageKind>) -> Result<String> {
        let class = kind.into().class();
        let (level_key, scope_key) = class.map(|class| (class.level_key(), class.scope_key())).unzip();
        let mut all: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, value) in &self.fields {
            let first = key.bytes().next().is_some_and(|byte| byte.is_ascii_uppercase() || byte == b'_');
            let rest = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            let setter = [Some("ID"), level_key, scope_key].contains(&Some(key.as_str()));
            if !first || !key.bytes().all(rest) || setter {
                return Err(Corrupt::ReleaseKey { found: key.clone() }.into());
            }
            all.insert(key, value);
        }
        for (value, key, name) in [(&self.level, level_key, "LEVEL"), (&self.scope, scope_key, "SCOPE")] {
            let Some(value) = value.as_deref() else { continue };
            // An operating system has a level for each class: the plain setters say nothing there.
            all.insert(key.ok_or_else(|| Corrupt::ReleaseKey { found: name.to_owned() })?, value);
        }
        let mut text = String::new();
        for (key, value) in [("ID", self.id.as_str())].into_iter().chain(all) {
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(Corrupt::ReleaseValue { key: key.to_owned(), found: value.to_owned() }.into());
            }
            text.push_str(key);
            text.push('=');
            push_quoted(&mut text, value);
            text.push('\n');
        }
        Ok(text)
    }
}

fn push_quoted(text: &mut String, value: &str) {
    if value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        text.push_str(value);
        return;
    }
    text.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\' | '$' | '`') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Class;

    #[test]
    fn values_are_quoted_where_a_shell_needs_it() {
        let fields = ReleaseFields::new("debian")
            .version_id("13")
            .level("2.0")
            .scope("system initrd")
            .architecture(Architecture::X86_64)
            .field("PRETTY_NAME", "a \"b\" $c `d` \\e é");
        let expected = "ID=debian\nARCHITECTURE=x86-64\nCONFEXT_LEVEL=2.0\nCONFEXT_SCOPE=\"system initrd\"\n\
                        PRETTY_NAME=\"a \\\"b\\\" \\$c \\`d\\` \\\\e é\"\nVERSION_ID=13\n";
        assert_eq!(fields.text(Class::Confext).unwrap(), expected);
        assert!(fields.text(Class::Sysext).unwrap().contains("SYSEXT_LEVEL=2.0\n"));
        assert_eq!(ReleaseFields::any().text(Class::Sysext).unwrap(), "ID=_any\n");
        let os = ReleaseFields::new("example").field("SYSEXT_LEVEL", "3").field("CONFEXT_LEVEL", "2");
        assert_eq!(os.text(ImageKind::Root).unwrap(), "ID=example\nCONFEXT_LEVEL=2\nSYSEXT_LEVEL=3\n");
        assert_eq!(os.clone().level("1").text(ImageKind::Usr).unwrap_err().code(), "release-key");
        assert_eq!(os.scope("portable").text(ImageKind::Portable).unwrap_err().code(), "release-key");
    }

    #[test]
    fn wrong_keys_and_values_are_refused() {
        let code = |fields: ReleaseFields| fields.text(Class::Confext).unwrap_err().code();
        for key in ["", "lower", "A B", "A=", "1A", "ID", "CONFEXT_LEVEL", "CONFEXT_SCOPE", "A\n"] {
            assert_eq!(code(ReleaseFields::any().field(key, "x")), "release-key", "{key:?}");
        }
        for value in ["", "a\nID=b", "a\0", "\u{85}"] {
            assert_eq!(code(ReleaseFields::any().field("KEY", value)), "release-value", "{value:?}");
            assert_eq!(code(ReleaseFields::new(value)), "release-value", "{value:?}");
        }
        assert_eq!(code(ReleaseFields::any().scope("")), "release-value");
    }
}
