//! Which of several root or usr partitions count: the newest, or those that a root hash names.

use super::layout::Candidate;
use super::{Options, Select, Skipped, SkippedBecause, claim};
use crate::digest::RootHash;
use crate::dps::Designator;
use crate::error::{Error, Lookup, Result};
use crate::id::Uuid;
use crate::limits::Limits;
use crate::read::ReadAt;
use crate::version;
use std::cmp::Ordering;

/// Takes out of `candidates` what is not chosen, and says why. Those that are as good as each other stay.
pub(super) fn select<R: ReadAt + ?Sized>(
    candidates: &mut Vec<Candidate<'_>>,
    reader: &R,
    options: &Options,
) -> Result<Vec<Skipped>> {
    match options.select {
        Select::Only => Ok(Vec::new()),
        Select::Newest => Ok(newest(candidates)),
        Select::RootHash(root_hash) => named(candidates, reader, root_hash, &options.limits),
    }
}

/// The error for a root hash of which the image has no partition, or no partitions at all.
pub(super) fn nothing_for(root_hash: RootHash, designator: Designator) -> Error {
    let [data, hash] = claim::split(&root_hash);
    let expected = if designator.protects().is_some() { hash } else { data };
    Lookup::RootHashPartition { designator: designator.as_str(), expected }.into()
}

fn newest(candidates: &mut Vec<Candidate<'_>>) -> Vec<Skipped> {
    let all = candidates.clone();
    let outranked = |one: &Candidate<'_>| {
        one.kind.designator.has_architecture()
            && all.iter().any(|other| {
                let newer = version::compare(&other.entry.label, &one.entry.label) == Ordering::Greater;
                other.kind.designator == one.kind.designator && newer
            })
    };
    take_out(candidates, SkippedBecause::OlderVersion, outranked)
}

fn named<R: ReadAt + ?Sized>(
    candidates: &mut Vec<Candidate<'_>>,
    reader: &R,
    root_hash: RootHash,
    limits: &Limits,
) -> Result<Vec<Skipped>> {
    let ids = claim::split(&root_hash);
    let [data, hash] = ids;
    let has = |designator: Option<Designator>, id: Uuid| {
        let fits = |one: &Candidate<'_>| {
            Some(one.kind.designator) == designator && one.entry.unique_guid == id.to_guid()
        };
        candidates.iter().any(fits)
    };
    let part = [Designator::Root, Designator::Usr].into_iter().find(|part| has(Some(*part), data));
    let part = part.ok_or_else(|| nothing_for(root_hash, Designator::Root))?;
    if let Some(tree) = part.verity().filter(|_| !has(part.verity(), hash)) {
        return Err(nothing_for(root_hash, tree));
    }
    let mut other_signatures = Vec::new();
    for one in candidates.iter().filter(|one| Some(one.kind.designator) == part.verity_sig()) {
        let json = claim::read_signature(reader, one.kind.designator, one.entry.range, limits)?;
        if json.root_hash != root_hash {
            other_signatures.push(one.entry.number);
        }
    }
    let other = |one: &Candidate<'_>| {
        let id = one.entry.unique_guid.to_uuid();
        match one.kind.designator {
            designator if designator == part => id != data,
            designator if Some(designator) == part.verity() => id != hash,
            _ => other_signatures.contains(&one.entry.number),
        }
    };
    Ok(take_out(candidates, SkippedBecause::OtherRootHash, other))
}

fn take_out(
    candidates: &mut Vec<Candidate<'_>>,
    because: SkippedBecause,
    which: impl Fn(&Candidate<'_>) -> bool,
) -> Vec<Skipped> {
    let skipped =
        candidates.iter().filter(|one| which(one)).map(|one| Skipped { number: one.entry.number, because });
    let skipped = skipped.collect();
    candidates.retain(|one| !which(one));
    skipped
}
