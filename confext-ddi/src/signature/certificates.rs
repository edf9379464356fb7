//! Checking signatures against a set of certificates.

use super::certificate::{internal, parse_pem, unknown_signer};
use super::{Certificate, SignedData, Signer, Time, ToSign, Verifier};
use crate::digest::RootHash;
use crate::error::{Error, Result, ResultExt as _, Unverified};
use openssl::pkcs7::Pkcs7;

/// A set of certificates whose signatures count.
///
/// A signature checks when the certificate it names, by issuer and serial number, is in this set, its key made the
/// signature, and its validity holds at the moment given. Nothing else counts: no certificate that the signature
/// itself carries, no chain to an authority, no key usage. Each certificate here is trusted for itself.
///
/// Where several certificates of the set have the issuer and serial number that the signature names, each is tried.
#[derive(Debug, Clone)]
pub struct Certificates {
    now: Time,
    set: Vec<Certificate>,
}

impl Certificates {
    /// The empty set, which accepts nothing. `now` is the moment at which certificates have to be valid.
    #[must_use]
    pub const fn new(now: Time) -> Self {
        Self { now, set: Vec::new() }
    }

    /// Adds the one certificate that a PEM text holds.
    ///
    /// A file with more than one is refused: whether the others are to be trusted, too, is not for us to guess. See
    /// [`Certificates::add_pem_bundle`].
    ///
    /// # Errors
    ///
    /// As [`Certificate::from_pem`].
    pub fn add_pem(&mut self, pem: &[u8]) -> Result<()> {
        self.add(Certificate::from_pem(pem)?);
        Ok(())
    }

    /// Adds every certificate that a PEM text holds, and says how many there were.
    ///
    /// # Errors
    ///
    /// `certificate-pem`, `certificate-fields`, `certificate-time`, `key-type`; then none was added.
    pub fn add_pem_bundle(&mut self, pem: &[u8]) -> Result<usize> {
        let found = parse_pem(pem)?.into_iter().map(Certificate::new).collect::<Result<Vec<_>>>()?;
        let count = found.len();
        found.into_iter().for_each(|certificate| self.add(certificate));
        Ok(count)
    }

    /// Adds a certificate in DER form.
    ///
    /// # Errors
    ///
    /// As [`Certificate::from_der`].
    pub fn add_der(&mut self, der: &[u8]) -> Result<()> {
        self.add(Certificate::from_der(der)?);
        Ok(())
    }

    /// Adds a certificate.
    pub fn add(&mut self, certificate: Certificate) {
        if self.set.iter().all(|known| known.fingerprint() != certificate.fingerprint()) {
            self.set.push(certificate);
        }
    }

    /// How many different certificates there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    fn check(&self, root_hash: &RootHash, der: &[u8]) -> Result<Signer> {
        let form = SignedData::parse(der)?;
        if self.set.is_empty() {
            return Err(Unverified::NoCertificates.into());
        }
        // What OpenSSL, and with it systemd, would not read is no signature either.
        Pkcs7::from_der(der)
            .map_err(|_| Unverified::SignatureDer { reason: "a certificate or name in it cannot be read" })?;
        let to_sign = ToSign::new(root_hash);
        let mut refused: Option<Error> = None;
        for certificate in self.set.iter().filter(|certificate| certificate.is_named_by(&form)) {
            let checked = form.algorithm == certificate.algorithm()
                && certificate.signed(&to_sign, form.digest, form.signature).map_err(internal)?;
            let fault = match certificate.validity_fault(self.now) {
                _ if !checked => {
                    Unverified::SignatureMismatch { subject: certificate.subject().to_owned() }
                }
                Some(fault) => fault,
                None => return Ok(certificate.signer()),
            };
            // Of two certificates with the same name, the one whose key made the signature says more.
            if checked || refused.is_none() {
                refused = Some(fault.into());
            }
        }
        Err(refused.unwrap_or_else(|| unknown_signer(&form, self.set.len())))
    }
}

impl Verifier for Certificates {
    fn verify(&self, root_hash: &RootHash, signature_der: &[u8]) -> Result<Signer> {
        self.check(root_hash, signature_der).within("signature")
    }
}

#[cfg(test)]
mod tests;
