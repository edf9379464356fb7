//! [`Settings`]: what `sysext.conf` and `confext.conf` say; a word that is not known is an error, never ignored.

use serde::{Deserialize, Serialize};

use crate::error::{Corrupt, Result};
use crate::policy::Policy;
use crate::release::Class;

/// What configuration files say, and where.
///
/// *Layout*: lines like those of systemd. `[SysExt]` or `[ConfExt]`, by the class; below it `Mutable=` with the name of a
/// [`Mutability`] and `ImagePolicy=` with a [`Policy`], the last of each counts, and an empty policy is none; empty lines;
/// comments, which start with `#` or `;`; sections and keys that start with `X-` are for others. A backslash at the end joins
/// a line to the next one that is no comment, with a space.
///
/// *Spec*: sysext.conf(5), systemd.syntax(7).
///
/// ```
/// use confext_ddi::settings::{Mutability, Settings};
/// use confext_ddi::{policy::Policy, release::Class};
///
/// // A drop-in says something over the file that comes before it.
/// let mut settings = Settings::default();
/// settings.read(b"[ConfExt]\nMutable=auto\nImagePolicy=root=signed\n", Class::Confext, "confext.conf")?;
/// settings.read(b"[ConfExt]\nMutable=no\n", Class::Confext, "confext.conf.d/10-local.conf")?;
/// assert_eq!(settings.mutability.map(|setting| setting.value), Some(Mutability::No));
/// assert_eq!(settings.policy.map(|setting| setting.value), Some(Policy::parse("root=signed")?));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Settings {
    /// Whether merged hierarchies can be written to.
    pub mutability: Option<Setting<Mutability>>,
    /// Which protection images must have.
    pub policy: Option<Setting<Policy>>,
}

/// A value and where it is from.
///
/// ```
/// use confext_ddi::{release::Class, settings::Settings};
///
/// let mut settings = Settings::default();
/// settings.read(b"[ConfExt]\n\nMutable=auto\n", Class::Confext, "/etc/systemd/confext.conf")?;
/// let place = settings.mutability.map(|setting| setting.place);
/// assert_eq!(place.as_deref(), Some("/etc/systemd/confext.conf:3"));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// File and line, like `/etc/systemd/confext.conf:3`.
    pub place: String,
}

/// The section that is for a class.
#[must_use]
pub const fn section(class: Class) -> &'static str {
    match class {
        Class::Sysext => "SysExt",
        Class::Confext => "ConfExt",
    }
}

/// What surrounds the parts of a line and belongs to none.
pub(crate) const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
/// What others may put into the files.
const FOREIGN: &str = "X-";

/// The section that a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    None,
    Own,
    Foreign,
}

impl Settings {
    /// Reads a file over what the files before it said; `file` is its name, for messages and places.
    ///
    /// # Errors
    ///
    /// `settings-text`, `settings-line`, `settings-section`, `settings-key`, `settings-mutable`; those of
    /// [`Policy::parse`]. What is in here is then not to be used.
    pub fn read(&mut self, text: &[u8], class: Class, file: &str) -> Result<()> {
        let text =
            self::text(text).map_err(|found| Corrupt::SettingsText { place: file.to_owned(), found })?;
        let mut section = Section::None;
        for (number, line) in logical_lines(text) {
            let place = format!("{file}:{number}");
            self.line(line.trim_matches(WHITE_SPACE), class, &place, &mut section)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, class: Class, place: &str, section: &mut Section) -> Result<()> {
        if line.is_empty() {
            return Ok(());
        }
        let malformed = || Corrupt::SettingsLine { place: place.to_owned(), found: excerpt(line) };
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.strip_suffix(']').ok_or_else(malformed)?;
            *section = match name {
                _ if name == self::section(class) => Section::Own,
                _ if name.starts_with(FOREIGN) => Section::Foreign,
                _ => {
                    let expected = self::section(class);
                    return Err(Corrupt::SettingsSection {
                        place: place.to_owned(),
                        found: excerpt(name),
                        expected,
                    }
                    .into());
                }
            };
            return Ok(());
        }
        let (key, value) = line.split_once('=').ok_or_else(malformed)?;
        let (key, value) = (key.trim_matches(WHITE_SPACE), value.trim_matches(WHITE_SPACE));
        match section {
            Section::None => Err(malformed().into()),
            Section::Foreign => Ok(()),
            Section::Own => self.set(key, value, place),
        }
    }

