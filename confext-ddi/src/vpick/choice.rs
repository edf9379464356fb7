//! The choice among entries.

use super::name::{self, Parsed, Tries};
use super::{ArchitectureRule, Entry, EntryKind, Filter};
use crate::dps::Architecture;
use crate::version;
use serde::Serialize;
use std::cmp::{Ordering, Reverse};

/// An entry that fits.
///
/// ```
/// use confext_ddi::vpick::{Accept, Entry, EntryKind, Filter, TriesRule, choose};
///
/// let filter = Filter::new("app", ".raw", Accept::Raw).tries(TriesRule::Honoured);
/// let choice = choose([Entry::new("app_2+3-0.raw", EntryKind::Regular)], &[filter]);
/// let pick = choice.chosen.ok_or("there is one")?;
/// assert_eq!((pick.version.as_str(), pick.tries.map(|tries| tries.left)), ("2", Some(3)));
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// The version its name gives.
    pub version: String,
    /// The architecture its name gives.
    pub architecture: Option<Architecture>,
    /// The counters its name gives.
    pub tries: Option<Tries>,
    preference: u8,
}

/// Why an entry does not fit; in the order the conditions are looked at.
///
/// ```
/// use confext_ddi::vpick::{Accept, Entry, EntryKind, Filter, Reason, choose};
///
/// let filter = Filter::new("app", ".raw", Accept::Raw).version("1.0");
/// let choice = choose([Entry::new("app_1.1.raw", EntryKind::Regular)], &[filter]);
/// let reason = &choice.rejected[0].reason;
/// assert!(matches!(reason, Reason::OtherVersion { found, .. } if found == "1.1"));
/// assert_eq!(reason.to_string(), r#"another version: found "1.1", expected "1.0""#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// The name starts otherwise.
    #[error("the name does not start with {expected:?} and an underscore")]
    Base {
        /// The base name looked for.
        expected: String,
    },
    /// The name ends otherwise.
    #[error("the name does not end in {expected:?}")]
    Suffix {
        /// The suffix looked for.
        expected: String,
    },
    /// What follows the `+` is not `LEFT` or `LEFT-DONE`.
    #[error("not a counter: found {found:?}, expected LEFT or LEFT-DONE")]
    Counters {
        /// What follows the `+`.
        found: String,
    },
    /// What follows the last `_` is no architecture that is known.
    #[error("unknown architecture: found {found:?}; a version must not contain an underscore")]
    UnknownArchitecture {
        /// What follows the last `_`.
        found: String,
    },
    /// What remains is not a version.
    #[error("not a version: found {found:?}, expected ASCII letters, digits and . - ~ ^")]
    Version {
        /// What remains.
        found: String,
    },
    /// Another version is asked for.
    #[error("another version: found {found:?}, expected {expected:?}")]
    OtherVersion {
        /// The version of the name.
        found: String,
        /// The version asked for.
        expected: String,
    },
    /// It is for other machines.
    #[error("for another architecture: found {found}, expected {expected}")]
    OtherArchitecture {
        /// The architecture of the name, or `none`.
        found: &'static str,
        /// The machine's own, or the one asked for.
        expected: &'static str,
    },
    /// It is not the kind of file looked for.
    #[error("the wrong kind of file: found a {}", found.as_str())]
    Kind {
        /// What it is.
        found: EntryKind,
    },
}

impl Reason {
    /// The stable name of the reason: kebab-case, as it is serialized.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Base { .. } => "base",
            Self::Suffix { .. } => "suffix",
            Self::Counters { .. } => "counters",
            Self::UnknownArchitecture { .. } => "unknown-architecture",
            Self::Version { .. } => "version",
            Self::OtherVersion { .. } => "other-version",
            Self::OtherArchitecture { .. } => "other-architecture",
            Self::Kind { .. } => "kind",
        }
    }
}

