//! The verity superblock: first 512 bytes of the hash area.

use crate::digest::{HashAlgorithm, Salt};
use crate::error::{Corrupt, Error, LimitExceeded, Result, ResultExt as _, Unsupported};
use crate::id::Uuid;
use crate::limits::Limits;
use crate::units::BlockSize;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"verity\0\0";
const VERSION: u32 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 8],
    version: U32,
    hash_type: U32,
    uuid: [u8; 16],
    algorithm: [u8; 32],
    data_block_size: U32,
    hash_block_size: U32,
    data_blocks: U64,
    salt_size: U16,
    padding1: [u8; 6],
    salt: [u8; Salt::MAX_BYTES],
    padding2: [u8; 168],
}

const _: () = {
    assert!(size_of::<Raw>() == Superblock::BYTES);
    assert!(std::mem::offset_of!(Raw, algorithm) == 32);
    assert!(std::mem::offset_of!(Raw, data_block_size) == 64);
    assert!(std::mem::offset_of!(Raw, data_blocks) == 72);
    assert!(std::mem::offset_of!(Raw, salt_size) == 80);
    assert!(std::mem::offset_of!(Raw, salt) == 88);
    assert!(std::mem::offset_of!(Raw, padding2) == 344);
};

/// How salt and block are put together before hashing.
///
/// ```
/// use confext_ddi::verity::HashType;
///
/// assert_eq!(HashType::new(1), Some(HashType::Normal));
/// assert_eq!(HashType::Original.value(), 0);
/// assert_eq!(HashType::new(2), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HashType {
    /// Type 0, of Chromium OS: the salt comes last, digests follow each other without gaps.
    Original,
    /// Type 1: the salt comes first, digests start at multiples of a power of two.
    Normal,
}

impl HashType {
    /// Returns the hash type of a number, or `None` when there is none.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Original),
            1 => Some(Self::Normal),
            _ => None,
        }
    }

    /// Its number in a superblock.
    #[must_use]
    pub const fn value(self) -> u32 {
        match self {
            Self::Original => 0,
            Self::Normal => 1,
        }
    }
}

/// A verity superblock: what the hash tree was made with.
///
/// For a hash area without a superblock the caller says the same; its UUID is not used then.
///
/// Nothing in it is covered by the root hash directly; [`Reader`](super::Reader) refuses one that does not belong to
/// its tree.
///
/// *Layout* (512 bytes, little-endian): magic `verity\0\0` at 0 · version at 8 (u32) · hash type at 12 (u32) · UUID
/// at 16 · algorithm name at 32 (32 bytes, NUL-padded) · data block size at 64 (u32) · hash block size at 68 (u32) ·
/// data blocks at 72 (u64) · salt size at 80 (u16) · salt at 88 (256 bytes, zero-padded) · the rest zero.
///
/// *Spec*: cryptsetup's `VERITY_On-disk_format`, version 1.
///
/// ```
/// use confext_ddi::digest::Salt;
/// use confext_ddi::id::Uuid;
/// use confext_ddi::verity::{Geometry, Superblock, build};
///
/// // A tree over two blocks: one block of digests, and the root hash over it.
/// let data = [0_u8; 8192];
/// let superblock = Superblock::new(Uuid::from_bytes([1; 16]), 2, Salt::new([])?);
/// let tree = build(&data[..], &superblock)?;
/// assert_eq!(Geometry::new(&superblock)?.tree_bytes(), 4096);
/// println!("{}", tree.root_hash);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Superblock {
    /// Identifies the hash area; no part of any hash.
    pub uuid: Uuid,
    /// How salt and block are put together.
    pub hash_type: HashType,
    /// What blocks are hashed with.
    pub algorithm: HashAlgorithm,
    /// Size of a data block.
    pub data_block_size: BlockSize,
    /// Size of a block of the hash tree.
    pub hash_block_size: BlockSize,
    /// How many data blocks the tree protects, from 1.
    pub data_blocks: u64,
    /// Hashed before each block.
    pub salt: Salt,
}

impl Superblock {
    /// Size on disk; the tree starts at the next hash block.
    pub const BYTES: usize = 512;

    /// The superblock every tool writes by default: sha256, blocks of 4096 bytes.
    #[must_use]
    pub const fn new(uuid: Uuid, data_blocks: u64, salt: Salt) -> Self {
        Self {
            uuid,
            hash_type: HashType::Normal,
            algorithm: HashAlgorithm::Sha256,
            data_block_size: BlockSize::B4096,
            hash_block_size: BlockSize::B4096,
            data_blocks,
            salt,
        }
    }