    fn set(&mut self, key: &str, value: &str, place: &str) -> Result<()> {
        let place = place.to_owned();
        match key {
            "Mutable" => {
                let Some(value) = Mutability::from_name(value) else {
                    return Err(Corrupt::SettingsMutable { place, found: excerpt(value) }.into());
                };
                self.mutability = Some(Setting { value, place });
            }
            "ImagePolicy" if value.is_empty() => self.policy = None,
            "ImagePolicy" => {
                let value = Policy::parse(value).map_err(|error| error.within(place.clone()))?;
                self.policy = Some(Setting { value, place });
            }
            _ if key.starts_with(FOREIGN) => {}
            _ => return Err(Corrupt::SettingsKey { place, found: excerpt(key) }.into()),
        }
        Ok(())
    }
}

/// The text of a file, or what it has that no text has. A carriage return without a new line ends a line for systemd.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| "bytes that are no UTF-8")?;
    if text.contains('\0') {
        return Err("a zero byte");
    }
    let inside = |line: &str| line.strip_suffix('\r').unwrap_or(line).contains('\r');
    if text.split('\n').any(inside) { Err("a carriage return within a line") } else { Ok(text) }
}

/// The lines of a file with the numbers of their first ones: comments left out, continued ones in one.
pub(crate) fn logical_lines(text: &str) -> Vec<(u64, String)> {
    let mut lines = Vec::new();
    let mut joined: Option<(u64, String)> = None;
    for (number, line) in (1_u64..).zip(text.split('\n')) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim_start_matches(WHITE_SPACE).starts_with(['#', ';']) {
            continue;
        }
        let (first, mut whole) = joined.take().unwrap_or((number, String::new()));
        if let Some(part) = continued(line) {
            whole.push_str(part);
            whole.push(' ');
            joined = Some((first, whole));
        } else {
            whole.push_str(line);
            lines.push((first, whole));
        }
    }
    lines.extend(joined);
    lines
}

/// What stands before a backslash that joins a line to the next one: the last of an odd number of them.
fn continued(line: &str) -> Option<&str> {
    let count = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
    if count % 2 == 1 { line.strip_suffix('\\') } else { None }
}

pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Whether a merged hierarchy can be written to, and where what is written goes.
///
/// The directory of a hierarchy is `/var/lib/extensions.mutable/` and its path with dots for slashes.
///
/// *Spec*: systemd-sysext(8), "Mutability".
///
/// ```
/// use confext_ddi::settings::Mutability;
///
/// assert_eq!(Mutability::from_name("ephemeral"), Some(Mutability::Ephemeral));
/// // The words for yes and no are taken as well.
/// assert_eq!(Mutability::from_name("on").map(Mutability::as_str), Some("yes"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mutability {
    /// It cannot.
    #[default]
    No,
    /// Writes go to its directory, which is made where it is missing.
    Yes,
    /// Writes go to its directory where there is one; else it cannot be written to.
    Auto,
    /// It cannot, but what was written to its directory before is seen.
    Import,
    /// Writes go to memory, and are gone with the stack.
    Ephemeral,
    /// The same, and what was written to its directory before is seen.
    EphemeralImport,
}

impl Mutability {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::No, Self::Yes, Self::Auto, Self::Import, Self::Ephemeral, Self::EphemeralImport];

    /// `no`, `yes`, `auto`, `import`, `ephemeral` or `ephemeral-import`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Auto => "auto",
            Self::Import => "import",
            Self::Ephemeral => "ephemeral",
            Self::EphemeralImport => "ephemeral-import",
        }
    }

    /// Looks a mode up by its name. As in systemd the words for yes and no are taken, too, in any case: `1`, `y`, `true`,
    /// `t`, `on`, and `0`, `n`, `false`, `f`, `off`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        const YES: [&str; 6] = ["1", "yes", "y", "true", "t", "on"];
        const NO: [&str; 6] = ["0", "no", "n", "false", "f", "off"];
        let is_one_of = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(name));
        match name {
            _ if is_one_of(&YES) => Some(Self::Yes),
            _ if is_one_of(&NO) => Some(Self::No),
            _ => Self::ALL.into_iter().find(|mode| mode.as_str() == name),
        }
    }
}

