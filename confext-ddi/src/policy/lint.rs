//! [`Policy::lint`]: what a policy says and its author may not have meant, each with the way out.

use super::flags::Flags;
use super::text::{DESIGNATORS, print_flags};
use super::{Policy, Rule};
use crate::dps::Designator;
use serde::Serialize;

/// How bad a finding is.
///
/// ```
/// use confext_ddi::policy::{Level, Lint};
///
/// // What of all that can be found would keep a policy from review?
/// let serious = Lint::ALL.iter().filter(|lint| lint.level() == Level::Warning);
/// assert!(serious.clone().any(|lint| lint.code() == "signed-or-verity"));
/// assert_eq!(Level::Warning.to_string(), "warning");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Worth to know: systemd reads the text differently, or a word has no effect.
    Note,
    /// The policy lets in what it seems to keep out, or keeps everything out.
    Warning,
}

impl Level {
    /// `note` or `warning`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Declares the kinds of findings: level, code, what is the matter, what to do.
macro_rules! lints {
    ($( $variant:ident = $level:ident, $code:literal, $text:literal, $hint:literal; )*) => {
        /// A kind of finding. Codes are stable; `docs/policy.md` lists them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Lint {
            $( #[doc = $text] #[doc = ""] #[doc = concat!("Code `", $code, "`. Way out: ", $hint, ".")] $variant, )*
        }

        impl Lint {
            /// All of them.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),* ];

            /// The stable code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $( Self::$variant => $code ),* }
            }

            /// How bad it is.
            #[must_use]
            pub const fn level(self) -> Level {
                match self { $( Self::$variant => Level::$level ),* }
            }

            /// What is the matter.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $( Self::$variant => $text ),* }
            }

            /// The way out.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $( Self::$variant => $hint ),* }
            }
        }
    };
}

lints! {
    SignedOrVerity = Warning, "signed-or-verity",
        "`+` means or: an image with a hash tree and no signature is admitted",
        "write `signed` alone where a signature is required";
    SignatureUncheckedBySystemd = Warning, "signature-unchecked-by-systemd",
        "`+` means or: systemd uses an image whose signature does not check; here it is refused",
        "write `signed` alone where a signature is required";
    SignatureIgnored = Warning, "signature-ignored",
        "without the word `signed` no signature is looked at: one that does not check is no obstacle",
        "add `signed`: a signature that is there must then check";
    UnprotectedAmongProtections = Warning, "unprotected-among-protections",
        "`+` means or: a file system without any protection is admitted",
        "leave out `unprotected`";
    Open = Warning, "open",
        "every use is allowed, also an unprotected one: so says `open`, and a rule that names no use",
        "name the uses that are meant, like `signed+absent`";
    DefaultAdmits = Warning, "default-admits",
        "partitions without a rule may be used unprotected: those of types to come, too",
        "end the policy with `=ignore` or `=absent`, and write rules for what is used";
    NothingUsable = Warning, "nothing-usable",
        "neither root nor usr may be used: no extension image is admitted",
        "write a rule for root or usr that names a protection";
    BothRequired = Warning, "both-required",
        "both root and usr have to be there: an extension image has one of them, so none is admitted",
        "add `absent` to both rules";
    NeverSatisfied = Warning, "never-satisfied",
        "no partition of this kind can have the uses that are named, so no image is admitted",
        "name uses that exist for it: only root and usr can be `verity` or `signed`";
    RequiredButNotUsed = Warning, "required-but-not-used",
        "it has to be used, and extension images use root and usr only, so no image is admitted",
        "add `unused` or `absent`, or leave the rule out";
    ProtectionForbidden = Warning, "protection-forbidden",
        "the data needs a hash tree or signature, and this rule does not let it be there",
        "leave the rule out: what the data needs follows from its own rule";
    DefaultForbidsProtection = Warning, "default-forbids-protection",
        "the default is also for hash trees and signatures and does not let them be there, so no image is admitted",
        "write a rule for root or usr by name: what it needs then follows from it";
    SignatureWithoutTree = Warning, "signature-without-tree",
        "the signature is to be used and its hash tree is not: an image that is signed is refused",
        "leave the rule out, or write `unused`";
    EncryptedOnly = Warning, "encrypted-only",
        "only encrypted file systems may be used, and those cannot be attached here, so no image is admitted",
        "name a protection that can be checked: `signed` or `verity`";
    FileSystemsOnly = Warning, "file-systems-not-merged",
        "none of the file systems that are named can be merged here, so no image is admitted",
        "name erofs, squashfs or ext4";
    Encrypted = Note, "encrypted",
        "encrypted file systems cannot be attached here: the word admits none",
        "leave it out, unless the text is for systemd, too";
    NoEffect = Note, "no-effect",
        "words without an effect: this kind of partition cannot have such uses or a file system",
        "leave them out";
    Redundant = Note, "redundant",
        "the rule says what holds without it",
        "leave it out";
    TreeIgnoredBySystemd = Note, "tree-ignored-by-systemd",
        "without `verity` or `signed`, systemd does not use a hash tree that is there; here it is used",
        "write `verity+signed+unprotected` for the same protection in systemd";
    FileSystemsIgnoredBySystemd = Note, "file-systems-ignored-by-systemd",
        "systemd does not enforce a set of several file systems; here it is enforced",
        "name one file system for the same verdict in systemd";
    AttributesOfBare = Note, "attributes-need-a-table",
        "an image without a partition table has no attributes and is refused",
        "leave the attribute out, unless images always have a table";
}

