//! [`CertificateRules`]: what a certificate must be like, besides being trusted.

use crate::error::{Corrupt, Error, Result};

/// Whether a certificate's validity counts.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// use confext_ddi::signature::{CertificateRules, KeyPair, Time, Validity};
///
/// // A certificate of long ago.
/// let key = KeyPair::generate("vendor", Time::from_unix(0), 30)?;
/// let rules = CertificateRules::default();
/// assert_eq!(key.certificate().check(rules, now).unwrap_err().code(), "certificate-expired");
/// assert!(key.certificate().check(rules.validity(Validity::Ignored), now).is_ok());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Validity {
    /// It must hold at the moment that is passed to [`Certificates::new`](super::Certificates::new), both ends included.
    #[default]
    Required,
    /// It is not looked at, as systemd does.
    Ignored,
}

/// Whether what a certificate says its key is for counts.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// use confext_ddi::signature::{CertificateRules, Usage};
///
/// // The certificate does not say what its key is for: enough by default, too little for this rule.
/// let strict = CertificateRules::default().usage(Usage::Required);
/// assert!(key.certificate().check(CertificateRules::default(), now).is_ok());
/// assert_eq!(key.certificate().check(strict, now).unwrap_err().code(), "certificate-usage");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Usage {
    /// A certificate that says what its key is for must say signatures of images: key usage, where it is there, has
    /// `digitalSignature`; extended key usage, where it is there, has `codeSigning` or `anyExtendedKeyUsage`. An unknown
    /// critical extension refuses.
    #[default]
    Compatible,
    /// The same, and both extensions must be there.
    Required,
    /// Extensions are not looked at, as systemd does.
    Ignored,
}

/// Through what a signer is trusted.
///
/// ```
/// use confext_ddi::signature::{CertificateRules, Certificates, Chain, Time};
///
/// // The set holds the certificate of an authority; whoever it certified may sign.
/// let rules = CertificateRules::default().chain(Chain::Issued);
/// let trusted = Certificates::new(Time::from_unix(1_700_000_000)).rules(rules);
/// assert_eq!(rules.to_string(), "validity=required,usage=compatible,chain=issued");
/// assert!(trusted.is_empty());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Chain {
    /// The signer's certificate itself is in the set, byte for byte. What the signature carries does not count, and
    /// whether the certificate may issue others makes no difference.
    #[default]
    Pinned,
    /// As before, or the signature carries the signer's certificate and a certificate of the set issued it directly.
    ///
    /// The issuer must be an authority (basic constraints, and key usage where it is there) and valid at the moment, the
    /// signer's certificate must not be one. There is no intermediate authority and no revocation. systemd accepts such
    /// images only when the kernel does; its own check wants the signer's certificate itself.
    Issued,
}

/// What a certificate must be like, besides being trusted.
///
/// *Layout* of the text: `validity=required|ignored`, `usage=compatible|required|ignored`, `chain=pinned|issued`, joined
/// with commas, each at most once; what is not named is as by default, the first of each list.
///
/// *Spec*: RFC 5280 section 4.1.2.5 (validity), 4.2.1.3 (key usage), 4.2.1.9 (basic constraints), 4.2.1.12 (extended key
/// usage).
///
/// ```
/// use confext_ddi::signature::{CertificateRules, Chain, Usage, Validity};
///
/// let rules = CertificateRules::parse("usage=required,chain=issued")?;
/// assert_eq!((rules.usage, rules.chain), (Usage::Required, Chain::Issued));
/// // What is not named is strict.
/// assert_eq!(rules.validity, Validity::Required);
/// assert_eq!(CertificateRules::parse("usage=any").unwrap_err().code(), "certificate-rules");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct CertificateRules {
    /// Whether validity counts. Default: it must hold.
    pub validity: Validity,
    /// Whether usage counts. Default: it must not be for something else.
    pub usage: Usage,
    /// Through what a signer is trusted. Default: its certificate itself.
    pub chain: Chain,
}

const VALIDITY: [(&str, Validity); 2] = [("required", Validity::Required), ("ignored", Validity::Ignored)];
const USAGE: [(&str, Usage); 3] =
    [("compatible", Usage::Compatible), ("required", Usage::Required), ("ignored", Usage::Ignored)];
const CHAIN: [(&str, Chain); 2] = [("pinned", Chain::Pinned), ("issued", Chain::Issued)];

impl CertificateRules {
    /// Parses rules like `usage=required,chain=issued`. The empty text is the default.
    ///
    /// # Errors
    ///
    /// `certificate-rules`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut rules = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for rule in text.split(',').filter(|_| !text.is_empty()) {
            let wrong = || Error::from(Corrupt::CertificateRules { found: rule.chars().take(80).collect() });
            let (key, value) = rule.split_once('=').ok_or_else(wrong)?;
            if seen.contains(&key) {
                return Err(wrong());
            }
            seen.push(key);
            match key {
                "validity" => rules.validity = choose(&VALIDITY, value).ok_or_else(wrong)?,
                "usage" => rules.usage = choose(&USAGE, value).ok_or_else(wrong)?,
                "chain" => rules.chain = choose(&CHAIN, value).ok_or_else(wrong)?,
                _ => return Err(wrong()),
            }
        }
        Ok(rules)
    }

    /// Sets whether validity counts.
    #[must_use]
    pub const fn validity(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// Sets whether usage counts.
    #[must_use]
    pub const fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Sets through what a signer is trusted.
    #[must_use]
    pub const fn chain(mut self, chain: Chain) -> Self {
        self.chain = chain;
        self
    }
}

fn choose<T: Copy>(words: &[(&str, T)], word: &str) -> Option<T> {
    words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
}

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

impl std::fmt::Display for CertificateRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (validity, usage) = (word(&VALIDITY, self.validity), word(&USAGE, self.usage));
        write!(f, "validity={validity},usage={usage},chain={}", word(&CHAIN, self.chain))
    }
}

impl std::str::FromStr for CertificateRules {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl serde::Serialize for CertificateRules {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses() {
        for (_, validity) in VALIDITY {
            for (_, usage) in USAGE {
                for (_, chain) in CHAIN {
                    let rules = CertificateRules { validity, usage, chain };
                    assert_eq!(rules.to_string().parse::<CertificateRules>().unwrap(), rules);
                }
            }
        }
        assert_eq!(CertificateRules::parse("").unwrap(), CertificateRules::default());
        let rules = CertificateRules::parse("chain=issued,validity=ignored").unwrap();
        assert_eq!(rules, CertificateRules::default().chain(Chain::Issued).validity(Validity::Ignored));
    }

    #[test]
    fn nothing_unknown_is_ignored() {
        for text in [
            "chain",
            "chain=",
            "chain=any",
            "Chain=issued",
            "depth=2",
            "chain=issued,",
            ",chain=issued",
            "chain=issued, usage=required",
            "chain=issued,chain=issued",
            "usage=ignored,usage=required",
        ] {
            assert_eq!(CertificateRules::parse(text).unwrap_err().code(), "certificate-rules", "{text}");
        }
    }
}
