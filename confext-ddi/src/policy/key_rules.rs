//! [`KeyRules`]: which signer may sign which images.

use super::{Admitted, Evidence};
use crate::error::{Corrupt, Error, LimitExceeded, Refused, Result, ResultExt as _};
use crate::limits::Limits;
use crate::read::ReadAt;
use crate::release::{Class, Strictness};
use crate::signature::{Fingerprint, Signer};
use crate::version;
use std::cmp::Ordering;

/// The field of a release file that says which version an image is.
const VERSION_KEY: &str = "IMAGE_VERSION";

/// How a version is compared with that of a rule.
///
/// ```
/// use confext_ddi::policy::Comparison;
///
/// assert_eq!(Comparison::split(">=1.2"), Some((Comparison::GreaterOrEqual, "1.2")));
/// assert_eq!(Comparison::split("1.2"), None);
/// assert_eq!(Comparison::Less.as_str(), "<");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `<`: older.
    Less,
    /// `<=`: older, or as new.
    LessOrEqual,
    /// `=`: as new.
    Equal,
    /// `>=`: newer, or as new.
    GreaterOrEqual,
    /// `>`: newer.
    Greater,
}

impl Comparison {
    /// Longer signs first: `<=` starts with `<`.
    const SIGNS: [(&str, Self); 5] = [
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("<", Self::Less),
        (">", Self::Greater),
        ("=", Self::Equal),
    ];

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Equal => ordering.is_eq(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Greater => ordering.is_gt(),
        }
    }

    /// Its sign.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::SIGNS.iter().find(|(_, known)| *known == self).map_or("", |(sign, _)| sign)
    }

    /// Takes a demand like `>=1.2` apart; `None` when it does not start with a sign. Nothing is said of the version.
    #[must_use]
    pub fn split(demand: &str) -> Option<(Self, &str)> {
        Self::SIGNS.iter().find_map(|(sign, kind)| Some((*kind, demand.strip_prefix(sign)?)))
    }
}

/// What one signer may sign: images of these names, classes and versions.
///
/// ```
/// use confext_ddi::policy::{Comparison, KeyRule};
/// use confext_ddi::{release::Class, signature::Fingerprint};
///
/// // The team of `web` may sign its own configuration, from version 2 on.
/// let team = Fingerprint::from_bytes([0x5a; 32]);
/// let rule = KeyRule::new(team, "web-*")?.class(Class::Confext);
/// let rule = rule.version(Comparison::GreaterOrEqual, "2")?;
/// assert_eq!((rule.names(), rule.only_class()), (&["web-*".to_owned()][..], Some(Class::Confext)));
/// assert_eq!(KeyRule::new(team, "a/b").unwrap_err().code(), "key-rule");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRule {
    signer: Fingerprint,
    names: Vec<String>,
    class: Option<Class>,
    versions: Vec<(Comparison, String)>,
}

impl KeyRule {
    /// A rule for the signer with this certificate: images whose name matches `name`, of both classes, of any version.
    ///
    /// In `name`, `*` stands for any characters, also none, and `?` for one. The rest are letters, digits and the other
    /// characters of names.
    ///
    /// # Errors
    ///
    /// `key-rule` when the pattern is empty or has other characters.
    pub fn new(signer: Fingerprint, name: &str) -> Result<Self> {
        Self { signer, names: Vec::new(), class: None, versions: Vec::new() }.name(name)
    }

