//! Policies against policies: what both admit, what either admits, which one is stricter, and the shortest form of one.
//!
//! Everything here is about one rule at one partition. What a rule lets in is a set of states: absent, present and not
//! used, encrypted, or used with some protection, attributes and file system. A signed partition counts as two states:
//! with a signature that checks, and with one that does not, because only a rule without the word `signed` does with
//! the hash tree of the latter. The sets of all rules form a lattice; [`meet`] and [`join`] are its operations.
//!
//! A policy is a set for each partition. One thing of that cannot be written: a signature with certain attributes whose hash
//! tree is to be left alone, because what is left alone has no attributes in systemd. [`Policy::insert`] then takes the
//! largest set that can be written, which is without that signature. There is always one largest, and a smaller set never
//! leads to a larger one; so intersections stay associative.

use super::flags::{Flags, GROUPS};
use super::text::{DESIGNATORS, print_flags};
use super::{Policy, Protection, Rule};
use crate::dps::Designator;
use crate::error::{Refused, Result};
use std::collections::BTreeMap;

impl Policy {
    /// The policy that admits what both admit.
    ///
    /// In whatever order policies are intersected, the results are as strict as each other, or it is an error in each order;
    /// [`Policy::union`] likewise. Their texts can differ: for an image that has its hash tree in it, `root=absent` and
    /// `root=absent:root-verity=open` are the same, and neither is the shorter form of the other, because systemd tells them
    /// apart.
    ///
    /// Of images with a root hash beside them the intersection admits more than both at times, but none with less
    /// protection than each asks for: `verity` is what `verity` and `unprotected` have in common, and only the former
    /// admits a bare file system with a hash tree beside it.
    ///
    /// # Errors
    ///
    /// `policy-disjoint` when there is a partition of which the two have nothing in common, or one of them alone admits
    /// nothing.
    pub fn intersect(&self, other: &Self) -> Result<Self> {
        self.check_common(other, |designator| {
            meet(self.judged(designator), other.judged(designator), designator)
        })?;
        let both = self.combine(other, meet);
        // There may be no way to write what they have in common.
        self.check_common(other, |designator| both.judged(designator))?;
        Ok(both)
    }

    /// Whether there is a use of each partition that both allow.
    fn check_common(&self, other: &Self, common: impl Fn(Designator) -> Flags) -> Result<()> {
        match DESIGNATORS.into_iter().find(|designator| !common(*designator).intersects(Flags::OPEN)) {
            Some(designator) => {
                let words = |policy: &Self| print_flags(shortest(policy.judged(designator), designator));
                let (first, second) = (words(self), words(other));
                Err(Refused::PolicyDisjoint { designator: designator.as_str(), first, second }.into())
            }
            None => Ok(()),
        }
    }