impl Serialize for Lint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl std::fmt::Display for Lint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

/// Something about a policy that its author may not have meant.
///
/// ```
/// use confext_ddi::dps::Designator;
/// use confext_ddi::policy::Policy;
///
/// // Whoever wrote this wanted a signature; `+` means or.
/// let finding = &Policy::parse("root=signed+verity:=ignore")?.lint()[0];
/// assert_eq!(finding.designator, Some(Designator::Root));
/// assert_eq!(finding.lint.hint(), "write `signed` alone where a signature is required");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Of which kind it is.
    pub lint: Lint,
    /// The partition it is about; `None` for the default or the whole policy.
    pub designator: Option<Designator>,
    /// The rule or words it is about; the whole policy, where it is about that.
    pub found: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]: {}: {}", self.lint.level(), self.lint, self.found, self.lint.text())
    }
}

impl Policy {
    /// What the policy says and its author may not have meant: warnings first, then in the order of the rules.
    #[must_use]
    pub fn lint(&self) -> Vec<Finding> {
        let mut findings = Findings { policy: self, found: Vec::new() };
        findings.whole();
        for (designator, rule) in self.rules() {
            findings.rule(designator, rule);
        }
        let mut found = findings.found;
        found.sort_by_key(|finding| std::cmp::Reverse(finding.lint.level()));
        found
    }
}

struct Findings<'a> {
    policy: &'a Policy,
    found: Vec<Finding>,
}

/// The file systems that can be merged.
const MERGED: Flags = Flags::EROFS.union(Flags::SQUASHFS).union(Flags::EXT4);
const TREE: Flags = Flags::VERITY.union(Flags::SIGNED);
const ENCRYPTED: Flags = Flags::ENCRYPTED.union(Flags::ENCRYPTED_WITH_INTEGRITY);
/// Uses that can be admitted here.
const ADMITTED: Flags = TREE.union(Flags::UNPROTECTED);