/// An entry that does not fit, and why.
///
/// ```
/// use confext_ddi::vpick::{Accept, Entry, EntryKind, Filter, choose};
///
/// let entries = ["app_1.raw", "app_2.raw.part"].map(|name| Entry::new(name, EntryKind::Regular));
/// let choice = choose(entries, &[Filter::new("app", ".raw", Accept::Raw)]);
/// let rejection = &choice.rejected[0];
/// assert_eq!((rejection.name.as_slice(), rejection.reason.code()), (&b"app_2.raw.part"[..], "suffix"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its name.
    pub name: Vec<u8>,
    /// Why not. With several filters, the reason of the one it came furthest in.
    pub reason: Reason,
}

/// What [`choose`] found.
///
/// ```
/// use confext_ddi::vpick::{Accept, Entry, EntryKind, Filter, choose};
///
/// let names = ["app_1.raw", "app_3.raw", "app_2.raw", "README"];
/// let entries = names.map(|name| Entry::new(name, EntryKind::Regular));
/// let choice = choose(entries, &[Filter::new("app", ".raw", Accept::Raw)]);
/// assert_eq!(choice.chosen.map(|pick| pick.version), Some("3".to_owned()));
/// // What comes next if that is taken away, and what never counts.
/// assert_eq!((choice.outranked[0].version.as_str(), choice.rejected.len()), ("2", 1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The best entry.
    pub chosen: Option<Pick>,
    /// The others that fit, best first.
    pub outranked: Vec<Pick>,
    /// All others, by name.
    pub rejected: Vec<Rejection>,
}

/// Chooses the best entry that fits any of the filters.
///
/// Best is, in this order: tries left over none left; the higher version; the native architecture over the secondary
/// over the rest; more tries left; fewer made; the higher name. An entry without counters counts as untried.
/// The result does not depend on the order of the entries.
#[must_use]
pub fn choose(entries: impl IntoIterator<Item = Entry>, filters: &[Filter]) -> Choice {
    let mut fitting = Vec::new();
    let mut rejected = Vec::new();
    for entry in entries {
        match best_of_filters(&entry, filters) {
            Some(Ok(pick)) => fitting.push(pick),
            Some(Err(reason)) => rejected.push(Rejection { name: entry.name, reason }),
            None => {}
        }
    }
    fitting.sort_by(|a, b| compare(b, a));
    rejected.sort_by(|a, b| a.name.cmp(&b.name));
    let mut fitting = fitting.into_iter();
    Choice { chosen: fitting.next(), outranked: fitting.collect(), rejected }
}

/// The better way the entry fits, else the reason of the filter it came furthest in; nothing without filters.
fn best_of_filters(entry: &Entry, filters: &[Filter]) -> Option<Result<Pick, Reason>> {
    filters.iter().map(|filter| fit(entry, filter)).reduce(|best, next| match (best, next) {
        (Ok(a), Ok(b)) => Ok(if compare(&a, &b) == Ordering::Less { b } else { a }),
        (Ok(pick), Err(_)) | (Err(_), Ok(pick)) => Ok(pick),
        (Err(a), Err(b)) => Err(a.max(b)),
    })
}

fn fit(entry: &Entry, filter: &Filter) -> Result<Pick, Reason> {
    let Parsed { version, architecture, tries } =
        name::parse(&entry.name, filter).map_err(|flaw| flaw.reason(filter))?;
    if let Some(expected) = filter.version.as_ref().filter(|&expected| *expected != version) {
        return Err(Reason::OtherVersion { found: version.to_owned(), expected: expected.clone() });
    }
    let preference = prefer(architecture, filter.architecture)?;
    if !filter.accept.takes(entry.kind) {
        return Err(Reason::Kind { found: entry.kind });
    }
    let version = version.to_owned();
    Ok(Pick { name: entry.name.clone(), kind: entry.kind, version, architecture, tries, preference })
}