    /// The strictest policy that admits what either of them admits.
    ///
    /// It can admit more than the two: of `root=verity+erofs` and `root=signed+squashfs` it is
    /// `root=verity+erofs+squashfs`. Of `verity` and `signed` it is `verity`, because the former does with the hash tree
    /// of an image whose signature does not check, which `verity+signed` refuses.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.combine(other, join)
    }

    fn combine(&self, other: &Self, combine: fn(Flags, Flags, Designator) -> Flags) -> Self {
        let default = shortest(combine(self.default, other.default, Designator::Root), Designator::Root);
        let mut combined = Self { rules: BTreeMap::new(), default };
        for designator in DESIGNATORS {
            let flags = combine(self.judged(designator), other.judged(designator), designator);
            let [first, second] = [self, other].map(|policy| policy.rules.contains_key(&designator));
            // What protects another partition is free without a rule.
            let named = if designator.protects().is_some() { first && second } else { first || second };
            if named || combined.judged(designator) != flags {
                combined.insert(designator, flags);
            }
        }
        combined.simplify()
    }

    /// Adds a rule that lets in `flags` and no more. By which word a signature may be there depends on its hash tree; where
    /// that has to be left alone, none of certain attributes can be there.
    fn insert(&mut self, designator: Designator, flags: Flags) {
        if self.insert_as(designator, flags) {
            return;
        }
        if let Some(tree) = designator.protects().and_then(Designator::verity)
            && !self.rules.contains_key(&tree)
        {
            self.rules.insert(tree, shortest(self.judged(tree), tree));
            if self.insert_as(designator, flags) {
                return;
            }
        }
        self.rules.insert(designator, shortest(flags.difference(THERE), designator));
    }

    fn insert_as(&mut self, designator: Designator, flags: Flags) -> bool {
        [flags, flags.difference(Flags::UNUSED), flags.difference(Flags::UNPROTECTED)].into_iter().any(
            |form| {
                self.rules.insert(designator, shortest(form, designator));
                self.judged(designator) == flags
            },
        )
    }

    /// Whether every image that this policy admits is admitted by the other one, too.
    ///
    /// An order like that of sets: of two policies it can be that neither is as strict as the other, and that each is. It is
    /// about images that have what protects them in them: what lies beside an image has to be named by its word.
    #[must_use]
    pub fn is_as_strict_as(&self, other: &Self) -> bool {
        DESIGNATORS
            .into_iter()
            .all(|designator| is_as_strict(self.judged(designator), other.judged(designator), designator))
    }

    /// Whether nothing tells the two apart: for each partition they allow the same uses, attributes and file systems,
    /// here and in systemd.
    ///
    /// Stricter than being as strict as each other: `root=unprotected+absent` and `root=verity+unprotected+absent` admit
    /// the same images here, but systemd uses a hash tree only where the word is there.
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        DESIGNATORS.into_iter().all(|designator| {
            self.judged(designator) == other.judged(designator)
                && self.effective(designator) == other.effective(designator)
        })
    }

    /// The shortest policy that is equivalent: without rules that say what holds anyway, and without words that have no
    /// effect. Each rule names a use. All equivalent policies have the same one.
    #[must_use]
    pub fn simplify(&self) -> Self {
        let mut defaults = vec![Flags::IGNORE.extended(), Flags::ABSENT.extended(), Flags::OPEN.extended()];
        defaults.extend(DESIGNATORS.map(|designator| shortest(self.effective(designator), designator)));
        defaults.sort_unstable();
        defaults.dedup();
        // A rule for root or usr that is that of all others matters for its hash tree: systemd derives from it.
        let kept: [&[Designator]; 4] =
            [&[], &[Designator::Root], &[Designator::Usr], &[Designator::Root, Designator::Usr]];
        let forms = defaults.iter().flat_map(|default| kept.map(|kept| self.with_default(*default, kept)));
        let texts = forms.filter(|form| form.is_equivalent(self)).map(|form| (form.to_string(), form));
        let best = texts.min_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
        best.map_or_else(|| self.clone(), |(_, form)| form)
    }

    /// The same rules written for this default.
    fn with_default(&self, default: Flags, kept: &[Designator]) -> Self {
        let mut form = Self { rules: BTreeMap::new(), default };
        for designator in DESIGNATORS {
            let flags = self.effective(designator);
            let needed = match designator.protects() {
                Some(_) => self.rules.contains_key(&designator),
                None => kept.contains(&designator) || default.at(designator) != flags,
            };
            if needed {
                form.rules.insert(designator, shortest(flags, designator));
            }
        }
        for designator in DESIGNATORS.into_iter().filter(|designator| designator.protects().is_some()) {
            if let Some(flags) = form.rules.remove(&designator)
                && !form.is_equivalent(self)
            {
                form.rules.insert(designator, flags);
            }
        }
        form
    }

    /// What a partition is judged by. As in systemd, but that a hash tree that is there may be used wherever it may lie
    /// unused, if no rule of its own is against it: a rule names the least that will do.
    pub(super) fn judged(&self, designator: Designator) -> Flags {
        let flags = self.effective(designator);
        if is_signature(designator) {
            return if self.contradicts(designator) { flags.difference(THERE) } else { whole(flags) };
        }
        let free = designator.protects().is_some() && !self.rules.contains_key(&designator);
        if free { whole(flags) } else { flags }
    }

    /// Whether a signature is to be used while its hash tree is not, or left alone while the data needs it: no image has a
    /// signature then.
    pub(super) fn contradicts(&self, signature: Designator) -> bool {
        let Some(data) = signature.protects() else { return false };
        let used = |designator| self.effective(designator).contains(Flags::UNPROTECTED);
        let tree_is_used = data.verity().is_some_and(used);
        match (self.effective(signature).intersects(THERE), used(signature)) {
            (false, _) => false,
            (true, true) => !tree_is_used,
            (true, false) => {
                let data = self.effective(data);
                tree_is_used
                    && data.contains(Flags::SIGNED)
                    && !data.intersects(Protection::Verity.satisfies())
            }
        }
    }

    /// What systemd judges a partition by: its rule or the default. For what protects another one, what follows from
    /// the rule for that one, if it has one that needs protection.
    pub(super) fn effective(&self, designator: Designator) -> Flags {
        let rule = self.rules.get(&designator).copied().or_else(|| self.derived(designator));
        rule.unwrap_or(self.default).at(designator)
    }

    fn derived(&self, designator: Designator) -> Option<Flags> {
        let protects = designator.protects()?;
        let data = self.rules.get(&protects)?.at(protects);
        let needed_by = match protects.verity() == Some(designator) {
            true => Flags::VERITY | Flags::SIGNED,
            false => Flags::SIGNED,
        };
        let inherited = data & (Flags::IGNORE | Flags::READ_ONLY | Flags::GROWFS);
        data.intersects(needed_by).then_some((Flags::UNPROTECTED | inherited).extended())
    }
}

