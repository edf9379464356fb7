//! Names that are nearly the one that was asked for, and entries that were meant to have it

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use confext_ddi::release::Class;
use serde::Serialize;

use crate::discover::{Discovery, Rejection, discover};
use crate::error::Result;
use crate::host::Host;
use crate::plan::Plan;

/// A name that somebody may have meant.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::{explain, explain::Near};
/// use confext_ddi::release::Class;
///
/// let answer = explain(&host, Class::Confext, "apq", &options)?;
/// let near: Vec<_> = answer.near.iter().map(|near: &Near| near.name.as_str()).collect();
/// assert_eq!(near, ["app"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Near {
    /// The class that has it.
    pub class: Class,
    /// The name.
    pub name: String,
}

/// More names than these help nobody.
const MOST: usize = 8;
/// Longer names are compared up to here: the comparison takes time with the product of the lengths.
const MOST_CHARACTERS: usize = 64;

/// Whether something that is not used has the name, or would have it if it had one.
pub(super) fn is_about(bad: &Rejection, name: &str) -> bool {
    match &bad.name {
        Some(found) => found == name,
        None => bad.path.file_name().is_some_and(|entry| was_meant(entry, name.as_bytes())),
    }
}

/// Whether an entry without a valid name is called NAME, NAME.ANYTHING or `.sysupdate.…NAME…`.
fn was_meant(entry: &OsStr, name: &[u8]) -> bool {
    let entry = entry.as_bytes();
    if let Some(download) = entry.strip_prefix(b".sysupdate.") {
        return !name.is_empty() && download.windows(name.len()).any(|part| part == name);
    }
    entry.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
}

/// The names of both classes that are nearly the same: the nearest first.
pub(super) fn names(host: &Host, class: Class, name: &str, plan: &Plan) -> Result<Vec<Near>> {
    let mut known: BTreeSet<(Class, String)> = BTreeSet::new();
    let mut add = |class: Class, name: &str| {
        known.insert((class, name.to_owned()));
    };
    plan.layers.iter().for_each(|layer| add(class, &layer.name));
    plan.refused.iter().filter_map(|bad| bad.name.as_deref()).for_each(|name| add(class, name));
    let other = match class {
        Class::Confext => Class::Sysext,
        Class::Sysext => Class::Confext,
    };
    let Discovery { candidates, refused, .. } = discover(host, other)?;
    candidates.iter().for_each(|candidate| add(other, &candidate.name));
    refused.iter().filter_map(|bad| bad.name.as_deref()).for_each(|name| add(other, name));
    known.remove(&(class, name.to_owned()));
    let mut near: Vec<_> = known
        .into_iter()
        .map(|(class, found)| (distance(name, &found), Near { class, name: found }))
        .filter(|(distance, near)| *distance <= tolerance(name) || contains(&near.name, name))
        .collect();
    near.sort();
    Ok(near.into_iter().map(|(_, near)| near).take(MOST).collect())
}

fn contains(found: &str, name: &str) -> bool {
    let (found, name) = (found.to_lowercase(), name.to_lowercase());
    !name.is_empty() && (found.contains(&name) || (found.len() > 2 && name.contains(&found)))
}

/// How many edits are still a slip: one in three characters.
fn tolerance(name: &str) -> usize {
    name.chars().take(MOST_CHARACTERS).count().div_ceil(3)
}

/// How many characters have to be put in, taken out or exchanged; letters of either case are the same.
fn distance(a: &str, b: &str) -> usize {
    let characters =
        |text: &str| -> Vec<char> { text.to_lowercase().chars().take(MOST_CHARACTERS).collect() };
    let (a, b) = (characters(a), characters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (above, first) in a.iter().enumerate() {
        let mut diagonal = above;
        let mut left = above.saturating_add(1);
        let mut next = vec![left];
        for (second, up) in b.iter().zip(row.iter().skip(1)) {
            let exchanged = diagonal.saturating_add(usize::from(first != second));
            left = exchanged.min(up.saturating_add(1)).min(left.saturating_add(1));
            diagonal = *up;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("App", "app", 0),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
        let long = "x".repeat(10_000);
        assert_eq!(distance(&long, "y"), MOST_CHARACTERS);
    }

    #[test]
    fn entries_that_were_meant() {
        for (entry, meant) in [
            ("app", true),
            ("app.img", true),
            (".sysupdate.partial.app_2.raw", true),
            ("application", false),
            ("app_1.img", false),
            ("my.app", false),
        ] {
            assert_eq!(was_meant(OsStr::new(entry), b"app"), meant, "{entry}");
        }
    }
}
