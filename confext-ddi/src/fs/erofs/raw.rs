//! On-disk structures.

use crate::ReadAt;
use crate::error::Result;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;
pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
/// A block address that means "no block": a hole.
pub(super) const NO_BLOCK: u32 = u32::MAX;
/// Inodes are numbered in units of this many bytes.
pub(super) const SLOT_BYTES: u64 = 32;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Superblock {
    pub(super) magic: U32,
    pub(super) checksum: U32,
    pub(super) feature_compat: U32,
    pub(super) block_bits: u8,
    pub(super) extension_slots: u8,
    pub(super) root: U16,
    pub(super) inodes: U64,
    pub(super) epoch: U64,
    pub(super) fixed_nsec: U32,
    pub(super) blocks: U32,
    pub(super) metadata_block: U32,
    pub(super) xattr_block: U32,
    pub(super) uuid: [u8; 16],
    pub(super) volume_name: [u8; 16],
    pub(super) feature_incompat: U32,
    pub(super) compression: U16,
    pub(super) extra_devices: U16,
    pub(super) device_slot: U16,
    pub(super) directory_block_bits: u8,
    pub(super) xattr_prefix_count: u8,
    pub(super) xattr_prefix_start: U32,
    pub(super) packed_inode: U64,
    pub(super) reserved: [u8; 24],
}
const _: () = assert!(size_of::<Superblock>() == 128);
const _: () = assert!(std::mem::offset_of!(Superblock, feature_incompat) == 80);
const _: () = assert!(std::mem::offset_of!(Superblock, packed_inode) == 96);

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct CompactInode {
    pub(super) format: U16,
    pub(super) xattr_count: U16,
    pub(super) mode: U16,
    pub(super) nlink: U16,
    pub(super) size: U32,
    /// Seconds after the superblock's epoch; always 0 from older writers.
    pub(super) mtime: U32,
    pub(super) union: U32,
    pub(super) serial: U32,
    pub(super) uid: U16,
    pub(super) gid: U16,
    pub(super) reserved: U32,
}
const _: () = assert!(size_of::<CompactInode>() == 32);

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ExtendedInode {
    pub(super) format: U16,
    pub(super) xattr_count: U16,
    pub(super) mode: U16,
    pub(super) reserved: U16,
    pub(super) size: U64,
    pub(super) union: U32,
    pub(super) serial: U32,
    pub(super) uid: U32,
    pub(super) gid: U32,
    pub(super) mtime: U64,
    pub(super) mtime_nsec: U32,
    pub(super) nlink: U32,
    pub(super) reserved2: [u8; 16],
}
const _: () = assert!(size_of::<ExtendedInode>() == 64);

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ChunkIndex {
    pub(super) advise: U16,
    pub(super) device_id: U16,
    pub(super) block: U32,
}
const _: () = assert!(size_of::<ChunkIndex>() == 8);

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Dirent {
    pub(super) inode: U64,
    pub(super) name_offset: U16,
    pub(super) file_type: u8,
    pub(super) reserved: u8,
}
const _: () = assert!(size_of::<Dirent>() == 12);

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct XattrHeader {
    pub(super) name_filter: U32,
    pub(super) shared_count: u8,
    pub(super) reserved: [u8; 7],
}
const _: () = assert!(size_of::<XattrHeader>() == 12);

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct XattrEntry {
    pub(super) name_len: u8,
    pub(super) name_index: u8,
    pub(super) value_len: U16,
}
const _: () = assert!(size_of::<XattrEntry>() == 4);

/// Reads one structure.
pub(super) fn read<T: FromZeros + FromBytes + IntoBytes, R: ReadAt>(reader: &R, offset: u64) -> Result<T> {
    let mut value = T::new_zeroed();
    reader.read_exact_at(offset, value.as_mut_bytes())?;
    Ok(value)
}