    /// Allows another name, too.
    ///
    /// # Errors
    ///
    /// As [`KeyRule::new`].
    pub fn name(mut self, pattern: &str) -> Result<Self> {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b'/' | b'#');
        if pattern.is_empty() || !pattern.bytes().all(allowed) {
            return Err(wrong("pattern", pattern, "a name of printable ASCII, with * and ?"));
        }
        self.names.push(pattern.to_owned());
        Ok(self)
    }

    /// Allows images of this class only.
    #[must_use]
    pub const fn class(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    /// Demands a version, too. The version of an image is `IMAGE_VERSION` of its release file, which the signature
    /// covers; that of its file name, which anybody can change, does not count. Versions compare as UAPI.10 has it. All
    /// demands of a rule must hold.
    ///
    /// # Errors
    ///
    /// `key-rule` when it is no version that may stand in a file name.
    pub fn version(mut self, comparison: Comparison, version: &str) -> Result<Self> {
        if !version::is_valid(version) {
            return Err(wrong("version", version, "a version of letters, digits and . - ~ ^"));
        }
        self.versions.push((comparison, version.to_owned()));
        Ok(self)
    }

    /// Whose rule it is.
    #[must_use]
    pub const fn signer(&self) -> &Fingerprint {
        &self.signer
    }

    /// The patterns of names, of which one must match.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The class that is allowed, when it is only one.
    #[must_use]
    pub const fn only_class(&self) -> Option<Class> {
        self.class
    }

    /// What is demanded of the version.
    #[must_use]
    pub fn versions(&self) -> &[(Comparison, String)] {
        &self.versions
    }

    fn is_about(&self, signer: &Signer, name: &str, class: Class) -> bool {
        signer.fingerprint == Some(self.signer)
            && self.class.is_none_or(|own| own == class)
            && self.names.iter().any(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
    }

    fn allows_version(&self, found: Option<&str>) -> bool {
        let holds = |(comparison, wanted): &(Comparison, String)| {
            found.is_some_and(|found| comparison.holds(version::compare(found, wanted)))
        };
        self.versions.iter().all(holds)
    }
}

/// Which signer may sign which images.
///
/// Without rules every trusted certificate may sign every image. With rules a trusted signer signs only what a rule of
/// its own allows, and an image whose signature was not checked is refused, whatever the policy says: else who is not
/// allowed to sign would only have to leave the signature out.
///
/// *Layout* of the text: one rule a line, fields joined with spaces; empty lines and lines that start with `#` are passed
/// over.
///
/// ```text
/// signer=FINGERPRINT name=PATTERN[,PATTERN…] [class=confext|sysext] [version=COMPARISON[,COMPARISON…]]
/// ```
///
/// `FINGERPRINT` is the SHA-256 of the signer's certificate, 64 lower-case hex digits; `COMPARISON` one of `<`, `<=`, `=`,
/// `>=`, `>` and a version. Nothing unknown is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct KeyRules {
    rules: Vec<KeyRule>,
}

impl KeyRules {
    /// No rule: nobody may sign anything.
    #[must_use]
    pub const fn new() -> Self {
        Self { rules: Vec::new() }
    }

