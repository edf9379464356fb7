//! [`Rule`]: what a policy allows of one partition, put together from typed parts.

use super::Protection;
use super::flags::Flags;
use super::text::{parse_flags, print_flags};
use crate::error::{Corrupt, Result};
use crate::fstype::FsType;
use serde::Serialize;

/// A state of a partition that a rule can allow. The order is by how much is let in: what is not used is strictest.
///
/// ```
/// use confext_ddi::policy::{Rule, Use};
///
/// // Signed, or not there at all.
/// let rule = Rule::only_use(Use::Signed).or(Use::Absent);
/// assert_eq!(rule.uses().collect::<Vec<_>>(), [Use::Signed, Use::Absent]);
/// assert!(!rule.allows(Use::Verity));
/// assert_eq!(Use::from_name("encryptedwithintegrity"), Some(Use::EncryptedWithIntegrity));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Use {
    /// Used without any protection.
    Unprotected,
    /// Used, encrypted (LUKS).
    Encrypted,
    /// Used, encrypted and authenticated (LUKS with integrity).
    EncryptedWithIntegrity,
    /// Used under a hash tree.
    Verity,
    /// Used under a hash tree whose root hash a trusted key signed.
    Signed,
    /// There, but not used.
    Unused,
    /// Not there.
    Absent,
}

impl Use {
    /// All of them, weakest first.
    pub const ALL: [Self; 7] = [
        Self::Unprotected,
        Self::Encrypted,
        Self::EncryptedWithIntegrity,
        Self::Verity,
        Self::Signed,
        Self::Unused,
        Self::Absent,
    ];

    /// Its word in a policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unprotected => "unprotected",
            Self::Encrypted => "encrypted",
            Self::EncryptedWithIntegrity => "encryptedwithintegrity",
            Self::Verity => "verity",
            Self::Signed => "signed",
            Self::Unused => "unused",
            Self::Absent => "absent",
        }
    }

    /// Looks a use up by its word. `open` and `ignore` stand for several: see [`Rule::open`] and [`Rule::ignore`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    const fn flag(self) -> Flags {
        match self {
            Self::Unprotected => Flags::UNPROTECTED,
            Self::Encrypted => Flags::ENCRYPTED,
            Self::EncryptedWithIntegrity => Flags::ENCRYPTED_WITH_INTEGRITY,
            Self::Verity => Flags::VERITY,
            Self::Signed => Flags::SIGNED,
            Self::Unused => Flags::UNUSED,
            Self::Absent => Flags::ABSENT,
        }
    }
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a rule asks of an attribute of a partition.
///
/// ```
/// use confext_ddi::policy::{Attribute, Rule};
///
/// let rule = Rule::signed().read_only(Attribute::On);
/// assert_eq!(rule.to_string(), "signed+read-only-on");
/// assert_eq!(rule.asks_growfs(), Attribute::Any);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Attribute {
    /// Nothing.
    #[default]
    Any,
    /// It must be set.
    On,
    /// It must not be set.
    Off,
}

/// What a policy allows of one partition: some uses, attributes and file systems. Of each one must fit.
///
/// ```
/// use confext_ddi::dps::Designator;
/// use confext_ddi::fstype::FsType;
/// use confext_ddi::policy::{Attribute, Policy, Protection, Rule, Use};
///
/// let root = Rule::least(Protection::Verity).or(Use::Absent).read_only(Attribute::On).only([FsType::Erofs])?;
/// let policy = Policy::otherwise(Rule::absent()).with(Designator::Root, root)?;
/// assert_eq!(policy.to_string(), "root=verity+signed+absent+read-only-on+erofs:=absent");
/// assert!(Rule::signed().is_as_strict_as(&Rule::least(Protection::Verity)));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule(
    /// No group is without a flag.
    pub(super) Flags,
);

