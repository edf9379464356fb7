//! [`ToSign`]: the exact bytes a signature of an image is made over.

use super::DigestAlgorithm;
use crate::digest::RootHash;
use sha2::Digest as _;

/// What has to be signed, for keys that are somewhere else.
///
/// A signature of an image is made over the lower-case hex text of its root hash, without a line break, not over the
/// root hash's bytes. Tools that sign content take [`ToSign::content`]; interfaces of hardware and clouds that sign a
/// digest take [`ToSign::digest`].
///
/// ```
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class, signature::*};
/// # let now = Time::from(std::time::SystemTime::now());
/// # let key = KeyPair::generate("vendor", now, 30)?;
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # let mut bytes = std::io::Cursor::new(Vec::new());
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).build(&mut bytes, Some(&key))?;
/// # let bytes = bytes.into_inner();
/// # let mut trusted = Certificates::new(now);
/// # trusted.add_pem(&key.certificate_pem()?)?;
///
/// // The text that a service elsewhere signs: it stands for every byte of the image.
/// let image = Image::open(bytes.as_slice(), &image::Options::default())?;
/// let admitted = Policy::signed().judge(image, Some(&trusted))?;
/// let root_hash = admitted.root_hash().ok_or("signed images have one")?;
/// assert_eq!(ToSign::new(root_hash).content().len(), 64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ToSign {
    content: String,
}

impl ToSign {
    /// What has to be signed for this root hash.
    #[must_use]
    pub fn new(root_hash: &RootHash) -> Self {
        Self { content: root_hash.to_hex() }
    }

    /// The content: lower-case hex digits, two for each byte of the root hash.
    #[must_use]
    pub fn content(&self) -> &str {
        &self.content
    }

    /// The digest of the content: 32, 48 or 64 bytes.
    #[must_use]
    pub fn digest(&self, algorithm: DigestAlgorithm) -> Vec<u8> {
        match algorithm {
            DigestAlgorithm::Sha256 => sha2::Sha256::digest(&self.content).to_vec(),
            DigestAlgorithm::Sha384 => sha2::Sha384::digest(&self.content).to_vec(),
            DigestAlgorithm::Sha512 => sha2::Sha512::digest(&self.content).to_vec(),
        }
    }
}

/// What a signature carries besides itself. Whoever checks it uses certificates of their own either way.
///
/// ```
/// # let now = confext_ddi::signature::Time::from(std::time::SystemTime::now());
/// # let key = confext_ddi::signature::KeyPair::generate("vendor", now, 30)?;
/// use confext_ddi::signature::{Embed, Sign as _, SignedData};
///
/// // Who checks the signature has the certificate anyway: the smallest form does.
/// let root_hash = "a5".repeat(32).parse()?;
/// let whole = key.sign(&root_hash)?;
/// let small = key.embed(Embed::Nothing).sign(&root_hash)?;
/// assert!(small.len() < whole.len());
/// assert!(SignedData::parse_with_certificates(&small)?.1.is_empty());
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Embed {
    /// The signer's certificate, as systemd-repart writes it.
    #[default]
    Certificate,
    /// Nothing: the smallest form, as `openssl smime -sign -nocerts` writes it.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_signed_not_the_bytes() {
        let to_sign = ToSign::new(&RootHash::from_bytes([0xa5; 32]));
        assert_eq!(to_sign.content(), "a5".repeat(32));
        // printf %s a5a5… | sha256sum, sha384sum, sha512sum
        let expected = [
            "6eaea290aba480e118080ad627adff12fee3152d396b1f90807c6b527d4ac91f",
            "1054d6b0674573da479069d5cdc615ac94add527a077b6b7dea097264c8103ccd264d78a026b6de71fbe5cdae7f743c3",
            "5db60121e1dc9716be0600a09deddcb63252e8fadf741f27d6a9393bb013174c45d241dfbdcd4b00b8dbc6e08896d8756b18864816c387f1c89c0513dc451c1c",
        ];
        for (algorithm, expected) in DigestAlgorithm::ALL.into_iter().zip(expected) {
            assert_eq!(const_hex::encode(to_sign.digest(algorithm)), expected, "{algorithm:?}");
        }
    }
}