    /// Adds a rule. An image is allowed when one rule allows it.
    #[must_use]
    pub fn rule(mut self, rule: KeyRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Parses the text of a file with rules.
    ///
    /// # Errors
    ///
    /// `key-rule` with the line; `limit-bytes`.
    pub fn parse(text: &[u8], limits: &Limits) -> Result<Self> {
        let (found, most) = (u64::try_from(text.len()).unwrap_or(u64::MAX), limits.key_rules_bytes);
        if found > most {
            return Err(LimitExceeded::Bytes { what: "key rules", found, most }.into());
        }
        let text = std::str::from_utf8(text).map_err(|_| wrong("text", "other bytes", "UTF-8"))?;
        let mut rules = Vec::new();
        for (line, number) in text.lines().zip(1_u64..) {
            let line = line.trim_matches([' ', '\t']);
            if !line.is_empty() && !line.starts_with('#') {
                rules.push(parse_rule(line, number)?);
            }
        }
        Ok(Self { rules })
    }

    /// The rules, in their order.
    #[must_use]
    pub fn rules(&self) -> &[KeyRule] {
        &self.rules
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule, so that nobody may sign anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Lets an admitted image pass that is to be used as the extension `name` of this class, when one of its signers may
    /// sign it; that one is its signer from then on.
    ///
    /// # Errors
    ///
    /// `key-rules-unsigned` when no signature was checked; `key-rules` when no rule allows what its signers signed;
    /// `key-rules-version` when rules would allow it if it said its version. Where rules ask for a version, as
    /// [`Admitted::release`] reports.
    pub fn admit<R: ReadAt>(
        &self,
        admitted: Admitted<R>,
        name: &str,
        class: Class,
        strictness: Strictness,
    ) -> Result<Admitted<R>> {
        if let Evidence::None | Evidence::Verity { .. } = admitted.evidence() {
            let found = admitted.evidence().protection().as_str();
            return Err(Refused::KeyRulesUnsigned { found }.into());
        }
        let about = |signer: &Signer| self.rules.iter().any(|rule| rule.is_about(signer, name, class));
        let candidates: Vec<&Signer> = admitted.signers().iter().filter(|signer| about(signer)).collect();
        let refuse = |version: &str| {
            let of = |signer: &Signer| {
                self.rules.iter().filter(|rule| signer.fingerprint == Some(rule.signer)).count()
            };
            let rules = admitted.signers().iter().map(of).fold(0_usize, usize::saturating_add);
            let subjects: Vec<&str> =
                admitted.signers().iter().map(|signer| signer.subject.as_str()).collect();
            Refused::KeyRules {
                subject: subjects.join("; "),
                found: format!("{class} {name:?}{version}"),
                rules,
            }
        };
        if candidates.is_empty() {
            return Err(refuse("").into());
        }
        // Only now: without a demand for a version nothing of the image has to be read.
        let allowed = |version: Option<&str>| {
            let allows = |signer: &Signer| {
                self.rules
                    .iter()
                    .any(|rule| rule.is_about(signer, name, class) && rule.allows_version(version))
            };
            candidates.iter().find(|signer| allows(signer)).map(|signer| (*signer).clone())
        };
        let signer = match allowed(None) {
            Some(signer) => signer,
            None => {
                let found = admitted.release(class, name, strictness)?;
                let version = found.release.get_filled(VERSION_KEY);
                match (allowed(version), version) {
                    (Some(signer), _) => signer,
                    (None, Some(version)) => {
                        return Err(refuse(&format!(" of version {version:?}")).into());
                    }
                    (None, None) => {
                        let path = String::from_utf8_lossy(&found.path).into_owned();
                        return Err(Refused::KeyRulesVersion { key: VERSION_KEY }).within(path);
                    }
                }
            }
        };
        Ok(admitted.with_signer(signer))
    }
}

fn wrong(place: impl Into<String>, found: &str, expected: &'static str) -> Error {
    Corrupt::KeyRule { place: place.into(), found: found.chars().take(80).collect(), expected }.into()
}

fn parse_rule(line: &str, number: u64) -> Result<KeyRule> {
    let wrong = |found: &str, expected| wrong(format!("line {number}"), found, expected);
    let (mut signer, mut names, mut class, mut versions) = (None, None, None, None);
    for field in line.split([' ', '\t']).filter(|field| !field.is_empty()) {
        let (key, value) = field.split_once('=').ok_or_else(|| wrong(field, "KEY=VALUE"))?;
        let place = match key {
            "signer" => &mut signer,
            "name" => &mut names,
            "class" => &mut class,
            "version" => &mut versions,
            _ => return Err(wrong(key, "signer, name, class or version")),
        };
        if place.replace(value).is_some() {
            return Err(wrong(key, "each key once"));
        }
    }
    let signer = signer.ok_or_else(|| wrong("no signer", "signer="))?;
    let signer = Fingerprint::parse(signer)
        .ok_or_else(|| wrong(signer, "the SHA-256 of a certificate, 64 lower-case hex digits"))?;
    let mut rule = KeyRule { signer, names: Vec::new(), class: None, versions: Vec::new() };
    // The parts know nothing of lines.
    for pattern in names.ok_or_else(|| wrong("no name", "name="))?.split(',') {
        rule = rule.name(pattern).map_err(|_| wrong(pattern, "a name of printable ASCII, with * and ?"))?;
    }
    if let Some(word) = class {
        let known = [Class::Confext, Class::Sysext].into_iter().find(|known| known.as_str() == word);
        rule = rule.class(known.ok_or_else(|| wrong(word, "confext or sysext"))?);
    }
    for demand in versions.into_iter().flat_map(|text: &str| text.split(',')) {
        let found = Comparison::split(demand);
        let (comparison, version) = found.ok_or_else(|| wrong(demand, "<, <=, =, >= or > and a version"))?;
        rule = rule
            .version(comparison, version)
            .map_err(|_| wrong(demand, "a version of letters, digits and . - ~ ^"))?;
    }
    Ok(rule)
}

/// Whether a name matches a pattern. Takes a time of the product of their lengths at most: after a mismatch only the last
/// `*` is tried again.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern_at, mut name_at) = (0_usize, 0_usize);
    // Where the last star is, and up to where of the name it reaches.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(name_at) {
        match pattern.get(pattern_at) {
            Some(b'*') => {
                star = Some((pattern_at, name_at));
                pattern_at = pattern_at.saturating_add(1);
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                pattern_at = pattern_at.saturating_add(1);
                name_at = name_at.saturating_add(1);
            }
            _ => {
                let Some((at, reach)) = star else { return false };
                let reach = reach.saturating_add(1);
                star = Some((at, reach));
                pattern_at = at.saturating_add(1);
                name_at = reach;
            }
        }
    }
    pattern.get(pattern_at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

impl std::fmt::Display for KeyRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "signer={} name={}", self.signer, self.names.join(","))?;
        if let Some(class) = self.class {
            write!(f, " class={class}")?;
        }
        for (at, (comparison, version)) in self.versions.iter().enumerate() {
            write!(f, "{}{}{version}", if at == 0 { " version=" } else { "," }, comparison.as_str())?;
        }
        Ok(())
    }
}

/// One rule a line, as [`KeyRules::parse`] reads them.
impl std::fmt::Display for KeyRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rules.iter().try_for_each(|rule| writeln!(f, "{rule}"))
    }
}

#[cfg(test)]
mod tests;