impl Rule {
    /// Whether everything that this rule lets in is let in by the other one, too.
    ///
    /// `signed` is as strict as `verity`, which is as strict as `unprotected`. For any partition: where some uses do not
    /// exist, see [`Policy::is_as_strict_as`].
    #[must_use]
    pub fn is_as_strict_as(&self, other: &Self) -> bool {
        is_as_strict(self.0.at(Designator::Root), other.0.at(Designator::Root), Designator::Root)
    }
}

/// What both rules let in at a partition; no use, when that is nothing.
fn meet(first: Flags, second: Flags, designator: Designator) -> Flags {
    let mut common = first & second;
    // A use stands for all stronger ones, so `unprotected` and `verity` have `verity` in common.
    common |= first.with_stronger() & second.with_stronger() & (first | second) & Flags::OPEN;
    // A signature partition that is there counts as used and as not used.
    if is_signature(designator) && first.intersects(THERE) && second.intersects(THERE) {
        common |= (first | second) & THERE;
    }
    // Without a common attribute or file system a partition can still be absent or left alone. A signature that is there
    // is not left alone: its attributes count whether it is used or not.
    if !GROUPS.into_iter().skip(1).all(|group| common.intersects(group)) {
        common &= if is_signature(designator) { Flags::ABSENT } else { Flags::IGNORE };
    }
    common.at(designator)
}

/// The least that lets in what either rule lets in at a partition.
fn join(first: Flags, second: Flags, designator: Designator) -> Flags {
    let [first, second] = [first, second].map(|flags| whole_use(flags, designator));
    let used = [first, second].into_iter().filter(|flags| flags.intersects(Flags::USED));
    let mut either = used.clone().fold((first | second) & Flags::IGNORE, |all, flags| all | flags);
    if used.into_iter().any(does_with_the_tree) {
        either.remove(Flags::SIGNED);
    }
    // Where nothing is used, any attributes are allowed, but no more uses.
    let rest = GROUPS.into_iter().skip(1).filter(|group| !either.intersects(*group));
    rest.fold(either, |all, group| all | group).at(designator)
}

/// Whether it admits a partition whose signature does not check.
fn does_with_the_tree(flags: Flags) -> bool {
    flags.intersects(Flags::UNPROTECTED | Flags::VERITY) && !flags.contains(Flags::SIGNED)
}

fn is_as_strict(first: Flags, second: Flags, designator: Designator) -> bool {
    let [first, second] = [first, second].map(|flags| whole_use(flags, designator));
    let of_use = |flags: Flags| flags.with_stronger() & Flags::USED;
    let used = of_use(first);
    second.contains(first & Flags::IGNORE)
        && (used.is_empty()
            || of_use(second).contains(used)
                && (!does_with_the_tree(first) || does_with_the_tree(second))
                && second.contains(first.difference(Flags::OPEN)))
}

/// A signature partition that is there counts as used and as not used: a rule that lets in one lets in the other.
fn whole_use(flags: Flags, designator: Designator) -> Flags {
    if is_signature(designator) { whole(flags) } else { flags }
}

/// With both words for what is there and protects another partition, if one of them is named.
fn whole(flags: Flags) -> Flags {
    if flags.intersects(THERE) { flags | THERE } else { flags }
}

/// The words for what is there and protects another partition.
const THERE: Flags = Flags::UNPROTECTED.union(Flags::UNUSED);

fn is_signature(designator: Designator) -> bool {
    designator.protects().is_some_and(|data| data.verity_sig() == Some(designator))
}

/// The fewest words that come to the same at a partition.
fn shortest(flags: Flags, designator: Designator) -> Flags {
    let uses = flags & Flags::OPEN;
    let rest = flags.difference(Flags::OPEN);
    if uses.is_empty() {
        // Nothing is allowed. There is no word for it but a use that the partition cannot have.
        return Flags::VERITY | rest;
    }
    match uses == Flags::OPEN.uses_of(designator) {
        true => Flags::OPEN | rest,
        false => flags,
    }
}

#[cfg(test)]
pub(super) mod tests;
