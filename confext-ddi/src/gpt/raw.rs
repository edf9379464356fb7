//! On-disk structs, for reading and for writing.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The magic at the start of a header.
pub(crate) const SIGNATURE: [u8; 8] = *b"EFI PART";
/// The only revision there is: 1.0.
pub(crate) const REVISION: u32 = 0x0001_0000;
/// Bytes of a header without the reserved rest of its sector.
pub(crate) const HEADER_BYTES: u32 = 92;
/// Bytes of the smallest entry, and what every tool writes.
pub(crate) const ENTRY_BYTES: u32 = 128;
/// UTF-16 code units of a label.
pub(crate) const LABEL_UNITS: usize = 36;

/// A table header. *Layout*: offset in the comment, all integers little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) signature: [u8; 8],    // 0
    pub(crate) revision: U32,         // 8
    pub(crate) header_bytes: U32,     // 12
    pub(crate) header_crc: U32,       // 16: over `header_bytes` bytes with this field 0
    pub(crate) reserved: U32,         // 20
    pub(crate) my_lba: U64,           // 24
    pub(crate) alternate_lba: U64,    // 32
    pub(crate) first_usable_lba: U64, // 40
    pub(crate) last_usable_lba: U64,  // 48: inclusive
    pub(crate) disk_guid: [u8; 16],   // 56
    pub(crate) entries_lba: U64,      // 72
    pub(crate) entry_count: U32,      // 80
    pub(crate) entry_bytes: U32,      // 84
    pub(crate) entries_crc: U32,      // 88: over `entry_count × entry_bytes` bytes
}

/// A partition entry; entries may be longer, the rest is reserved. *Layout*: as [`Header`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) type_guid: [u8; 16],       // 0: zero = unused
    pub(crate) unique_guid: [u8; 16],     // 16
    pub(crate) first_lba: U64,            // 32
    pub(crate) last_lba: U64,             // 40: inclusive
    pub(crate) attributes: U64,           // 48
    pub(crate) label: [U16; LABEL_UNITS], // 56: UTF-16, NUL-padded
}

const _: () = assert!(size_of::<Header>() == 92 && size_of::<Entry>() == 128);
const _: () = assert!(
    std::mem::offset_of!(Header, header_crc) == 16 && std::mem::offset_of!(Header, entries_crc) == 88
);
const _: () =
    assert!(std::mem::offset_of!(Header, disk_guid) == 56 && std::mem::offset_of!(Header, entries_lba) == 72);
const _: () =
    assert!(std::mem::offset_of!(Entry, first_lba) == 32 && std::mem::offset_of!(Entry, label) == 56);

/// The CRC-32 GPT uses, over the concatenation of `parts`.
pub(crate) fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// The CRC of a header, given all of its `header_bytes` bytes; the field that holds it counts as 0.
pub(crate) fn header_crc(bytes: &[u8]) -> Option<u32> {
    Some(crc(&[bytes.get(..16)?, &[0; 4], bytes.get(20..)?]))
}

impl Header {
    /// The same header with its own checksum set, as it is written at the start of its sector.
    pub(crate) fn sealed(mut self) -> Self {
        self.header_crc = U32::ZERO;
        self.header_crc = crc(&[self.as_bytes()]).into();
        self
    }
}

/// `label` in UTF-16, NUL-padded, or `None` when it needs more than 36 code units or holds a NUL.
pub(crate) fn encode_label(label: &str) -> Option<[U16; LABEL_UNITS]> {
    let mut units = [U16::ZERO; LABEL_UNITS];
    let mut slots = units.iter_mut();
    for unit in label.encode_utf16() {
        if unit == 0 {
            return None;
        }
        *slots.next()? = unit.into();
    }
    Some(units)
}