/// How well the architecture fits: higher is better.
fn prefer(found: Option<Architecture>, rule: ArchitectureRule) -> Result<u8, Reason> {
    let (wanted, fits) = match rule {
        ArchitectureRule::Unused => return Ok(0),
        ArchitectureRule::Host { native, .. } if found == Some(native) => return Ok(2),
        ArchitectureRule::Host { secondary, .. } if found.is_some() && found == secondary => return Ok(1),
        ArchitectureRule::Host { native, .. } => (native, found.is_none()),
        ArchitectureRule::Only(wanted) => (wanted, found == Some(wanted)),
    };
    if fits {
        return Ok(0);
    }
    let found = found.map_or("none", Architecture::as_str);
    Err(Reason::OtherArchitecture { found, expected: wanted.as_str() })
}

/// `Greater` is better.
fn compare(a: &Pick, b: &Pick) -> Ordering {
    a.rank().compare(&b.rank())
}

/// What decides between two entries.
struct Rank<'a> {
    name: &'a [u8],
    version: &'a str,
    preference: u8,
    tries: Option<Tries>,
}

impl Pick {
    fn rank(&self) -> Rank<'_> {
        Rank { name: &self.name, version: &self.version, preference: self.preference, tries: self.tries }
    }
}

impl Rank<'_> {
    /// `Greater` is better.
    fn compare(&self, other: &Rank<'_>) -> Ordering {
        let counters = |rank: &Rank<'_>| rank.tries.unwrap_or(Tries { left: u32::MAX, done: u32::MAX });
        let (tries, tries_other) = (counters(self), counters(other));
        (tries.left != 0)
            .cmp(&(tries_other.left != 0))
            .then_with(|| version::compare(self.version, other.version))
            .then_with(|| self.preference.cmp(&other.preference))
            .then_with(|| tries.left.cmp(&tries_other.left))
            .then_with(|| Reverse(tries.done).cmp(&Reverse(tries_other.done)))
            .then_with(|| self.name.cmp(other.name))
    }
}

/// [`choose`] for one filter when only the best entry is asked for: nothing is kept of the others.
///
/// ```
/// use confext_ddi::vpick::{Accept, Best, EntryKind, Filter};
///
/// let filter = Filter::new("app", ".raw", Accept::Raw);
/// let mut best = Best::new(&filter);
/// let mut looked_at = 0;
/// for name in ["app_2.raw", "app_1.raw", "README"] {
///     best.offer(name.as_bytes(), || {
///         looked_at += 1;
///         EntryKind::Regular
///     });
/// }
/// // The others could not win any more: nobody looked what they are.
/// assert_eq!((best.into_pick().map(|pick| pick.version), looked_at), (Some("2".to_owned()), 1));
/// ```
#[derive(Debug)]
pub struct Best<'a> {
    filter: &'a Filter,
    held: Option<Pick>,
}

impl<'a> Best<'a> {
    /// No entry yet.
    #[must_use]
    pub const fn new(filter: &'a Filter) -> Self {
        Self { filter, held: None }
    }

    /// Looks at one entry. `kind` is asked only when the name is better than all that fit before: an entry that cannot
    /// win costs neither a look at the disk nor memory.
    pub fn offer(&mut self, name: &[u8], kind: impl FnOnce() -> EntryKind) {
        let Ok(Parsed { version, architecture, tries }) = name::parse(name, self.filter) else { return };
        if self.filter.version.as_ref().is_some_and(|expected| expected != version) {
            return;
        }
        let Ok(preference) = prefer(architecture, self.filter.architecture) else { return };
        let rank = Rank { name, version, preference, tries };
        if self.held.as_ref().is_some_and(|held| rank.compare(&held.rank()) != Ordering::Greater) {
            return;
        }
        let kind = kind();
        if self.filter.accept.takes(kind) {
            let (name, version) = (name.to_vec(), version.to_owned());
            self.held = Some(Pick { name, kind, version, architecture, tries, preference });
        }
    }

