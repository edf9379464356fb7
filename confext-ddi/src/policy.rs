//! Image policy: parse, print, intersect, judge. The one gate.
//!
//! A policy is a list of rules like `root=signed:usr=verity+absent`: for each designator the uses, attributes and file
//! systems that are allowed. The grammar is systemd's; nothing unknown in it is ignored. [`Policy::judge`] checks
//! signature and hash tree and hands out an [`Admitted`] image, which nothing else can make.
//!
//! An image is judged once, on the protection that is really there and really used:
//!
//! - A rule names the least protection it can do with. A hash tree that is there is used, also where the rule says
//!   `unprotected`; a rule that says `signed`, `verity`, `absent` or `unused` never admits an unprotected file system.
//! - Where the rule names `signed`, a signature that is there must check. If it does not, the image is refused, even
//!   by `signed+verity`: a broken signature is no reason to ask for less.
//! - A set of file systems is enforced, whatever its size.
//!
//! The default policy is [`Policy::signed`].
//!
//! *Spec*: systemd.image-policy(7).

mod admitted;
mod flags;
mod judge;
mod text;

pub use admitted::{Admitted, Checked, Data, Evidence};
pub use flags::Protection;

use crate::dps::Designator;
use crate::error::{Refused, Result};
use crate::image::Image;
use crate::read::ReadAt;
use crate::signature::Verifier;
use flags::{Flags, GROUPS};
use std::collections::BTreeMap;
use text::{DESIGNATORS, print_flags};

/// Which protection each partition of an image must have.
///
/// Two policies are equal when they have the same rules; `root=open` and `root=` are the same rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// With each group extended: no group is without a flag.
    rules: BTreeMap<Designator, Flags>,
    default: Flags,
}

impl Policy {
    /// Root and usr must be signed by a trusted key: the default.
    #[must_use]
    pub fn signed() -> Self {
        Self::of_data(Flags::SIGNED)
    }

    /// Root and usr must be under a hash tree; where they are signed and a verifier is passed, by a trusted key.
    #[must_use]
    pub fn verity() -> Self {
        Self::of_data(Flags::SIGNED | Flags::VERITY)
    }

    /// Root and usr may be unprotected; where they are protected, the protection must check.
    #[must_use]
    pub fn unprotected() -> Self {
        Self::of_data(Flags::SIGNED | Flags::VERITY | Flags::UNPROTECTED)
    }

    fn of_data(uses: Flags) -> Self {
        let flags = (uses | Flags::ABSENT).extended();
        let rules = BTreeMap::from([(Designator::Root, flags), (Designator::Usr, flags)]);
        Self { rules, default: Flags::IGNORE.extended() }
    }

    /// Parses a policy: rules `DESIGNATOR=FLAG+FLAG…` joined with colons, or `*` (all is allowed), `-` (all is
    /// ignored), `~` (nothing may be there).
    ///
    /// A rule without a designator is for all partitions without a rule; when there is none, they are ignored. Of a
    /// group of flags (uses, read-only, growfs, file systems) of which a rule names none, all are allowed.
    ///
    /// # Errors
    ///
    /// `policy-rule`, `policy-designator`, `policy-flag`, `policy-rule-twice`.
    pub fn parse(text: &str) -> Result<Self> {
        text::parse(text)
    }

    /// The policy that admits an image when both do.
    ///
    /// # Errors
    ///
    /// `policy-disjoint` when there is a partition of which both admit nothing.
    pub fn intersect(&self, other: &Self) -> Result<Self> {
        let mut rules = BTreeMap::new();
        for designator in DESIGNATORS {
            let (first, second) = (self.rule(designator), other.rule(designator));
            let Some(common) = intersect_flags(first, second) else {
                let [first, second] = [first, second].map(print_flags);
                return Err(Refused::PolicyDisjoint { designator: designator.as_str(), first, second }.into());
            };
            rules.insert(designator, common);
        }
        let default = intersect_flags(self.default, other.default).unwrap_or(Flags::ABSENT.extended());
        Ok(Self { rules, default }.simplified())
    }

    /// Leaves out the rules that say no more than what holds without them.
    fn simplified(mut self) -> Self {
        for designator in DESIGNATORS {
            if let Some(flags) = self.rules.remove(&designator)
                && self.rule(designator) != flags
            {
                self.rules.insert(designator, flags);
            }
        }
        self
    }

    /// Whether a root, usr or other partition with this much protection may be used.
    #[must_use]
    pub fn admits(&self, designator: Designator, protection: Protection) -> bool {
        self.rule(designator).uses_of(designator).intersects(protection.satisfies())
    }

    /// Checks what the image claims and admits it, or says why not.
    ///
    /// Without a verifier no signature is checked: a signed image then is only under a hash tree. It is the caller's
    /// explicit choice, and only a policy that does with `verity` or less goes along.
    ///
    /// # Errors
    ///
    /// Family `unverified` when signature or hash tree do not check: those of the verifier, `signature-unchecked`,
    /// and those of [`verity::Reader::new`](crate::verity::Reader::new). Family `refused` when the policy says no:
    /// `policy`, `policy-attribute`, `policy-file-system`. `encrypted` for a file system in LUKS.
    pub fn judge<R: ReadAt>(&self, image: Image<R>, verifier: Option<&dyn Verifier>) -> Result<Admitted<R>> {
        judge::judge(self, image, verifier)
    }

    /// What holds for a partition: its rule or the default. Of what protects another one, whether it must be there
    /// follows from the rule for that one; without a rule of its own it is free.
    fn rule(&self, designator: Designator) -> Flags {
        let free = designator.protects().map(|_| Flags::OPEN.extended());
        self.rules.get(&designator).copied().or(free).unwrap_or(self.default)
    }
}

/// What two rules have in common; `None` when that is nothing.
fn intersect_flags(first: Flags, second: Flags) -> Option<Flags> {
    let common = first & second;
    // A use stands for all stronger ones, so `unprotected` and `verity` have `verity` in common.
    let stronger = first.with_stronger() & second.with_stronger() & (first | second);
    let usable = GROUPS.into_iter().skip(1).all(|group| common.intersects(group));
    // Without a common attribute or file system a partition can still be absent or left alone.
    let (uses, rest) = match usable {
        true => ((common | stronger) & Flags::OPEN, common.difference(Flags::OPEN)),
        false => (common & Flags::IGNORE, Flags::empty()),
    };
    (!uses.is_empty()).then(|| (uses | rest).extended())
}

impl Default for Policy {
    fn default() -> Self {
        Self::signed()
    }
}

impl std::str::FromStr for Policy {
    type Err = crate::error::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl serde::Serialize for Policy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