    /// Parses the first 512 bytes of a hash area; what follows them is not looked at.
    ///
    /// # Errors
    ///
    /// `out-of-bounds`, `verity-magic`, `verity-version`, `verity-hash-type`, `verity-algorithm-name`,
    /// `hash-algorithm`, `verity-block-size`, `verity-data-blocks`, `salt-size`, `verity-padding`, `verity-overflow`, `limit-bytes`.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self> {
        Self::parse_fields(bytes, limits).within("superblock")
    }

    fn parse_fields(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let (raw, _) = Raw::ref_from_prefix(bytes).map_err(|_| Corrupt::OutOfBounds {
            end: 512,
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        })?;
        if raw.magic != MAGIC {
            return Err(Corrupt::VerityMagic { found: const_hex::encode(raw.magic) }.into());
        }
        if raw.version.get() != VERSION {
            let fault = Unsupported::VerityVersion { found: raw.version.get() };
            return Err(Error::from(fault).at_offset(8));
        }
        let Some(hash_type) = HashType::new(raw.hash_type.get()) else {
            let fault = Unsupported::VerityHashType { found: raw.hash_type.get() };
            return Err(Error::from(fault).at_offset(12));
        };
        let algorithm = parse_algorithm(&raw.algorithm).map_err(|error| error.at_offset(32))?;
        limits.hash_algorithms.check(algorithm).map_err(|error| error.at_offset(32))?;
        let data_block_size = parse_block_size("data", raw.data_block_size.get(), 64)?;
        let hash_block_size = parse_block_size("hash", raw.hash_block_size.get(), 68)?;
        let data_blocks = raw.data_blocks.get();
        if data_blocks == 0 {
            return Err(Error::from(Corrupt::VerityDataBlocks { found: 0 }).at_offset(72));
        }
        let salt_bytes = usize::from(raw.salt_size.get());
        let Some((salt, salt_padding)) = raw.salt.split_at_checked(salt_bytes) else {
            let fault = Corrupt::SaltSize { found: salt_bytes, most: Salt::MAX_BYTES };
            return Err(Error::from(fault).at_offset(80));
        };
        check_zero(&raw.padding1, 82)?;
        check_zero(salt_padding, 88_u64.saturating_add(u64::from(raw.salt_size.get())))?;
        check_zero(&raw.padding2, 344)?;
        let data_bytes = data_blocks.checked_mul(u64::from(data_block_size.bytes()));
        if let Some(found) = data_bytes.filter(|bytes| *bytes > limits.verity_data_bytes) {
            let fault = LimitExceeded::Bytes { what: "verity data", found, most: limits.verity_data_bytes };
            return Err(Error::from(fault).at_offset(72));
        }
        let superblock = Self {
            uuid: Uuid::from_bytes(raw.uuid),
            hash_type,
            algorithm,
            data_block_size,
            hash_block_size,
            data_blocks,
            salt: Salt::new(salt)?,
        };
        super::Geometry::new(&superblock).map_err(|error| error.at_offset(72))?;
        Ok(superblock)
    }

    /// The 512 bytes as they stand on disk.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut raw = Raw::new_zeroed();
        raw.magic = MAGIC;
        raw.version.set(VERSION);
        raw.hash_type.set(self.hash_type.value());
        raw.uuid = self.uuid.to_bytes();
        for (to, from) in raw.algorithm.iter_mut().zip(self.algorithm.name().bytes()) {
            *to = from;
        }
        raw.data_block_size.set(self.data_block_size.bytes());
        raw.hash_block_size.set(self.hash_block_size.bytes());
        raw.data_blocks.set(self.data_blocks);
        // A salt has at most 256 bytes: its type sees to that.
        raw.salt_size.set(u16::try_from(self.salt.as_bytes().len()).unwrap_or_default());
        for (to, from) in raw.salt.iter_mut().zip(self.salt.as_bytes()) {
            *to = *from;
        }
        zerocopy::transmute!(raw)
    }
}

fn parse_algorithm(field: &[u8; 32]) -> Result<HashAlgorithm> {
    let malformed = || Corrupt::VerityAlgorithmName { found: const_hex::encode(field) };
    let len = field.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
    let (name, padding) = field.split_at_checked(len).ok_or_else(malformed)?;
    if padding.iter().any(|byte| *byte != 0) || !name.is_ascii() {
        return Err(malformed().into());
    }
    HashAlgorithm::parse(std::str::from_utf8(name).map_err(|_| malformed())?)
}

fn parse_block_size(which: &'static str, found: u32, offset: u64) -> Result<BlockSize> {
    let wrong = || Error::from(Corrupt::VerityBlockSize { which, found }).at_offset(offset);
    BlockSize::new(found).ok_or_else(wrong)
}

