//! The grammar of one name.

use super::{ArchitectureRule, Filter, Reason, TriesRule};
use crate::dps::Architecture;
use crate::version;
use serde::Serialize;

/// The `+LEFT-DONE` counters of a name.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) version: String,
    pub(super) architecture: Option<Architecture>,
    pub(super) tries: Option<Tries>,
}

/// Takes a name apart from its ends: base, suffix, counters, architecture; what remains is the version.
pub(super) fn parse(name: &[u8], filter: &Filter) -> Result<Parsed, Reason> {
    let rest =
        strip_base(name, &filter.base).ok_or_else(|| Reason::Base { expected: lossy(&filter.base) })?;
    let rest = rest
        .strip_suffix(filter.suffix.as_slice())
        .ok_or_else(|| Reason::Suffix { expected: lossy(&filter.suffix) })?;

    let (rest, tries) = match (filter.tries, split_last(rest, b'+')) {
        (TriesRule::Honoured, Some((rest, counters))) => {
            let tries = parse_tries(counters).ok_or_else(|| Reason::Counters { found: lossy(counters) })?;
            (rest, Some(tries))
        }
        _ => (rest, None),
    };
    let (rest, architecture) = match (filter.architecture, split_last(rest, b'_')) {
        (ArchitectureRule::Host { .. } | ArchitectureRule::Only(_), Some((rest, text))) => {
            let architecture = std::str::from_utf8(text)
                .ok()
                .and_then(|text| Architecture::ALL.into_iter().find(|known| known.as_str() == text))
                .ok_or_else(|| Reason::UnknownArchitecture { found: lossy(text) })?;
            (rest, Some(architecture))
        }
        _ => (rest, None),
    };
    let version = std::str::from_utf8(rest)
        .ok()
        .filter(|text| version::is_valid(text))
        .ok_or_else(|| Reason::Version { found: lossy(rest) })?
        .to_owned();
    Ok(Parsed { version, architecture, tries })
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

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
