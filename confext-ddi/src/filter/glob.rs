//! Shell patterns over whole labels, as fnmatch(3) has them without flags.

use crate::error::{Corrupt, Result};

/// A pattern, parsed once.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    text: String,
    parts: Vec<Part>,
}

/// The parts follow from the text.
impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Glob {}

impl std::hash::Hash for Glob {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[derive(Debug, Clone)]
enum Part {
    Star,
    One(Set),
}

/// What one character may be.
#[derive(Debug, Clone)]
enum Set {
    Any,
    Exactly(char),
    OneOf { negated: bool, items: Vec<Item> },
}

#[derive(Debug, Clone)]
enum Item {
    /// Both ends belong to it.
    Range(char, char),
    Class(Class),
}

/// A class of POSIX.
type Class = (&'static str, fn(&char) -> bool);

const CLASSES: [Class; 12] = [
    ("alnum", char::is_ascii_alphanumeric),
    ("alpha", char::is_ascii_alphabetic),
    ("blank", |character| matches!(character, ' ' | '\t')),
    ("cntrl", char::is_ascii_control),
    ("digit", char::is_ascii_digit),
    ("graph", char::is_ascii_graphic),
    ("lower", char::is_ascii_lowercase),
    ("print", |character| character.is_ascii_graphic() || *character == ' '),
    ("punct", char::is_ascii_punctuation),
    ("space", |character| character.is_ascii_whitespace() || *character == '\u{b}'),
    ("upper", char::is_ascii_uppercase),
    ("xdigit", char::is_ascii_hexdigit),
];

impl Glob {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = |because: &'static str| Corrupt::FilterPattern { found: super::excerpt(text), because };
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((first, after)) = split_first(rest) {
            rest = after;
            match first {
                // Two stars match what one does.
                '*' if matches!(parts.last(), Some(Part::Star)) => {}
                '*' => parts.push(Part::Star),
                '?' => parts.push(Part::One(Set::Any)),
                '\\' => return Err(wrong("a backslash, which escapes nothing here").into()),
                '[' => {
                    let (set, after) = set(after).map_err(wrong)?;
                    rest = after;
                    parts.push(Part::One(set));
                }
                plain => parts.push(Part::One(Set::Exactly(plain))),
            }
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Takes time in proportion to the product of both lengths, no more: only the last star is tried again.
    pub(super) fn matches(&self, label: &str) -> bool {
        let (mut parts, mut rest) = (&self.parts[..], label);
        let mut again: Option<(&[Part], &str)> = None;
        loop {
            let next = split_first(rest);
            match (parts.split_first(), next) {
                (Some((Part::Star, after)), _) => {
                    parts = after;
                    again = Some((after, rest));
                    continue;
                }
                (Some((Part::One(set), after)), Some((character, behind))) if set.has(character) => {
                    (parts, rest) = (after, behind);
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            // The last star takes one character more.
            let Some((after, from)) = again else { return false };
            let Some((_, behind)) = split_first(from) else { return false };
            (parts, rest, again) = (after, behind, Some((after, behind)));
        }
    }
}

impl Set {
    fn has(&self, character: char) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(wanted) => *wanted == character,
            Self::OneOf { negated, items } => *negated != items.iter().any(|item| item.has(character)),
        }
    }
}

impl Item {
    fn has(&self, character: char) -> bool {
        match self {
            Self::Range(first, last) => (*first..=*last).contains(&character),
            Self::Class((_, is_in)) => is_in(&character),
        }
    }
}

/// The set behind an opening bracket, and what follows its closing one.
fn set(text: &str) -> Result<(Set, &str), &'static str> {
    let positive = text.strip_prefix(['!', '^']);
    let (negated, mut rest) = (positive.is_some(), positive.unwrap_or(text));
    let mut items = Vec::new();
    loop {
        let (first, after) = split_first(rest).ok_or("a [ that is never closed")?;
        rest = after;
        match first {
            // As the first character it stands for itself.
            ']' if !items.is_empty() => return Ok((Set::OneOf { negated, items }, rest)),
            '\\' => return Err("a backslash, which escapes nothing here"),
            '[' if rest.starts_with(':') => {
                let inside = rest.get(1..).and_then(|inside| inside.split_once(":]"));
                let (name, after) = inside.ok_or("a class that is never closed")?;
                let known = CLASSES.into_iter().find(|(known, _)| *known == name);
                items.push(Item::Class(known.ok_or("a class that POSIX does not have")?));
                rest = after;
            }
            '[' if rest.starts_with(['.', '=']) => return Err("a collating element or equivalence class"),
            first => {
                let range = rest.strip_prefix('-').and_then(split_first).filter(|(last, _)| *last != ']');
                let Some((last, after)) = range else {
                    items.push(Item::Range(first, first));
                    continue;
                };
                if matches!(last, '[' | '\\') {
                    return Err("a range that ends in a bracket or backslash");
                }
                if last < first {
                    return Err("a range whose end is before its start");
                }
                items.push(Item::Range(first, last));
                rest = after;
            }
        }
    }
}

fn split_first(text: &str) -> Option<(char, &str)> {
    let mut characters = text.chars();
    characters.next().map(|first| (first, characters.as_str()))
}
