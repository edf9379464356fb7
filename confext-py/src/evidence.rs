//! What was checked of an image, and what an image only says of itself.

use confext_core::state::{Checked, SignedBy};
use confext_ddi::{image, policy, signature};

use crate::record::{Tuple, record};

record! {
    /// Whose signature was checked.
    Signer {
        /// The certificate's subject, like `CN=vendor`; issuer and serial number where nobody has the certificate.
        subject: String,
        /// SHA-256 of the certificate, in hex; `None` where nobody has the certificate of a kernel's key.
        fingerprint: Option<String>,
        /// Start of the certificate's validity, seconds since 1970; `None` as above.
        not_before: Option<i64>,
        /// End of the certificate's validity, seconds since 1970; `None` as above.
        not_after: Option<i64>,
        /// Where it is said that this signer counts.
        source: TrustSource,
    }
}

record! {
    /// Where it is said that a signer's signatures count.
    TrustSource {
        /// `caller`, `file` or `keyring`.
        kind: &'static str,
        /// Of a file: its path, inside the root.
        path: Option<String>,
        /// Of a keyring: its description, like `.secondary_trusted_keys`.
        keyring: Option<String>,
        /// Of a keyring: the description of the key in it.
        key: Option<String>,
    }
}

impl From<&signature::TrustSource> for TrustSource {
    fn from(source: &signature::TrustSource) -> Self {
        let none = Self { kind: "caller", path: None, keyring: None, key: None };
        match source {
            signature::TrustSource::File { path } => Self { kind: "file", path: Some(path.clone()), ..none },
            signature::TrustSource::Keyring { keyring, key } => {
                Self { kind: "keyring", keyring: Some(keyring.clone()), key: Some(key.clone()), ..none }
            }
            _ => none,
        }
    }
}

record! {
    /// What was checked.
    Evidence {
        /// `none`, `verity` or `signed`.
        kind: &'static str,
        /// The top of the hash tree, in hex, unless nothing was checked.
        root_hash: Option<String>,
        /// Whose signature was checked, when one was.
        signer: Option<Signer>,
    }
}

record! {
    /// What an image says of its own protection. Nothing of it was checked.
    Claim {
        /// `none`, `verity` or `signed`.
        kind: &'static str,
        /// The top of the hash tree, in hex.
        root_hash: Option<String>,
        /// Of the certificate, as the signature partition names it, in hex.
        fingerprint: Option<String>,
        /// Of the certificates of further signatures, in hex; `None` where one does not say.
        additional: Tuple<Option<String>>,
    }
}

impl From<&signature::Signer> for Signer {
    fn from(signer: &signature::Signer) -> Self {
        Self {
            subject: signer.subject.clone(),
            fingerprint: signer.fingerprint.map(|known| known.to_string()),
            not_before: signer.not_before,
            not_after: signer.not_after,
            source: TrustSource::from(&signer.source),
        }
    }
}

impl From<&SignedBy> for Signer {
    fn from(signer: &SignedBy) -> Self {
        Self {
            subject: signer.subject.clone(),
            fingerprint: signer.fingerprint.clone(),
            not_before: signer.not_before,
            not_after: signer.not_after,
            source: TrustSource::from(&signer.source),
        }
    }
}

impl From<&policy::Evidence> for Evidence {
    fn from(evidence: &policy::Evidence) -> Self {
        let (root_hash, signer) = (evidence.root_hash(), evidence.signer());
        let kind = match evidence {
            policy::Evidence::None => "none",
            policy::Evidence::Verity { .. } => "verity",
            policy::Evidence::Signed { .. } => "signed",
        };
        Self { kind, root_hash: root_hash.map(|hash| hash.to_hex()), signer: signer.map(Signer::from) }
    }
}

impl From<&Checked> for Evidence {
    fn from(checked: &Checked) -> Self {
        let (kind, signer) = match checked {
            Checked::None => ("none", None),
            Checked::Verity { .. } => ("verity", None),
            Checked::Signed { by, .. } => ("signed", Some(Signer::from(by))),
        };
        Self { kind, root_hash: checked.root_hash().map(|hash| hash.to_hex()), signer }
    }
}

impl From<&image::Claim> for Claim {
    fn from(claim: &image::Claim) -> Self {
        let (kind, fingerprint, additional) = match claim {
            image::Claim::None => ("none", None, &[][..]),
            image::Claim::Verity { .. } => ("verity", None, &[][..]),
            image::Claim::Signed { fingerprint, additional, .. } => {
                ("signed", fingerprint.as_ref(), additional.as_slice())
            }
        };
        let text = |other: &signature::AdditionalSignature| {
            other.certificate_fingerprint.as_ref().map(ToString::to_string)
        };
        Self {
            kind,
            root_hash: claim.root_hash().map(|hash| hash.to_hex()),
            fingerprint: fingerprint.map(ToString::to_string),
            additional: Tuple(additional.iter().map(text).collect()),
        }
    }
}
