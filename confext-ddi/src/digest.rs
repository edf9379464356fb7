//! Hash algorithms, root hashes and salts, with hex in and out.

use crate::error::{Corrupt, Result, Unsupported};
use sha2::Digest as _;

/// A hash algorithm of the allow-list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// SHA-256, digests of 32 bytes.
    Sha256,
}

impl HashAlgorithm {
    /// Looks the algorithm up by the name the kernel's crypto API gives it, as a verity superblock spells it.
    ///
    /// # Errors
    ///
    /// `hash-algorithm` when it is not on the allow-list.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "sha256" => Ok(Self::Sha256),
            _ => Err(Unsupported::HashAlgorithm { found: name.chars().take(32).collect() }.into()),
        }
    }

    /// The kernel's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
        }
    }

    /// The digest's length in bytes.
    #[must_use]
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
        }
    }
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

/// A dm-verity root hash: the digest over the salt and the top block of the hash tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootHash([u8; 32]);

impl RootHash {
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

    /// Lower-case hex, no newline: 64 characters. This text, not the raw digest, is what gets signed.
    #[must_use]
    pub fn to_hex(&self) -> String {
        const_hex::encode(self.0)
    }

    /// Parses 64 hex digits, upper or lower case, nothing else.
    ///
    /// # Errors
    ///
    /// `root-hash-syntax`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        let wrong = || Corrupt::RootHashSyntax { found: text.chars().take(80).collect() };
        if text.len() != 64 {
            return Err(wrong().into());
        }
        const_hex::decode_to_slice(text.as_bytes(), &mut bytes).map_err(|_| wrong())?;
        Ok(Self(bytes))
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
    }
}