impl Rule {
    /// Parses what a policy has behind the equals sign: words joined with `+`. Of a group of which none is named, all are
    /// allowed.
    ///
    /// # Errors
    ///
    /// `policy-flag`.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self(parse_flags(text)?.extended()))
    }

    /// This use and no other; any attributes, any file system.
    #[must_use]
    pub fn only_use(allowed: Use) -> Self {
        Self(allowed.flag().extended())
    }

    /// Signed by a trusted key. The word `signed`.
    #[must_use]
    pub fn signed() -> Self {
        Self::only_use(Use::Signed)
    }

    /// Not there. The word `absent`.
    #[must_use]
    pub fn absent() -> Self {
        Self::only_use(Use::Absent)
    }

    /// There or not, but never used. The word `ignore`.
    #[must_use]
    pub fn ignore() -> Self {
        Self(Flags::IGNORE.extended())
    }

    /// Every use. The word `open`.
    ///
    /// A signature that does not check is refused, as under every rule that names `signed`: a rule without that word
    /// can admit what this one does not.
    #[must_use]
    pub fn open() -> Self {
        Self(Flags::OPEN.extended())
    }

    /// This much protection or more, each by its word: a signature that is there must check, and it has to be there. With
    /// [`Use::Absent`] besides, the hash tree or signature can be missing where the protection is not asked for.
    #[must_use]
    pub fn least(protection: Protection) -> Self {
        let uses = match protection {
            Protection::None => Flags::UNPROTECTED | Flags::VERITY | Flags::SIGNED,
            Protection::Verity => Flags::VERITY | Flags::SIGNED,
            Protection::Signed => Flags::SIGNED,
        };
        Self(uses.extended())
    }

    /// The same, with one more use allowed.
    #[must_use]
    pub fn or(self, allowed: Use) -> Self {
        Self(self.0 | allowed.flag())
    }

    /// The same, with this said of the attribute `read-only` (bit 60 of the partition's flags).
    #[must_use]
    pub fn read_only(self, attribute: Attribute) -> Self {
        self.with(Flags::READ_ONLY, Flags::READ_ONLY_ON, attribute)
    }

    /// The same, with this said of the attribute `growfs` (bit 59 of the partition's flags).
    #[must_use]
    pub fn growfs(self, attribute: Attribute) -> Self {
        self.with(Flags::GROWFS, Flags::GROWFS_ON, attribute)
    }

    /// The same for these file systems and no others; for any, if none is named.
    ///
    /// # Errors
    ///
    /// `policy-flag` for what no policy can name: LUKS and swap are no file systems.
    pub fn only(self, file_systems: impl IntoIterator<Item = FsType>) -> Result<Self> {
        let mut set = Flags::empty();
        for fs_type in file_systems {
            let flag = Flags::of_file_system(fs_type);
            if flag.is_empty() {
                return Err(Corrupt::PolicyFlag { found: fs_type.as_str().to_owned() }.into());
            }
            set |= flag;
        }
        Ok(Self((self.0.difference(Flags::FILE_SYSTEMS) | set).extended()))
    }

    fn with(self, group: Flags, on: Flags, attribute: Attribute) -> Self {
        let set = match attribute {
            Attribute::Any => group,
            Attribute::On => on,
            Attribute::Off => group.difference(on),
        };
        Self(self.0.difference(group) | set)
    }

    /// The uses it allows, weakest first: at least one.
    pub fn uses(&self) -> impl Iterator<Item = Use> + use<> {
        let flags = self.0;
        Use::ALL.into_iter().filter(move |allowed| flags.contains(allowed.flag()))
    }

    /// Whether it allows this use by its word.
    #[must_use]
    pub fn allows(&self, wanted: Use) -> bool {
        self.0.contains(wanted.flag())
    }

    /// What it asks of the attribute `read-only`.
    #[must_use]
    pub fn asks_read_only(&self) -> Attribute {
        self.asks(Flags::READ_ONLY, Flags::READ_ONLY_ON)
    }

    /// What it asks of the attribute `growfs`.
    #[must_use]
    pub fn asks_growfs(&self) -> Attribute {
        self.asks(Flags::GROWFS, Flags::GROWFS_ON)
    }

    fn asks(self, group: Flags, on: Flags) -> Attribute {
        match (self.0.contains(group), self.0.contains(on)) {
            (true, _) => Attribute::Any,
            (false, true) => Attribute::On,
            (false, false) => Attribute::Off,
        }
    }

    /// The file systems it allows, when it does not allow every one.
    #[must_use]
    pub fn file_systems(&self) -> Option<Vec<FsType>> {
        if self.0.contains(Flags::FILE_SYSTEMS) {
            return None;
        }
        let allowed = |fs_type: &FsType| self.0.intersects(Flags::of_file_system(*fs_type));
        Some(FsType::ALL.into_iter().filter(allowed).collect())
    }
}

impl std::str::FromStr for Rule {
    type Err = crate::error::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// Its words, as a policy has them.
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print_flags(self.0))
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rule({self})")
    }
}

impl Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::super::flags::WORDS;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules_are_parsed_and_printed() {
        for (text, printed) in [
            ("", "open"),
            (" - ", "open"),
            ("open", "open"),
            ("signed", "signed"),
            (" signed + verity ", "verity+signed"),
            ("signed+signed", "signed"),
            ("absent+unused", "ignore"),
            ("ignore+signed", "signed+unused+absent"),
            ("read-only-on", "open+read-only-on"),
            ("signed+read-only-on+read-only-off", "signed"),
            ("signed+erofs+growfs-off", "signed+growfs-off+erofs"),
        ] {
            let rule: Rule = text.parse().unwrap();
            assert_eq!(rule.to_string(), printed, "{text}");
            assert_eq!(Policy::otherwise(rule), Policy::parse(&format!("={text}")).unwrap(), "{text}");
        }
    }

    #[test]
    fn a_rule_is_no_policy_and_has_no_word_that_is_unknown() {
        for text in
            ["+", "signed+", "SIGNED", "sign", "*", "~", "root=signed", "=signed", "signed:absent", "luks"]
        {
            assert_eq!(Rule::parse(text).unwrap_err().code(), "policy-flag", "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed_to_the_same(words in prop::sample::subsequence(WORDS.to_vec(), 0..=WORDS.len())) {
            let words: Vec<_> = words.into_iter().map(|(word, _)| word).collect();
            let rule = Rule::parse(&words.join("+")).unwrap();
            prop_assert_eq!(Rule::parse(&rule.to_string()).unwrap(), rule);
        }
    }
}