impl Findings<'_> {
    fn add(&mut self, lint: Lint, designator: Option<Designator>, found: String) {
        self.found.push(Finding { lint, designator, found });
    }

    /// What is about the default, or about root and usr together.
    fn whole(&mut self) {
        let policy = self.policy;
        let data = [Designator::Root, Designator::Usr];
        let rules = data.map(|designator| policy.judged(designator));
        let usable = |flags: &Flags| flags.intersects(Flags::USED);
        if !rules.iter().any(usable) {
            self.add(Lint::NothingUsable, None, policy.to_string());
        }
        if rules.iter().all(|flags| usable(flags) && !flags.contains(Flags::ABSENT)) {
            self.add(Lint::BothRequired, None, policy.to_string());
        }
        if policy.default.contains(Flags::UNPROTECTED) {
            self.add(Lint::DefaultAdmits, None, format!("={}", Rule(policy.default)));
        } else if !policy.default.intersects(Flags::IGNORE) {
            // Partitions that are not mentioned may neither be absent nor be there unused.
            let required = |designator: &Designator| {
                !policy.rules.contains_key(designator)
                    && designator.verity().is_none()
                    && designator.protects().is_none()
            };
            if DESIGNATORS.iter().any(required) {
                self.add(Lint::RequiredButNotUsed, None, format!("={}", Rule(policy.default)));
            }
        }
        // What the default says of root and usr, said once.
        let without_rule = |designator: &Designator| !policy.rules.contains_key(designator);
        if let Some(designator) = data.into_iter().find(without_rule) {
            let flags = policy.judged(designator);
            self.protection(None, flags);
            let tree = designator.verity().map_or(Flags::empty(), |tree| policy.judged(tree));
            if !(flags & Flags::USED).is_empty()
                && TREE.contains(flags & Flags::USED)
                && !tree.contains(Flags::UNPROTECTED)
            {
                self.add(Lint::DefaultForbidsProtection, None, format!("={}", Rule(policy.default)));
            }
        }
    }

    fn rule(&mut self, designator: Designator, rule: Rule) {
        let Rule(written) = rule;
        let flags = written.at(designator);
        let shown = || format!("{designator}={rule}");
        let some = Some(designator);
        if !flags.intersects(Flags::OPEN) {
            return self.add(Lint::NeverSatisfied, some, shown());
        }
        if designator.verity().is_some() {
            self.protection(some, flags);
        } else if designator.protects().is_none() && !flags.intersects(Flags::IGNORE) {
            self.add(Lint::RequiredButNotUsed, some, shown());
        } else if let Some(data) = designator.protects() {
            self.protector(designator, data);
        }
        self.without_effect(designator, written);
        let mut without = self.policy.clone();
        without.rules.remove(&designator);
        if without.is_equivalent(self.policy) {
            self.add(Lint::Redundant, some, shown());
        }
    }

    /// How root or usr have to be protected.
    fn protection(&mut self, designator: Option<Designator>, flags: Flags) {
        let name = designator.map_or("", Designator::as_str);
        let shown = format!("{name}={}", print_flags(flags));
        if !flags.intersects(Flags::USED) {
            return;
        }
        let mut add = |lint: Lint| self.found.push(Finding { lint, designator, found: shown.clone() });
        if flags.contains(Flags::OPEN) {
            // The default has a finding of its own.
            if designator.is_some() {
                add(Lint::Open);
            }
        } else if flags.contains(Flags::UNPROTECTED) && flags.intersects(TREE) {
            add(Lint::UnprotectedAmongProtections);
        } else if flags.contains(TREE) {
            // Without `absent` the signature has to be there.
            let required = designator.is_some() && !flags.contains(Flags::ABSENT);
            add(if required { Lint::SignatureUncheckedBySystemd } else { Lint::SignedOrVerity });
        }
        if flags.contains(Flags::VERITY) && !flags.contains(Flags::SIGNED) {
            add(Lint::SignatureIgnored);
        }
        if flags.contains(Flags::UNPROTECTED) && !flags.intersects(TREE) {
            add(Lint::TreeIgnoredBySystemd);
        }
        if !flags.intersects(ADMITTED) {
            add(Lint::EncryptedOnly);
        } else if flags.intersects(ENCRYPTED) && !flags.contains(Flags::OPEN) {
            add(Lint::Encrypted);
        }
        let systems = flags & Flags::FILE_SYSTEMS;
        if !systems.intersects(MERGED) {
            add(Lint::FileSystemsOnly);
        }
        if systems != Flags::FILE_SYSTEMS && systems.bits().count_ones() > 1 {
            add(Lint::FileSystemsIgnoredBySystemd);
        }
        let on = |group: Flags, on: Flags| flags & group == on;
        if on(Flags::READ_ONLY, Flags::READ_ONLY_ON) || on(Flags::GROWFS, Flags::GROWFS_ON) {
            add(Lint::AttributesOfBare);
        }
    }

    /// A rule for a hash tree or signature against what the data needs.
    fn protector(&mut self, designator: Designator, data: Designator) {
        let needs = self.policy.judged(data) & Flags::USED;
        let is_tree = data.verity() == Some(designator);
        let needed = !needs.is_empty() && if is_tree { TREE } else { Flags::SIGNED }.contains(needs);
        // Without the words that come to nothing.
        let written = self.policy.effective(designator);
        let found = format!("{designator}={}", print_flags(written));
        if needed && !written.contains(Flags::UNPROTECTED) {
            self.add(Lint::ProtectionForbidden, Some(designator), found);
        } else if !is_tree && written.contains(Flags::UNPROTECTED) && self.policy.contradicts(designator) {
            self.add(Lint::SignatureWithoutTree, Some(designator), found);
        }
    }

    /// Words that were written and mean nothing for this partition.
    fn without_effect(&mut self, designator: Designator, written: Flags) {
        let mut idle = (written & Flags::OPEN).difference(written.uses_of(designator));
        if written.contains(Flags::OPEN) {
            idle = Flags::empty();
        }
        let groups = [Flags::READ_ONLY, Flags::GROWFS, Flags::FILE_SYSTEMS];
        for group in groups.into_iter().filter(|group| !written.contains(*group)) {
            if written.at(designator).contains(group) {
                idle |= written & group;
            }
        }
        if !idle.is_empty() {
            self.add(Lint::NoEffect, Some(designator), format!("{designator}={}", idle.words()));
        }
    }
}

#[cfg(test)]
mod tests;
