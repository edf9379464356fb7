//! Hash algorithms, root hashes and salts, with hex in and out.

use crate::error::{Corrupt, Result, Unsupported};
use sha2::Digest as _;

/// A hash algorithm that hash trees are made with.
///
/// ```
/// use confext_ddi::digest::HashAlgorithm;
///
/// assert_eq!(HashAlgorithm::parse("sha256")?.digest_bytes(), 32);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// SHA-1, digests of 20 bytes. Collisions of it can be made; for images that exist already.
    Sha1,
    /// SHA-224, digests of 28 bytes.
    Sha224,
    /// SHA-256, digests of 32 bytes: what every tool uses by default.
    Sha256,
    /// SHA-384, digests of 48 bytes.
    Sha384,
    /// SHA-512, digests of 64 bytes.
    Sha512,
}

impl HashAlgorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Looks the algorithm up by the name the kernel's crypto API gives it, as a verity superblock spells it.
    ///
    /// # Errors
    ///
    /// `hash-algorithm` when it is none of [`HashAlgorithm::ALL`].
    pub fn parse(name: &str) -> Result<Self> {
        let algorithm = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        algorithm.ok_or_else(|| not_one_of(name, HashAlgorithms::ALL))
    }

    /// The kernel's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The digest's length in bytes.
    #[must_use]
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Sha1 => 1,
            Self::Sha224 => 2,
            Self::Sha256 => 4,
            Self::Sha384 => 8,
            Self::Sha512 => 16,
        }
    }
}

impl std::fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for HashAlgorithm {
    type Err = crate::error::Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

/// Which hash algorithms are allowed.
///
/// By default those that are made today and have no known weakness: sha256 and sha512. The others are for images that
/// exist already, and are allowed one by one.
///
/// ```
/// use confext_ddi::{Limits, digest::{HashAlgorithm, HashAlgorithms}};
///
/// // An old image is to be read once more.
/// let mut limits = Limits::default();
/// assert_eq!(limits.hash_algorithms.check(HashAlgorithm::Sha1).unwrap_err().code(), "hash-algorithm");
/// limits.hash_algorithms = HashAlgorithms::default().with(HashAlgorithm::Sha1);
/// assert!(limits.hash_algorithms.contains(HashAlgorithm::Sha1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashAlgorithms(u8);

impl HashAlgorithms {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every [`HashAlgorithm`], broken ones included.
    pub const ALL: Self = Self(31);

    /// The same, and `algorithm` too.
    #[must_use]
    pub const fn with(self, algorithm: HashAlgorithm) -> Self {
        Self(self.0 | algorithm.bit())
    }

    /// Whether it is allowed.
    #[must_use]
    pub const fn contains(self, algorithm: HashAlgorithm) -> bool {
        self.0 & algorithm.bit() != 0
    }

    /// Passes what is allowed.
    ///
    /// # Errors
    ///
    /// `hash-algorithm`.
    pub fn check(self, algorithm: HashAlgorithm) -> Result<()> {
        if self.contains(algorithm) { Ok(()) } else { Err(not_one_of(algorithm.name(), self)) }
    }
}

impl Default for HashAlgorithms {
    fn default() -> Self {
        Self::NONE.with(HashAlgorithm::Sha256).with(HashAlgorithm::Sha512)
    }
}

impl std::fmt::Debug for HashAlgorithms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(HashAlgorithm::ALL.into_iter().filter(|one| self.contains(*one))).finish()
    }
}

fn not_one_of(found: &str, allowed: HashAlgorithms) -> crate::error::Error {
    let names: Vec<_> = HashAlgorithm::ALL
        .into_iter()
        .filter(|one| allowed.contains(*one))
        .map(HashAlgorithm::name)
        .collect();
    let expected = names.join(" or ");
    Unsupported::HashAlgorithm { found: found.chars().take(32).collect(), expected }.into()
}

/// SHA-256 of the concatenation of `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// A digest of any [`HashAlgorithm`]: 20 to 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest {
    len_bytes: usize,
    /// Zero behind the digest.
    bytes: [u8; 64],
}

impl Digest {
    /// The longest there is.
    pub(crate) const MOST_BYTES: usize = 64;

    const fn from_array<const N: usize>(digest: [u8; N]) -> Self {
        const { assert!(N <= 64) };
        let mut bytes = [0; 64];
        if let Some(start) = bytes.first_chunk_mut() {
            *start = digest;
        }
        Self { len_bytes: N, bytes }
    }

    /// Takes a digest, which has 64 bytes at most.
    pub(crate) fn new(digest: &[u8]) -> Self {
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = *from;
        }
        Self { len_bytes: digest.len().min(64), bytes }
    }
}

impl std::ops::Deref for Digest {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len_bytes).unwrap_or(&self.bytes)
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&const_hex::encode(&**self))
    }
}

