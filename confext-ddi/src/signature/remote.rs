//! [`RemoteKey`]: a key that is somewhere else, reached through a callback.

use super::{Certificate, DigestAlgorithm, Embed, Fingerprint, Sign, ToSign};
use crate::digest::RootHash;
use crate::error::Result;

/// A key in a hardware token, a PKCS#11 module or a cloud service: a callback makes the signature, and its answer is
/// checked against the certificate before it is used.
///
/// The callback gets what is to be signed and the digest to use, and returns the signature in one of the forms that
/// [`Certificate::complete`] takes. An error of its own passes through: make one of an [`std::io::Error`].
///
/// # Examples
///
/// ```
/// use confext_ddi::signature::{Certificate, KeyPair, RemoteKey, Sign, Time};
///
/// # fn main() -> confext_ddi::Result<()> {
/// // Stands for the service here; it signs what it is asked to.
/// let service = KeyPair::generate("vendor", Time::from_unix(1_700_000_000), 365)?;
/// let certificate = Certificate::from_pem(&service.certificate_pem()?)?;
/// let root_hash = "a5".repeat(32).parse()?;
/// let key = RemoteKey::new(certificate, |to_sign, _digest| {
///     assert_eq!(to_sign.content(), "a5".repeat(32));
///     service.sign(&root_hash)
/// });
/// assert_eq!(key.sign(&root_hash)?, service.sign(&root_hash)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RemoteKey<F> {
    certificate: Certificate,
    digest: DigestAlgorithm,
    embed: Embed,
    callback: F,
}

impl<F> std::fmt::Debug for RemoteKey<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteKey")
            .field("subject", &self.certificate.subject())
            .field("fingerprint", &self.certificate.fingerprint())
            .field("digest", &self.digest)
            .field("embed", &self.embed)
            .finish_non_exhaustive()
    }
}

impl<F: Fn(&ToSign, DigestAlgorithm) -> Result<Vec<u8>> + Send + Sync> RemoteKey<F> {
    /// The key of this certificate, reached through `callback`.
    pub fn new(certificate: Certificate, callback: F) -> Self {
        Self { certificate, digest: DigestAlgorithm::Sha256, embed: Embed::default(), callback }
    }

    /// Says which digest the callback is asked to use. Default: SHA-256.
    #[must_use]
    pub fn digest(mut self, digest: DigestAlgorithm) -> Self {
        self.digest = digest;
        self
    }

    /// Says what signatures carry.
    #[must_use]
    pub fn embed(mut self, embed: Embed) -> Self {
        self.embed = embed;
        self
    }
}

impl<F: Fn(&ToSign, DigestAlgorithm) -> Result<Vec<u8>> + Send + Sync> Sign for RemoteKey<F> {
    fn sign(&self, root_hash: &RootHash) -> Result<Vec<u8>> {
        let answer = (self.callback)(&ToSign::new(root_hash), self.digest)?;
        self.certificate.complete(root_hash, &answer, self.embed)
    }

    fn certificate_fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }
}