impl std::fmt::Display for Mutability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Settings> {
        let mut settings = Settings::default();
        settings.read(text, Class::Confext, "/f").map(|()| settings)
    }

    fn mode(text: &str) -> Option<Mutability> {
        read(text.as_bytes()).unwrap().mutability.map(|setting| setting.value)
    }

    #[test]
    fn files_are_read_as_systemd_262_reads_them() {
        for text in [
            "[ConfExt]\nMutable=auto\n",
            "[ConfExt]\nMutable=auto",
            "[ConfExt] \n  Mutable = auto \r\n",
            "\u{feff}[ConfExt]\nMutable=auto\n",
            "# c\n\n[ConfExt]\n; c\n # d \\\nMutable=auto\n",
            "[ConfExt]\nMutable=ephemeral\nMutable=auto\n",
            "[ConfExt]\nMutable=\\\n# comment\nauto\n",
            "[ConfExt]\nMutable=auto\\",
            "[ConfExt]\nX-Foo\\\n=1\nMutable=auto\n[X-Other]\nMutable=yes\n",
            "[X-Other]\nanything=1\n[ConfExt]\nMutable=auto\n",
        ] {
            assert_eq!(mode(text), Some(Mutability::Auto), "{text}");
        }
        assert_eq!(mode(""), None);
        assert_eq!(mode("[ConfExt]\n"), None);
        assert_eq!(mode("[ConfExt]\nMutable=ON"), Some(Mutability::Yes));
    }

    #[test]
    fn a_setting_says_where_it_is_from_and_the_last_counts() {
        let mut settings = read(b"[ConfExt]\n\nMutable=\\\nyes\nImagePolicy=root=signed\n").unwrap();
        assert_eq!(settings.mutability.as_ref().unwrap().place, "/f:3");
        assert_eq!(
            settings.policy,
            Some(Setting { value: Policy::parse("root=signed").unwrap(), place: "/f:5".into() })
        );
        settings.read(b"[ConfExt]\nMutable=no\nImagePolicy=\n", Class::Confext, "/g").unwrap();
        assert_eq!(settings.mutability, Some(Setting { value: Mutability::No, place: "/g:2".into() }));
        assert_eq!(settings.policy, None);
    }

    #[test]
    fn one_line_changed_is_one_code() {
        const LINES: [&str; 4] = ["# comment", "[ConfExt]", "Mutable=auto", "ImagePolicy=root=signed"];
        assert!(read(LINES.join("\n").as_bytes()).is_ok());
        for (at, line, code) in [
            (0, "comment", "settings-line"),
            (0, "Mutable=no", "settings-line"),
            (0, "\0", "settings-text"),
            (1, "[SysExt]", "settings-section"),
            (1, "[confext]", "settings-section"),
            (1, "[ConfExt", "settings-line"),
            (1, "[ ConfExt ]", "settings-section"),
            (1, "[]", "settings-section"),
            (2, "mutable=auto", "settings-key"),
            (2, "Mutable", "settings-line"),
            (2, "=auto", "settings-key"),
            (2, "Mutable=", "settings-mutable"),
            (2, "Mutable=Auto", "settings-mutable"),
            (2, "Mutable=enabled", "settings-mutable"),
            (2, "Mutable=\"auto\"", "settings-mutable"),
            (2, "Mutable=auto ; comment", "settings-mutable"),
            (2, "Mutable=ephem\\\neral", "settings-mutable"),
            (2, "Mutable==auto", "settings-mutable"),
            (3, "ImagePolicy=root=sigend", "policy-flag"),
            (3, "ImagePolicy=rot=signed", "policy-designator"),
            (3, "ImagePolicies=root=signed", "settings-key"),
        ] {
            let mut lines = LINES;
            lines[at] = line;
            let error = read(lines.join("\n").as_bytes()).unwrap_err();
            assert_eq!(error.code(), code, "{line}");
            let place = if code == "settings-text" { "/f".to_owned() } else { format!("/f:{}", at + 1) };
            assert!(error.to_string().contains(&place), "{error}");
        }
        assert_eq!(read(b"[ConfExt]\n\xff").unwrap_err().code(), "settings-text");
        let mut sysext = Settings::default();
        assert_eq!(sysext.read(b"[ConfExt]", Class::Sysext, "/f").unwrap_err().code(), "settings-section");
        sysext.read(b"[SysExt]\nMutable=import", Class::Sysext, "/f").unwrap();
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\[ConfExt\\]\n)?([ -~\n\\\\=;#]|Mutable=|yes|ImagePolicy=){0,40}") {
            let first = read(text.as_bytes());
            // What is read does not depend on comments and empty lines between the lines.
            if let Ok(settings) = first {
                let spaced = text.replace('\n', "\n# \n");
                let again = read(spaced.as_bytes()).unwrap();
                let value = |settings: &Settings| settings.mutability.as_ref().map(|setting| setting.value);
                proptest::prop_assert_eq!(value(&again), value(&settings));
            }
        }
    }

    #[test]
    fn modes_are_found_by_their_names_and_nothing_else() {
        for mode in Mutability::ALL {
            assert_eq!(Mutability::from_name(mode.as_str()), Some(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        for (word, mode) in [
            ("1", Mutability::Yes),
            ("ON", Mutability::Yes),
            ("True", Mutability::Yes),
            ("0", Mutability::No),
            ("Off", Mutability::No),
            ("n", Mutability::No),
        ] {
            assert_eq!(Mutability::from_name(word), Some(mode), "{word}");
        }
        for word in ["", "Auto", "enabled", "disabled", "yes ", "ephemeral_import", "importe", "2", "host"] {
            assert_eq!(Mutability::from_name(word), None, "{word}");
        }
    }
}
