//! GPT's mixed-endian [`Guid`] and the RFC 9562 [`Uuid`]: two types, explicit conversion.
//!
//! Both hold 16 bytes. They print the same text for the same identifier, but a GUID's first three fields are stored
//! little-endian on disk, a UUID's bytes are stored as they print.

use crate::error::{Corrupt, Result};

/// An identifier as GPT stores it: the first three fields little-endian.
///
/// ```
/// use confext_ddi::id::Uuid;
///
/// // The first three fields are stored the other way round on disk.
/// let uuid = Uuid::parse("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")?;
/// assert_eq!(uuid.to_guid().to_disk_bytes()[..4], [0xe3, 0xbc, 0x68, 0x4f]);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

/// An identifier as RFC 9562 stores it: every field big-endian, bytes in printing order.
///
/// ```
/// use confext_ddi::id::Uuid;
///
/// let uuid: Uuid = "4F68BCE3E8CD4DB196E7FBCAF984B709".parse()?;
/// assert_eq!(uuid.to_string(), "4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
/// // Of a digest, say, an identifier as good as a random one.
/// assert_eq!(Uuid::from_bytes([0xff; 16]).into_v4().to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

const fn swap_fields(b: [u8; 16]) -> [u8; 16] {
    [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]
}

impl Guid {
    /// The GUID of an unused entry: all zero.
    pub const ZERO: Self = Self([0; 16]);

    /// Takes the 16 bytes as they stand on disk.
    #[must_use]
    pub const fn from_disk_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes as they stand on disk.
    #[must_use]
    pub const fn to_disk_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Whether this is [`Guid::ZERO`].
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The same identifier as a UUID: it prints the same text.
    #[must_use]
    pub const fn to_uuid(self) -> Uuid {
        Uuid(swap_fields(self.0))
    }
}

impl Uuid {
    /// Takes the 16 bytes in printing order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes in printing order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The same identifier as a GUID: it prints the same text.
    #[must_use]
    pub const fn to_guid(self) -> Guid {
        Guid(swap_fields(self.0))
    }

    /// Sets the version (4) and variant bits, as RFC 9562 asks of a random or derived identifier.
    #[must_use]
    pub const fn into_v4(mut self) -> Self {
        self.0[6] = self.0[6] & 0x0f | 0x40;
        self.0[8] = self.0[8] & 0x3f | 0x80;
        self
    }

    /// Parses `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, upper or lower case, or the same 32 digits without dashes.
    ///
    /// # Errors
    ///
    /// `uuid-syntax`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Corrupt::UuidSyntax { found: text.chars().take(64).collect() };
        let dashed = text.len() == 36;
        if !dashed && text.len() != 32 {
            return Err(wrong().into());
        }
        let mut digits = String::with_capacity(32);
        for (at, c) in text.char_indices() {
            if dashed && matches!(at, 8 | 13 | 18 | 23) {
                if c != '-' {
                    return Err(wrong().into());
                }
            } else {
                digits.push(c);
            }
        }
        let mut bytes = [0; 16];
        const_hex::decode_to_slice(digits.as_bytes(), &mut bytes).map_err(|_| wrong())?;
        // The hex decoder accepts a leading "0x"; 32 digits with one leave 15 bytes, which it refuses by length.
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_uuid().fmt(f)
    }
}

macro_rules! id_impls {
    ($id:ident, $from:expr) => {
        impl std::fmt::Debug for $id {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{self}")
            }
        }
        impl std::str::FromStr for $id {
            type Err = crate::error::Error;
            fn from_str(text: &str) -> Result<Self> {
                Uuid::parse(text).map($from)
            }
        }
        impl serde::Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $id {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
id_impls!(Uuid, |uuid| uuid);
id_impls!(Guid, Uuid::to_guid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_print_the_same_text_and_differ_on_disk() {
        let text = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.to_string(), text);
        assert_eq!(uuid.to_guid().to_string(), text);
        assert_eq!(uuid.to_guid().to_disk_bytes()[..8], [0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d]);
        assert_eq!(uuid.to_guid().to_uuid(), uuid);
        assert_eq!(text.to_uppercase().parse::<Guid>().unwrap(), uuid.to_guid());
        assert_eq!(text.replace('-', "").parse::<Uuid>().unwrap(), uuid);
    }

    #[test]
    fn wrong_texts_are_refused() {
        for text in [
            "",
            "4f68bce3",
            "4f68bce3-e8cd-4db1-96e7-fbcaf984b70g",
            "4f68bce3ae8cd-4db1-96e7-fbcaf984b709",
            "0x68bce3e8cd4db196e7fbcaf984b709",
            "4f68bce3-e8cd-4db1-96e7-fbcaf984b7é",
        ] {
            assert_eq!(text.parse::<Uuid>().unwrap_err().code(), "uuid-syntax", "{text}");
        }
    }

    #[test]
    fn version_4_bits() {
        assert_eq!(
            Uuid::from_bytes([0xff; 16]).into_v4().to_string(),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
    }
}
