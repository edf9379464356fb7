//! The grammar of one name.

use super::{ArchitectureRule, Filter, Reason, TriesRule};
use crate::dps::Architecture;
use crate::version;
use serde::Serialize;

/// The `+LEFT-DONE` counters of a name.
///
/// ```
/// use confext_ddi::vpick::Tries;
///
/// // As a boot loader counts: one attempt more was made.
/// let tries = Tries { left: 3, done: 0 };
/// let after = Tries { left: tries.left - 1, done: tries.done + 1 };
/// assert_eq!(format!("app_2{after}.raw"), "app_2+2-1.raw");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Tries {
    /// How many attempts are left.
    pub left: u32,
    /// How many were made.
    pub done: u32,
}

impl std::fmt::Display for Tries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "+{}-{}", self.left, self.done)
    }
}

/// What a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    pub(super) version: &'a str,
    pub(super) architecture: Option<Architecture>,
    pub(super) tries: Option<Tries>,
}

/// Why a name is none; with the part that is at fault, not copied.
#[derive(Debug, Clone, Copy)]
pub(super) enum Flaw<'a> {
    Base,
    Suffix,
    Counters(&'a [u8]),
    Architecture(&'a [u8]),
    Version(&'a [u8]),
}

impl Flaw<'_> {
    /// The same, to be kept.
    pub(super) fn reason(self, filter: &Filter) -> Reason {
        match self {
            Self::Base => Reason::Base { expected: lossy(&filter.base) },
            Self::Suffix => Reason::Suffix { expected: lossy(&filter.suffix) },
            Self::Counters(found) => Reason::Counters { found: lossy(found) },
            Self::Architecture(found) => Reason::UnknownArchitecture { found: lossy(found) },
            Self::Version(found) => Reason::Version { found: lossy(found) },
        }
    }
}

/// Takes a name apart from its ends: base, suffix, counters, architecture; what remains is the version.
pub(super) fn parse<'a>(name: &'a [u8], filter: &Filter) -> Result<Parsed<'a>, Flaw<'a>> {
    let rest = strip_base(name, &filter.base).ok_or(Flaw::Base)?;
    let rest = rest.strip_suffix(filter.suffix.as_slice()).ok_or(Flaw::Suffix)?;

    let (rest, tries) = match (filter.tries, split_last(rest, b'+')) {
        (TriesRule::Honoured, Some((rest, counters))) => {
            (rest, Some(parse_tries(counters).ok_or(Flaw::Counters(counters))?))
        }
        _ => (rest, None),
    };
    let (rest, architecture) = match (filter.architecture, split_last(rest, b'_')) {
        (ArchitectureRule::Host { .. } | ArchitectureRule::Only(_), Some((rest, text))) => {
            let known = Architecture::ALL.into_iter().find(|known| known.as_str().as_bytes() == text);
            (rest, Some(known.ok_or(Flaw::Architecture(text))?))
        }
        _ => (rest, None),
    };
    let version = std::str::from_utf8(rest).ok().filter(|text| version::is_valid(text));
    Ok(Parsed { version: version.ok_or(Flaw::Version(rest))?, architecture, tries })
}

fn strip_base<'a>(name: &'a [u8], base: &[u8]) -> Option<&'a [u8]> {
    if base.is_empty() { Some(name) } else { name.strip_prefix(base)?.strip_prefix(b"_") }
}

fn split_last(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().rposition(|&byte| byte == separator)?;
    let (before, after) = text.split_at_checked(at)?;
    Some((before, after.strip_prefix(&[separator])?))
}

fn parse_tries(text: &[u8]) -> Option<Tries> {
    let (left, done) = match split_last(text, b'-') {
        Some((left, done)) => (decimal(left)?, decimal(done)?),
        None => (decimal(text)?, 0),
    };
    Some(Tries { left, done })
}

fn decimal(text: &[u8]) -> Option<u32> {
    // `str::parse` would also take a sign.
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