/// A dm-verity root hash: the digest over the salt and the top block of the hash tree.
///
/// *Shape*: as many bytes as digests of the tree's [`HashAlgorithm`]: 20, 28, 32, 48 or 64. A tree of another algorithm
/// is refused by the reader.
///
/// ```
/// use confext_ddi::RootHash;
///
/// let hash = RootHash::parse(&"0a".repeat(32))?;
/// assert_eq!(hash.as_bytes(), [0x0a; 32]);
/// assert_eq!(RootHash::parse("0A").unwrap_err().family(), "corrupt");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootHash(Digest);

impl RootHash {
    /// Takes the digest's bytes.
    #[must_use]
    pub const fn from_bytes<const N: usize>(bytes: [u8; N]) -> Self {
        const { assert!(matches!(N, 20 | 28 | 32 | 48 | 64), "no hash algorithm has digests of this length") };
        Self(Digest::from_array(bytes))
    }

    /// Returns the root hash, or `None` when no algorithm has digests of this length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let known = HashAlgorithm::ALL.iter().any(|algorithm| algorithm.digest_bytes() == bytes.len());
        known.then(|| Self(Digest::new(bytes)))
    }

    pub(crate) const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Lower-case hex, no newline: two characters for each byte. This text, not the raw digest, is what gets signed.
    #[must_use]
    pub fn to_hex(&self) -> String {
        const_hex::encode(self.as_bytes())
    }

    /// Parses hex digits, upper or lower case, nothing else: two for each byte.
    ///
    /// # Errors
    ///
    /// `root-hash-syntax`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Corrupt::RootHashSyntax { found: text.chars().take(160).collect() };
        // What decodes could also begin with 0x.
        if text.len() > 128 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong().into());
        }
        let bytes = const_hex::decode(text).map_err(|_| wrong())?;
        Ok(Self::from_slice(&bytes).ok_or_else(wrong)?)
    }
}

impl std::fmt::Display for RootHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl std::fmt::Debug for RootHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl std::str::FromStr for RootHash {
    type Err = crate::error::Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl serde::Serialize for RootHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RootHash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A dm-verity salt: 0 to 256 bytes hashed before each block.
///
/// ```
/// use confext_ddi::digest::Salt;
///
/// assert_eq!(Salt::new(*b"salt")?.as_bytes(), b"salt");
/// assert_eq!(Salt::new([0; 257]).unwrap_err().code(), "salt-size");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Salt(Vec<u8>);

impl Salt {
    /// The longest salt a superblock can hold, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Takes the salt's bytes.
    ///
    /// # Errors
    ///
    /// `salt-size` when there are more than 256.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let bytes = bytes.into();
        if bytes.len() > Self::MAX_BYTES {
            return Err(Corrupt::SaltSize { found: bytes.len(), most: Self::MAX_BYTES }.into());
        }
        Ok(Self(bytes))
    }

    /// The salt's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&const_hex::encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(RootHash::from_bytes(sha256(&[b"a", b"bc"])).to_hex(), expected);
        assert_eq!(expected.to_uppercase().parse::<RootHash>().unwrap().to_hex(), expected);
    }

    #[test]
    fn wrong_hashes_salts_and_algorithms_are_refused() {
        for text in
            ["", "00", &"0".repeat(63), &"0".repeat(66), &format!("0x{}", "0".repeat(62)), &"g".repeat(64)]
        {
            assert_eq!(text.parse::<RootHash>().unwrap_err().code(), "root-hash-syntax", "{text}");
        }
        assert!(Salt::new([0; 256]).is_ok());
        assert_eq!(Salt::new([0; 257]).unwrap_err().code(), "salt-size");
        assert_eq!(HashAlgorithm::parse("crc32").unwrap_err().code(), "hash-algorithm");
        assert_eq!(RootHash::from_slice(&[0; 33]), None);
    }

    #[test]
    fn root_hashes_are_as_long_as_their_digests() {
        for algorithm in HashAlgorithm::ALL {
            let bytes = vec![0xa5; algorithm.digest_bytes()];
            let root_hash = RootHash::from_slice(&bytes).unwrap();
            assert_eq!(root_hash.as_bytes(), bytes);
            assert_eq!(root_hash.to_string(), "a5".repeat(bytes.len()));
            assert_eq!(RootHash::parse(&root_hash.to_hex()).unwrap(), root_hash);
            assert_eq!(HashAlgorithm::parse(algorithm.name()).unwrap(), algorithm);
        }
        assert_ne!(RootHash::from_bytes([0; 32]), RootHash::from_bytes([0; 64]));
    }

    #[test]
    fn what_is_not_allowed_is_said() {
        let allowed = HashAlgorithms::default();
        assert!(allowed.check(HashAlgorithm::Sha256).is_ok() && allowed.check(HashAlgorithm::Sha512).is_ok());
        let error = allowed.check(HashAlgorithm::Sha1).unwrap_err();
        assert_eq!(error.code(), "hash-algorithm");
        assert!(error.to_string().contains("found \"sha1\", expected sha256 or sha512"), "{error}");
        assert!(allowed.with(HashAlgorithm::Sha1).check(HashAlgorithm::Sha1).is_ok());
        assert!(HashAlgorithm::ALL.iter().all(|one| HashAlgorithms::ALL.contains(*one)));
    }
}
