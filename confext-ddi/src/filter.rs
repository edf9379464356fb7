//! Image filter: which partitions of an image are considered, by their labels.
//!
//! A filter is a list of rules like `root=app_*:usr=app_[0-9]`: for a designator, a pattern that the label of a partition
//! must match as a whole. Partitions without a rule all count. The grammar is systemd's, read strictly: what a shell
//! pattern would take for a literal character by mistake, like a bracket that is never closed, is an error.
//!
//! | in a pattern | matches |
//! |---|---|
//! | `*` | any characters, also none |
//! | `?` | one character |
//! | `[a-f_]`, `[!a-f]`, `[^a-f]` | one character of the set, or one that is not in it |
//! | `[[:digit:]]` | one character of a class of POSIX, within ASCII |
//!
//! Text in quotes (`'` or `"`) may have colons and equals signs. There are no backslash escapes: `[*]` stands for a star.
//!
//! *Spec*: systemd.image-filter(7), fnmatch(3) without flags.

mod glob;

use crate::dps::Designator;
use crate::error::{Corrupt, Result};
use glob::Glob;
use std::collections::BTreeMap;

/// Which partitions count. The default is all of them.
///
/// ```
/// use confext_ddi::{dps::Designator, filter::Filter};
///
/// let filter = Filter::parse("root=app_*")?;
/// assert!(filter.admits(Designator::Root, "app_2"));
/// assert!(!filter.admits(Designator::Root, "other"));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    patterns: BTreeMap<Designator, Glob>,
}

impl Filter {
    /// Parses a filter: rules `DESIGNATOR=PATTERN` joined with colons; the empty text filters nothing.
    ///
    /// # Errors
    ///
    /// `filter-rule`, `filter-designator`, `filter-pattern`, `filter-rule-twice`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut filter = Self::default();
        if text.is_empty() {
            return Ok(filter);
        }
        for rule in split(text, ':')? {
            let wrong = || Corrupt::FilterRule { found: excerpt(rule) };
            let (name, pattern) = match split(rule, '=')?[..] {
                [name, pattern] => (name, pattern),
                _ => return Err(wrong().into()),
            };
            let designator = Designator::from_name(name).filter(|known| is_filtered(*known));
            let designator = designator.ok_or_else(|| Corrupt::FilterDesignator { found: excerpt(name) })?;
            if filter.patterns.insert(designator, Glob::parse(&unquote(pattern))?).is_some() {
                return Err(Corrupt::FilterRuleTwice { found: name.to_owned() }.into());
            }
        }
        Ok(filter)
    }

    /// Whether a partition with this label counts.
    #[must_use]
    pub fn admits(&self, designator: Designator, label: &str) -> bool {
        self.patterns.get(&designator).is_none_or(|glob| glob.matches(label))
    }

    /// The pattern for a partition.
    #[must_use]
    pub fn pattern(&self, designator: Designator) -> Option<&str> {
        self.patterns.get(&designator).map(Glob::as_str)
    }

    /// Whether every partition counts, whatever its label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

/// Those that policies and filters can name.
fn is_filtered(designator: Designator) -> bool {
    !matches!(designator, Designator::UserHome | Designator::LinuxGeneric)
}

/// The parts between separators that are not in quotes; the quotes stay.
fn split(text: &str, separator: char) -> Result<Vec<&str>> {
    let (mut parts, mut start, mut quote) = (Vec::new(), 0_usize, None);
    for (at, character) in text.char_indices() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None if character == separator => {
                parts.extend(text.get(start..at));
                start = at.saturating_add(separator.len_utf8());
            }
            None => {}
        }
    }
    if let Some(quote) = quote {
        let because = if quote == '"' { "a \" that is never closed" } else { "a ' that is never closed" };
        return Err(Corrupt::FilterPattern { found: excerpt(text), because }.into());
    }
    parts.extend(text.get(start..));
    Ok(parts)
}

/// The text without its quotes, which all have an end.
fn unquote(text: &str) -> String {
    let (mut plain, mut quote) = (String::new(), None);
    for character in text.chars() {
        match quote {
            Some(open) if character == open => quote = None,
            None if matches!(character, '"' | '\'') => quote = Some(character),
            _ => plain.push(character),
        }
    }
    plain
}

/// The text in quotes, where it has characters that need them.
fn quoted(text: &str) -> String {
    if !text.contains([':', '=', '"', '\'']) {
        return text.to_owned();
    }
    // A double quote goes into single ones, everything else into double ones.
    let parts =
        text.split('"').map(|part| if part.is_empty() { String::new() } else { format!("\"{part}\"") });
    parts.collect::<Vec<_>>().join("'\"'")
}

fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rules = self.patterns.iter().map(|(name, glob)| format!("{name}={}", quoted(glob.as_str())));
        f.write_str(&rules.collect::<Vec<_>>().join(":"))
    }
}

impl std::str::FromStr for Filter {
    type Err = crate::error::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests;
