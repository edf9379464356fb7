//! [`Mutability`]: whether a merged hierarchy can be written to, and where what is written goes.

use serde::{Deserialize, Serialize};

/// Whether a merged hierarchy can be written to, and where what is written goes.
///
/// The directory of a hierarchy is `/var/lib/extensions.mutable/` and its path with dots for slashes.
///
/// *Spec*: systemd-sysext(8), "Mutability".
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