fn check_zero(bytes: &[u8], start: u64) -> Result<()> {
    match bytes.iter().zip(start..).find(|(byte, _)| **byte != 0) {
        Some((found, offset)) => Err(Error::from(Corrupt::VerityPadding { found: *found }).at_offset(offset)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::HashAlgorithms;
    use proptest::prelude::*;

    fn sample() -> Superblock {
        let uuid = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        Superblock::new(uuid, 1000, Salt::new([0xab; 32]).unwrap())
    }

    #[test]
    fn each_field_has_its_code() {
        let good = sample().to_bytes();
        assert_eq!(Superblock::parse(&good, &Limits::default()).unwrap(), sample());
        let algorithm = |name: &[u8]| [name, &vec![0; 32 - name.len()]].concat();
        let table: &[(usize, &[u8], &str)] = &[
            (0, b"Verity\0\0", "verity-magic"),
            (6, &[1], "verity-magic"),
            (8, &[0], "verity-version"),
            (8, &[2], "verity-version"),
            (12, &[2], "verity-hash-type"),
            (32, &algorithm(b"sha1"), "hash-algorithm"),
            (32, &algorithm(b""), "hash-algorithm"),
            (32, &algorithm(b"SHA256"), "hash-algorithm"),
            (32, &[b'a'; 32], "verity-algorithm-name"),
            (32, &[0xff], "verity-algorithm-name"),
            (40, &[1], "verity-algorithm-name"),
            (64, &0_u32.to_le_bytes(), "verity-block-size"),
            (64, &511_u32.to_le_bytes(), "verity-block-size"),
            (64, &4097_u32.to_le_bytes(), "verity-block-size"),
            (64, &(1_u32 << 31).to_le_bytes(), "verity-block-size"),
            (68, &256_u32.to_le_bytes(), "verity-block-size"),
            (68, &131_072_u32.to_le_bytes(), "verity-block-size"),
            (72, &0_u64.to_le_bytes(), "verity-data-blocks"),
            (72, &u64::MAX.to_le_bytes(), "verity-overflow"),
            (72, &(1_u64 << 51).to_le_bytes(), "limit-bytes"),
            (80, &257_u16.to_le_bytes(), "salt-size"),
            (80, &u16::MAX.to_le_bytes(), "salt-size"),
            (80, &31_u16.to_le_bytes(), "verity-padding"),
            (82, &[1], "verity-padding"),
            (87, &[1], "verity-padding"),
            (120, &[1], "verity-padding"),
            (343, &[1], "verity-padding"),
            (344, &[1], "verity-padding"),
            (511, &[1], "verity-padding"),
        ];
        for (offset, bytes, code) in table {
            let mut wrong = good;
            wrong[*offset..offset + bytes.len()].copy_from_slice(bytes);
            let error = Superblock::parse(&wrong, &Limits::default()).unwrap_err();
            assert_eq!(error.code(), *code, "{offset}: {error}");
            assert_eq!(error.path(), "superblock");
        }
        let error = Superblock::parse(&good[..511], &Limits::default()).unwrap_err();
        assert_eq!(error.code(), "out-of-bounds");
    }

    #[test]
    fn padding_is_reported_where_it_is() {
        let mut wrong = sample().to_bytes();
        wrong[400] = 7;
        assert_eq!(Superblock::parse(&wrong, &Limits::default()).unwrap_err().offset(), Some(400));
    }

    #[test]
    fn the_cap_on_data_is_an_option() {
        let limits = Limits { verity_data_bytes: 999 * 4096, ..Limits::default() };
        assert_eq!(Superblock::parse(&sample().to_bytes(), &limits).unwrap_err().code(), "limit-bytes");
        let limits = Limits { verity_data_bytes: 1000 * 4096, ..Limits::default() };
        assert!(Superblock::parse(&sample().to_bytes(), &limits).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            uuid: [u8; 16], blocks in 1..=1_u64 << 28, hash_type in 0_u32..=1, bits in (9_u32..=16, 9_u32..=16),
            algorithm in proptest::sample::select(HashAlgorithm::ALL.to_vec()),
            salt in proptest::collection::vec(any::<u8>(), 0..=256),
        ) {
            let mut superblock = Superblock::new(Uuid::from_bytes(uuid), blocks, Salt::new(salt).unwrap());
            superblock.hash_type = HashType::new(hash_type).unwrap();
            superblock.algorithm = algorithm;
            superblock.data_block_size = BlockSize::new(1 << bits.0).unwrap();
            superblock.hash_block_size = BlockSize::new(1 << bits.1).unwrap();
            let limits = Limits { hash_algorithms: HashAlgorithms::ALL, ..Limits::default() };
            prop_assert_eq!(&Superblock::parse(&superblock.to_bytes(), &limits).unwrap(), &superblock);
            let by_default = Superblock::parse(&superblock.to_bytes(), &Limits::default());
            match algorithm {
                HashAlgorithm::Sha256 | HashAlgorithm::Sha512 => prop_assert_eq!(by_default.unwrap(), superblock),
                _ => prop_assert_eq!(by_default.unwrap_err().code(), "hash-algorithm"),
            }
        }

        #[test]
        fn changed_bytes_are_refused_or_mean_what_they_say(at in 0_usize..512, byte: u8) {
            let mut bytes = sample().to_bytes();
            bytes[at] = byte;
            if let Ok(parsed) = Superblock::parse(&bytes, &Limits::default()) {
                prop_assert_eq!(parsed.to_bytes(), bytes);
            }
        }
    }
}
