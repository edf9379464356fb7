//! Signatures of root hashes: signature partition, PKCS#7 check and making.

use crate::digest::RootHash;
use crate::error::Result;
use serde::Serialize;

#[cfg(feature = "openssl")]
mod certificate;
#[cfg(feature = "openssl")]
mod certificates;
mod cms;
mod der;
mod json;
#[cfg(feature = "openssl")]
mod key;
#[cfg(feature = "openssl")]
mod probe;
#[cfg(feature = "openssl")]
mod public_key;
#[cfg(feature = "openssl")]
mod remote;
mod rules;
#[cfg(test)]
#[cfg(feature = "openssl")]
mod sample;
mod source;
mod time;
mod to_sign;
#[cfg(feature = "openssl")]
mod x509;

#[cfg(feature = "openssl")]
pub use certificate::Certificate;
#[cfg(feature = "openssl")]
pub use certificates::Certificates;
pub use cms::{DigestAlgorithm, SignatureAlgorithm, SignedData};
pub use json::{AdditionalSignature, Json};
#[cfg(feature = "openssl")]
pub use key::KeyPair;
#[cfg(feature = "openssl")]
pub use probe::Probe;
#[cfg(feature = "openssl")]
pub use remote::RemoteKey;
pub use rules::{CertificateRules, Chain, Usage, Validity};
pub use source::TrustSource;
pub use time::Time;
pub use to_sign::{Embed, ToSign};

/// The SHA-256 of a certificate in DER form.
///
/// ```
/// use confext_ddi::signature::Fingerprint;
///
/// let text = "5a".repeat(32);
/// let fingerprint = Fingerprint::parse(&text);
/// assert_eq!(fingerprint, Some(Fingerprint::from_bytes([0x5a; 32])));
/// assert_eq!(fingerprint.map(|known| known.to_string()), Some(text));
/// assert_eq!(Fingerprint::parse("5A:5A"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Takes the digest's bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 64 lower-case hex digits, nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == 64 && digits).then_some(())?;
        const_hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&const_hex::encode(self.0))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whose signature was checked: only a [`Verifier`] makes one.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.build(&mut image, Some(&key))?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::image::{self, Image};
/// use confext_ddi::{policy::Policy, signature::{Certificate, Certificates, TrustSource}};
///
/// let mut trusted = Certificates::new(now);
/// trusted.add(Certificate::from_pem(&key.certificate_pem()?)?);
/// let image = Image::open(bytes, &image::Options::default())?;
/// let admitted = Policy::signed().judge(image, Some(&trusted))?;
/// let signer = admitted.evidence().signer().ok_or("the policy asks for one")?;
/// assert_eq!((signer.subject.as_str(), &signer.source), ("CN=vendor", &TrustSource::Caller));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Signer {
    /// The certificate's subject, one line, like `CN=vendor`. Where nobody has the certificate, by what the kernel found
    /// the key: `issuer CN=vendor, serial number 07`.
    pub subject: String,
    /// SHA-256 of the certificate. `None` where nobody has the certificate: the kernel does not hand out what is in its
    /// keyrings.
    pub fingerprint: Option<Fingerprint>,
    /// Start of the certificate's validity, seconds since 1970; `None` where nobody has the certificate.
    pub not_before: Option<i64>,
    /// End of the certificate's validity, seconds since 1970; `None` where nobody has the certificate.
    pub not_after: Option<i64>,
    /// Where it is said that this signer counts.
    pub source: TrustSource,
}

/// Something that knows whose signatures count.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.build(&mut image, Some(&key))?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::image::{self, Image};
/// use confext_ddi::signature::{Certificate, Certificates, Signer, Verifier};
/// use confext_ddi::{Result, RootHash, policy::Policy};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// /// Asks another verifier, and counts for whom it spoke.
/// struct Counted<V>(V, AtomicU32);
///
/// impl<V: Verifier> Verifier for Counted<V> {
///     fn verify(&self, root_hash: &RootHash, signature_der: &[u8]) -> Result<Signer> {
///         let signer = self.0.verify(root_hash, signature_der)?;
///         self.1.fetch_add(1, Ordering::Relaxed);
///         Ok(signer)
///     }
/// }
///
/// # let mut trusted = Certificates::new(now);
/// # trusted.add(Certificate::from_pem(&key.certificate_pem()?)?);
/// let counted = Counted(trusted, AtomicU32::new(0));
/// let image = Image::open(bytes, &image::Options::default())?;
/// Policy::signed().judge(image, Some(&counted))?;
/// assert_eq!(counted.1.into_inner(), 1);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
pub trait Verifier: Send + Sync {
    /// Checks a detached PKCS#7 signature (DER) over the lower-case hex of `root_hash` and says who made it.
    ///
    /// # Errors
    ///
    /// A fault of the family `unverified` that names what did not check; never `Ok` for an unknown signer.
    fn verify(&self, root_hash: &RootHash, signature_der: &[u8]) -> Result<Signer>;
}

/// Something that makes signatures of root hashes.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// use confext_ddi::signature::{Certificate, Certificates, Sign, Verifier};
/// use confext_ddi::RootHash;
///
/// /// Takes the first step of every signing: here a key in memory, elsewhere a token.
/// fn release(root_hash: &RootHash, signer: &dyn Sign) -> confext_ddi::Result<Vec<u8>> {
///     println!("{} signs {root_hash}", signer.certificate_fingerprint());
///     signer.sign(root_hash)
/// }
///
/// let root_hash = RootHash::from_bytes([0xa5; 32]);
/// let signature = release(&root_hash, &key)?;
/// let mut trusted = Certificates::new(now);
/// trusted.add(Certificate::from_pem(&key.certificate_pem()?)?);
/// assert_eq!(trusted.verify(&root_hash, &signature)?.fingerprint, Some(key.certificate_fingerprint()));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
pub trait Sign: Send + Sync {
    /// Makes a detached PKCS#7 signature (DER, no signed attributes) over the lower-case hex of `root_hash`.
    ///
    /// # Errors
    ///
    /// As the key's owner reports them.
    fn sign(&self, root_hash: &RootHash) -> Result<Vec<u8>>;

    /// The fingerprint of the certificate that goes with the key.
    fn certificate_fingerprint(&self) -> Fingerprint;
}
