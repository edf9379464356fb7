//! A key and its certificate: making signatures.

use super::certificate::{check_key, internal, message_digest, time_t};
use super::{Certificate, DigestAlgorithm, Embed, Fingerprint, Sign, Time, ToSign};
use crate::digest::RootHash;
use crate::error::{Corrupt, Result, ResultExt as _, Unsupported};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectKeyIdentifier};
use openssl::x509::{X509, X509Builder, X509Name};

/// A private key and its certificate, in memory.
///
/// Who can read this process's memory has the key: sign with a hardware token, through [`Sign`], where that matters.
///
/// ```
/// use confext_ddi::signature::{KeyPair, Time};
///
/// let key = KeyPair::generate("vendor", Time::from(std::time::SystemTime::now()), 30)?;
/// let again = KeyPair::from_pem(&key.private_key_pem()?, &key.certificate_pem()?)?;
/// assert_eq!(again.certificate().subject(), "CN=vendor");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Clone)]
pub struct KeyPair {
    key: PKey<Private>,
    certificate: Certificate,
    digest: DigestAlgorithm,
    embed: Embed,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let certificate = &self.certificate;
        f.debug_struct("KeyPair")
            .field("subject", &certificate.subject())
            .field("fingerprint", &certificate.fingerprint())
            .field("digest", &self.digest)
            .field("embed", &self.embed)
            .finish_non_exhaustive()
    }
}

impl KeyPair {
    /// Takes an unencrypted private key and its certificate, each in PEM form and alone in its text.
    ///
    /// # Errors
    ///
    /// `key-pem`, `key-encrypted`, `key-type`, `certificate-pem`, `certificate-count`, `certificate-fields`,
    /// `certificate-time`, `key-mismatch`.
    pub fn from_pem(key_pem: &[u8], certificate_pem: &[u8]) -> Result<Self> {
        let key = parse_key(key_pem).within("key")?;
        let certificate = Certificate::from_pem(certificate_pem).within("certificate")?;
        let certified = certificate.x509.public_key().map_err(internal)?;
        if !certified.public_eq(&key) {
            return Err(Corrupt::KeyMismatch { subject: certificate.subject().to_owned() }.into());
        }
        Ok(Self::new(key, certificate))
    }

    /// Makes a new key (RSA, 2048 bits) and a certificate that it signs itself, valid from `not_before` for `days`.
    ///
    /// For tests and first steps: nobody vouches for such a certificate, and nobody can revoke it. Its holder is
    /// trusted by whoever puts it into a set of certificates, for as long as it is there.
    ///
    /// # Errors
    ///
    /// `certificate-subject`, `certificate-time`.
    pub fn generate(subject: &str, not_before: Time, days: u32) -> Result<Self> {
        let found = subject.chars().count();
        if !(1..=64).contains(&found) {
            return Err(Corrupt::CertificateSubject { found }.into());
        }
        let not_after = not_before.after_days(days).ok_or(Corrupt::CertificateTime)?;
        let validity = (asn1_time(not_before)?, asn1_time(not_after)?);
        let key = Rsa::generate(2048).and_then(PKey::from_rsa).map_err(internal)?;
        let x509 = self_signed(subject, &validity, &key).map_err(internal)?;
        Ok(Self::new(key, Certificate::new(x509)?))
    }

    fn new(key: PKey<Private>, certificate: Certificate) -> Self {
        Self { key, certificate, digest: DigestAlgorithm::Sha256, embed: Embed::default() }
    }

    /// Says what the root hash is digested with. Default: SHA-256.
    #[must_use]
    pub const fn digest(mut self, digest: DigestAlgorithm) -> Self {
        self.digest = digest;
        self
    }

    /// Says what signatures carry.
    #[must_use]
    pub const fn embed(mut self, embed: Embed) -> Self {
        self.embed = embed;
        self
    }

    /// The certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The certificate in PEM form.
    ///
    /// # Errors
    ///
    /// `io` when OpenSSL fails.
    pub fn certificate_pem(&self) -> Result<Vec<u8>> {
        self.certificate.to_pem()
    }

    /// The certificate in DER form, as the kernel's keyrings take it.
    ///
    /// # Errors
    ///
    /// `io` when OpenSSL fails.
    pub fn certificate_der(&self) -> Result<Vec<u8>> {
        self.certificate.to_der()
    }

    /// The private key in PEM form (PKCS#8), not encrypted.
    ///
    /// # Errors
    ///
    /// `io` when OpenSSL fails.
    pub fn private_key_pem(&self) -> Result<Vec<u8>> {
        self.key.private_key_to_pem_pkcs8().map_err(internal)
    }
}

impl Sign for KeyPair {
    fn sign(&self, root_hash: &RootHash) -> Result<Vec<u8>> {
        let to_sign = ToSign::new(root_hash);
        let raw = Signer::new(message_digest(self.digest), &self.key)
            .and_then(|mut signer| signer.sign_oneshot_to_vec(to_sign.content().as_bytes()))
            .map_err(internal)?;
        self.certificate.message(self.digest, &raw, self.embed)
    }

    fn certificate_fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }
}

fn parse_key(pem: &[u8]) -> Result<PKey<Private>> {
    let has = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        return Err(Unsupported::KeyEncrypted.into());
    }
    // Without the callback OpenSSL would ask for a pass phrase on the terminal.
    let key = PKey::private_key_from_pem_callback(pem, |_| Ok(0)).map_err(|_| Corrupt::KeyPem)?;
    check_key(&key)?;
    Ok(key)
}

fn asn1_time(time: Time) -> Result<Asn1Time> {
    let converted = Asn1Time::from_unix(time_t(time).ok_or(Corrupt::CertificateTime)?);
    converted.map_err(|_| Corrupt::CertificateTime.into())
}

fn self_signed(
    subject: &str,
    (not_before, not_after): &(Asn1Time, Asn1Time),
    key: &PKeyRef<Private>,
) -> std::result::Result<X509, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, subject)?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::ONE, false)?;
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*Asn1Integer::from_bn(&serial)?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(not_before)?;
    builder.set_not_after(not_after)?;
    builder.set_pubkey(key)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(identifier)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}
