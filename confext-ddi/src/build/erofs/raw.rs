//! EROFS structures as they stand on disk: little-endian, no padding.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes, KnownLayout, Unaligned};

/// The base-2 logarithm of the block size.
pub(super) const BLOCK_BITS: u8 = 12;
/// The block size: what every kernel with pages of 4 KiB or more can mount.
pub(super) const BLOCK: u64 = 4096;
/// Inodes start at multiples of this; an inode's number is its offset divided by it.
pub(super) const SLOT: u64 = 32;
/// Where the superblock stands.
pub(super) const SUPER_OFFSET: u64 = 1024;
/// Where the first inode can stand: right after the superblock.
pub(super) const META_START: u64 = 1152;

pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
/// Compatible feature: the superblock's checksum is set.
pub(super) const COMPAT_CHECKSUM: u32 = 1;
/// Compatible feature: inodes carry modification times (not change times).
pub(super) const COMPAT_MTIME: u32 = 2;
/// Incompatible feature: there are chunk-based files.
pub(super) const INCOMPAT_CHUNKED: u32 = 4;

/// Data layouts of an inode, bits 1 to 3 of its format.
pub(super) const FLAT_PLAIN: u16 = 0;
pub(super) const FLAT_INLINE: u16 = 2;
pub(super) const CHUNK_BASED: u16 = 4;

/// A chunk that is a hole.
pub(super) const NULL_ADDRESS: u32 = u32::MAX;

#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SuperBlock {
    pub(super) magic: U32,
    pub(super) checksum: U32,
    pub(super) feature_compat: U32,
    pub(super) block_bits: u8,
    pub(super) extension_slots: u8,
    pub(super) root_nid: U16,
    pub(super) inodes: U64,
    pub(super) build_time: U64,
    pub(super) build_time_nsec: U32,
    pub(super) blocks: U32,
    pub(super) meta_block: U32,
    pub(super) shared_xattr_block: U32,
    pub(super) uuid: [u8; 16],
    pub(super) volume_name: [u8; 16],
    pub(super) feature_incompat: U32,
    pub(super) compression: U16,
    pub(super) extra_devices: U16,
    pub(super) device_table_slot: U16,
    pub(super) directory_block_bits: u8,
    pub(super) xattr_prefix_count: u8,
    pub(super) xattr_prefix_start: U32,
    pub(super) packed_nid: U64,
    pub(super) xattr_filter: u8,
    pub(super) reserved: [u8; 23],
}
const _: () = assert!(size_of::<SuperBlock>() == 128);
const _: () = assert!(std::mem::offset_of!(SuperBlock, feature_incompat) == 80);

/// The 32-byte inode: 16-bit owners and link count, 32-bit size, the image's build time.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct CompactInode {
    pub(super) format: U16,
    pub(super) xattr_count: U16,
    pub(super) mode: U16,
    pub(super) links: U16,
    pub(super) size: U32,
    pub(super) reserved: U32,
    pub(super) union: U32,
    pub(super) number: U32,
    pub(super) uid: U16,
    pub(super) gid: U16,
    pub(super) reserved_2: U32,
}
const _: () = assert!(size_of::<CompactInode>() == 32);

/// The 64-byte inode: everything in full width, and its own modification time.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ExtendedInode {
    pub(super) format: U16,
    pub(super) xattr_count: U16,
    pub(super) mode: U16,
    pub(super) reserved: U16,
    pub(super) size: U64,
    pub(super) union: U32,
    pub(super) number: U32,
    pub(super) uid: U32,
    pub(super) gid: U32,
    pub(super) mtime: U64,
    pub(super) mtime_nsec: U32,
    pub(super) links: U32,
    pub(super) reserved_2: [u8; 16],
}
const _: () = assert!(size_of::<ExtendedInode>() == 64);
const _: () = assert!(std::mem::offset_of!(ExtendedInode, mtime) == 32);

/// Stands once before an inode's own extended attributes; all zero when none is shared.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned, Default)]
#[repr(C)]
pub(super) struct XattrHeader {
    pub(super) name_filter: U32,
    pub(super) shared_count: u8,
    pub(super) reserved: [u8; 7],
}
const _: () = assert!(size_of::<XattrHeader>() == 12);

/// Stands before the name and value of one extended attribute.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct XattrEntry {
    pub(super) name_len: u8,
    pub(super) name_index: u8,
    pub(super) value_size: U16,
}
const _: () = assert!(size_of::<XattrEntry>() == 4);

/// One entry of a directory block; the names follow all entries of the block.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DirEntry {
    pub(super) nid: U64,
    pub(super) name_offset: U16,
    pub(super) file_type: u8,
    pub(super) reserved: u8,
}
const _: () = assert!(size_of::<DirEntry>() == 12);

/// CRC-32C (Castagnoli) as the kernel's `crc32c(~0, …)` gives it: not inverted at the end.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn crc32c_known_answer() {
        assert_eq!(!super::crc32c(b"123456789"), 0xe306_9283);
    }
}
