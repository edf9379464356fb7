//! Image policy: parse, print, compare, judge. The one gate.
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
//! - What the data needs by its rule has to be there: a hash tree for `verity`, a signature for `signed`, unless the rule
//!   names `absent` or `unused`, too.
//! - What lies beside an image counts by the word that names it.
//! - A set of file systems is enforced, whatever its size.
//!
//! Nothing is admitted that systemd 262 refuses.
//!
//! The default policy is [`Policy::signed`].
//!
//! *Spec*: systemd.image-policy(7).

mod admitted;
mod algebra;
mod flags;
mod judge;
mod key_rules;
mod lint;
mod partition;
mod preset;
mod rule;
mod text;

pub use admitted::{Admitted, Checked, Data, Evidence};
pub use flags::Protection;
pub use key_rules::{Comparison, KeyRule, KeyRules};
pub use lint::{Finding, Level, Lint};
pub use partition::AdmittedPartition;
pub use preset::Preset;
pub use rule::{Attribute, Rule, Use};

use crate::dps::Designator;
use crate::error::{Corrupt, Result};
use crate::image::Image;
use crate::read::ReadAt;
use crate::signature::Verifier;
use flags::Flags;
use std::collections::BTreeMap;
use text::DESIGNATORS;

/// Which protection each partition of an image must have.
///
/// Two policies are equal when they have the same rules; `root=open` and `root=` are the same rule. Whether two mean the
/// same is for [`Policy::is_equivalent`], which one asks for more for [`Policy::is_as_strict_as`].
///
/// ```
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class, signature::*};
/// # let now = Time::from(std::time::SystemTime::now());
/// # let key = KeyPair::generate("vendor", now, 30)?;
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # let mut bytes = std::io::Cursor::new(Vec::new());
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).build(&mut bytes, Some(&key))?;
/// # let bytes = bytes.into_inner();
/// # let mut trusted = Certificates::new(now);
/// # trusted.add_pem(&key.certificate_pem()?)?;
///
/// let image = Image::open(bytes.as_slice(), &image::Options::default())?;
/// let admitted = Policy::signed().judge(image, Some(&trusted))?;
/// assert_eq!(admitted.evidence().signer().map(|signer| signer.subject.as_str()), Some("CN=vendor"));
///
/// // Nobody is trusted: it is refused.
/// let image = Image::open(bytes.as_slice(), &image::Options::default())?;
/// assert_eq!(Policy::signed().judge(image, None).map(drop).unwrap_err().code(), "signature-unchecked");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// With each group extended: no group is without a flag.
    rules: BTreeMap<Designator, Flags>,
    default: Flags,
}

impl Policy {
    /// The partitions a rule can be about, in the order rules are printed.
    pub const DESIGNATORS: [Designator; 13] = DESIGNATORS;

    /// A policy without rules: this is what holds for every partition.
    #[must_use]
    pub fn otherwise(rule: Rule) -> Self {
        Self { rules: BTreeMap::new(), default: rule.0 }
    }

    /// The same with a rule for this partition, in the place of the one that there was.
    ///
    /// # Errors
    ///
    /// `policy-designator` for a partition that no policy can name: a user's home directory, a generic partition.
    pub fn with(mut self, designator: Designator, rule: Rule) -> Result<Self> {
        if !DESIGNATORS.contains(&designator) {
            return Err(Corrupt::PolicyDesignator { found: designator.as_str().to_owned() }.into());
        }
        self.rules.insert(designator, rule.0);
        Ok(self)
    }

    /// The rules as they were written, in the order they are printed.
    pub fn rules(&self) -> impl Iterator<Item = (Designator, Rule)> + '_ {
        self.rules.iter().map(|(designator, flags)| (*designator, Rule(*flags)))
    }

    /// What holds for partitions without a rule.
    #[must_use]
    pub fn default_rule(&self) -> Rule {
        Rule(self.default)
    }

    /// What holds for a partition, as systemd reads the policy: its rule or the default, without the words that mean
    /// nothing there. For a hash tree or signature without a rule, what follows from the rule for what it protects.
    ///
    /// `None` when nothing satisfies it, as with `home=verity`: only root and usr can be under a hash tree.
    #[must_use]
    pub fn rule(&self, designator: Designator) -> Option<Rule> {
        let flags = self.effective(designator);
        flags.intersects(Flags::OPEN).then_some(Rule(flags))
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

    /// Whether the rule for a root, usr or other partition lets it be used with this much protection. What else has to be
    /// there for that is not asked.
    #[must_use]
    pub fn admits(&self, designator: Designator, protection: Protection) -> bool {
        self.judged(designator).intersects(protection.satisfies())
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
    /// `policy`, `policy-protection`, `policy-signature`, `policy-sidecar`, `policy-attribute`, `policy-file-system`,
    /// `sidecar-name`. `encrypted` for a file system in LUKS.
    pub fn judge<R: ReadAt>(&self, image: Image<R>, verifier: Option<&dyn Verifier>) -> Result<Admitted<R>> {
        judge::judge(self, image, verifier, None)
    }

    /// Judges the image, and with it the use of a partition that nothing protects, like an EFI system partition: its
    /// rule has to say `unprotected`. Only [`Policy::judge`] is about root and usr.
    ///
    /// # Errors
    ///
    /// As [`Policy::judge`], also for the partition; `no-such-partition`; `partitions-ambiguous` when there are several.
    pub fn judge_partition<R: ReadAt>(
        &self,
        image: Image<R>,
        designator: Designator,
        verifier: Option<&dyn Verifier>,
    ) -> Result<(Admitted<R>, AdmittedPartition<R>)> {
        let partition = partition::find(&image, designator)?;
        let admitted = judge::judge(self, image, verifier, Some(designator))?;
        let used = partition::admit(self, &admitted, partition)?;
        Ok((admitted, used))
    }
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