    /// The best of the entries that fit.
    #[must_use]
    pub fn into_pick(self) -> Option<Pick> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Accept, TriesRule};
    use super::*;

    const HOST: ArchitectureRule =
        ArchitectureRule::Host { native: Architecture::X86_64, secondary: Some(Architecture::X86) };

    fn filter() -> Filter {
        Filter::new("foo", ".raw", Accept::Raw).architecture(HOST).tries(TriesRule::Honoured)
    }

    fn files(names: &[&str]) -> Vec<Entry> {
        names.iter().map(|name| Entry::new(*name, EntryKind::Regular)).collect()
    }

    fn chosen(versions: &[&str]) -> Option<String> {
        let names: Vec<String> = versions.iter().map(|version| format!("foo_{version}.raw")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let forward = choose(files(&names), &[filter()]);
        let backward = choose(files(&names).into_iter().rev(), &[filter()]);
        assert_eq!(forward, backward, "the order of the entries matters");
        for entries in [files(&names), files(&names).into_iter().rev().collect()] {
            let filter = filter();
            let mut best = Best::new(&filter);
            entries.iter().for_each(|entry| best.offer(&entry.name, || entry.kind));
            assert_eq!(best.into_pick(), forward.chosen, "{versions:?}");
        }
        forward.chosen.map(|pick| String::from_utf8(pick.name).unwrap())
    }

    #[test]
    fn the_best_entry_is_chosen() {
        for (versions, expected) in [
            (&["1_x86", "1_x86-64"][..], "1_x86-64"),
            (&["2_x86", "1_x86-64"], "2_x86"),
            (&["3+0", "2+1", "1"], "2+1"),
            (&["1+0", "2+0-3"], "2+0-3"),
            (&["1+3", "1+2", "1"], "1"),
            (&["1+3-1", "1+3-2"], "1+3-1"),
            (&["007", "7"], "7"),
            (&["1", "1+4294967295"], "1+4294967295"),
            (&["1~rc1", "0.9", "1"], "1"),
            (&["1", "1_x86"], "1_x86"),
            (&["9_arm64", "1"], "1"),
            (&["x86-64"], "x86-64"),
        ] {
            assert_eq!(chosen(versions).unwrap(), format!("foo_{expected}.raw"), "{versions:?}");
        }
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&["1+", "1+1-", "1+x", "1+99999999999", "1+2+3", ""]), None);
    }

    #[test]
    fn every_rejection_has_its_reason() {
        let cases: &[(&str, EntryKind, &str)] = &[
            ("bar_1.raw", EntryKind::Regular, "base"),
            ("foo1.raw", EntryKind::Regular, "base"),
            ("foo_1.img", EntryKind::Regular, "suffix"),
            ("foo_1+x.raw", EntryKind::Regular, "counters"),
            ("foo_1+.raw", EntryKind::Regular, "counters"),
            ("foo_1++1.raw", EntryKind::Regular, "version"),
            ("foo_1+-1.raw", EntryKind::Regular, "counters"),
            ("foo_1_2.raw", EntryKind::Regular, "unknown-architecture"),
            ("foo_1.0_bogus.raw", EntryKind::Regular, "unknown-architecture"),
            ("foo_.raw", EntryKind::Regular, "version"),
            ("foo__x86-64.raw", EntryKind::Regular, "version"),
            ("foo_1 2.raw", EntryKind::Regular, "version"),
            ("foo_1_arm64.raw", EntryKind::Regular, "other-architecture"),
            ("foo_1.raw", EntryKind::Directory, "kind"),
            ("foo_1.raw", EntryKind::Dangling, "kind"),
            ("foo_1.raw", EntryKind::Other, "kind"),
        ];
        for (name, kind, expected) in cases {
            let choice = choose([Entry::new(*name, *kind)], &[filter()]);
            assert_eq!(choice.chosen, None, "{name}");
            let [rejection] = choice.rejected.as_slice() else { panic!("{name}: {:?}", choice.rejected) };
            assert_eq!(rejection.reason.code(), *expected, "{name}");
            assert!(!rejection.reason.to_string().is_empty());
        }
    }

    #[test]
    fn a_dangling_link_of_the_highest_version_falls_back() {
        let entries =
            [Entry::new("foo_2.raw", EntryKind::Dangling), Entry::new("foo_1.raw", EntryKind::Regular)];
        let choice = choose(entries, &[filter()]);
        assert_eq!(choice.chosen.unwrap().version, "1");
        assert_eq!(choice.rejected.len(), 1);
    }

    #[test]
    fn only_what_could_win_is_looked_at() {
        let filter = filter();
        let mut best = Best::new(&filter);
        best.offer(b"foo_3.raw", || EntryKind::Dangling);
        best.offer(b"foo_2.raw", || EntryKind::Regular);
        for name in ["foo_1.raw", "foo_2.raw", "foo_9.img", "bar_9.raw", "foo_9_arm64.raw", "foo_9+0.raw"] {
            best.offer(name.as_bytes(), || panic!("{name} cannot win"));
        }
        assert_eq!(best.into_pick().unwrap().name, b"foo_2.raw");
    }

    #[test]
    fn a_version_is_asked_for_by_text() {
        let choice = choose(files(&["foo_007.raw", "foo_7.raw"]), &[filter().version("007")]);
        assert_eq!(choice.chosen.unwrap().name, b"foo_007.raw");
        assert_eq!(
            choice.rejected.first().unwrap().reason,
            Reason::OtherVersion { found: "7".into(), expected: "007".into() }
        );
    }

    #[test]
    fn an_architecture_may_be_asked_for() {
        let only = filter().architecture(ArchitectureRule::Only(Architecture::Arm64));
        let choice = choose(files(&["foo_3.raw", "foo_2_x86-64.raw", "foo_1_arm64.raw"]), &[only]);
        assert_eq!(choice.chosen.unwrap().name, b"foo_1_arm64.raw");
        assert_eq!(choice.rejected.len(), 2);
    }

    #[test]
    fn parts_that_are_not_used_make_the_version_invalid() {
        let plain = Filter::new("", "", Accept::Any);
        let choice = choose(files(&["1.0", "1_x86", "1+2"]), &[plain]);
        assert_eq!(choice.chosen.unwrap().name, b"1.0");
        assert_eq!(choice.rejected.len(), 2);
    }

    #[test]
    fn several_filters_give_one_best() {
        let directories = Filter::new("test", "", Accept::Directory).architecture(HOST);
        let raw = Filter::new("test", ".raw", Accept::Raw).architecture(HOST);
        let entries =
            [Entry::new("test_3.raw", EntryKind::Regular), Entry::new("test_5", EntryKind::Directory)];
        let choice = choose(entries, &[raw, directories]);
        assert_eq!(choice.chosen.unwrap().name, b"test_5");
        assert_eq!(choice.outranked.first().unwrap().name, b"test_3.raw");
        assert_eq!(choice.rejected, []);
    }

    #[test]
    fn a_hundred_thousand_entries() {
        let names = (0..100_000_u32).map(|at| format!("foo_{}.raw", at.wrapping_mul(7919) % 100_000));
        let choice = choose(names.map(|name| Entry::new(name, EntryKind::Regular)), &[filter()]);
        assert_eq!(choice.chosen.unwrap().version, "99999");
        assert_eq!((choice.outranked.len(), choice.rejected.len()), (99_999, 0));
    }

    #[test]
    fn names_need_not_be_text() {
        let names: Vec<Vec<u8>> =
            vec![b"foo_1\xff.raw".to_vec(), b"\xff\xfe".to_vec(), b"foo_1_\xff.raw".to_vec()];
        let choice = choose(names.into_iter().map(|name| Entry::new(name, EntryKind::Regular)), &[filter()]);
        assert_eq!((choice.chosen, choice.rejected.len()), (None, 3));
    }
}
