//! What an image says of its own protection.

use crate::digest::RootHash;
use crate::signature::Fingerprint;
use serde::Serialize;

/// What an image says of its own protection. Nothing in it was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Claim {
    /// No hash tree.
    None,
    /// A hash tree, but no signature of its root hash.
    #[non_exhaustive]
    Verity {
        /// Put together from the identifiers of the two partitions.
        root_hash: RootHash,
    },
    /// A hash tree and a signature of its root hash.
    #[non_exhaustive]
    Signed {
        /// As the signature partition names it.
        root_hash: RootHash,
        /// PKCS#7 in DER form.
        #[serde(skip)]
        signature_der: Vec<u8>,
        /// Of the certificate, as the signature partition names it.
        fingerprint: Option<Fingerprint>,
    },
}

impl Claim {
    /// The root hash that is claimed.
    #[must_use]
    pub const fn root_hash(&self) -> Option<&RootHash> {
        match self {
            Self::None => None,
            Self::Verity { root_hash } | Self::Signed { root_hash, .. } => Some(root_hash),
        }
    }
}
