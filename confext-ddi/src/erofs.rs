//! EROFS as it stands on disk, for reading and for writing: structures, constants, checksum.
//!
//! All integers are little-endian.
//!
//! *Spec:* "EROFS on-disk format" of the Linux kernel's documentation.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the superblock stands.
pub(crate) const SUPERBLOCK_OFFSET: u64 = 1024;
pub(crate) const MAGIC: u32 = 0xe0f5_e1e2;
/// Inodes start at multiples of this; an inode's number is its offset divided by it.
pub(crate) const SLOT_BYTES: u64 = 32;
/// The block address of a hole, with 32 bits.
pub(crate) const NULL_ADDRESS: u32 = u32::MAX;

/// Compatible feature: the superblock's checksum is set.
pub(crate) const COMPAT_CHECKSUM: u32 = 1;
/// Compatible feature: inodes carry modification times (not change times).
pub(crate) const COMPAT_MTIME: u32 = 2;
/// Incompatible feature: there are chunk-based files.
pub(crate) const INCOMPAT_CHUNKED: u32 = 4;

/// Data layouts of an inode, bits 1 to 3 of its format.
pub(crate) const FLAT_PLAIN: u16 = 0;
pub(crate) const FLAT_INLINE: u16 = 2;
pub(crate) const CHUNK_BASED: u16 = 4;

/// Prefixes of attribute names: number, prefix, whether a rest of the name must follow.
pub(crate) const XATTR_PREFIXES: [(u8, &[u8], bool); 5] = [
    (1, b"user.", true),
    (2, b"system.posix_acl_access", false),
    (3, b"system.posix_acl_default", false),
    (4, b"trusted.", true),
    (6, b"security.", true),
];

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Superblock {
    pub(crate) magic: U32,
    pub(crate) checksum: U32,
    pub(crate) feature_compat: U32,
    pub(crate) block_bits: u8,
    pub(crate) extension_slots: u8,
    pub(crate) root_nid: U16,
    pub(crate) inodes: U64,
    /// Seconds: what the times of compact inodes count from.
    pub(crate) epoch: U64,
    /// Nanoseconds of the times of compact inodes.
    pub(crate) fixed_nsec: U32,
    pub(crate) blocks: U32,
    pub(crate) meta_block: U32,
    pub(crate) xattr_block: U32,
    pub(crate) uuid: [u8; 16],
    pub(crate) volume_name: [u8; 16],
    pub(crate) feature_incompat: U32,
    pub(crate) compression: U16,
    pub(crate) extra_devices: U16,
    pub(crate) device_table_slot: U16,
    pub(crate) directory_block_bits: u8,
    pub(crate) xattr_prefix_count: u8,
    pub(crate) xattr_prefix_start: U32,
    pub(crate) packed_nid: U64,
    pub(crate) xattr_filter: u8,
    pub(crate) shared_inode_prefix: u8,
    pub(crate) reserved: [u8; 2],
    /// Seconds after `epoch` at which the image was made.
    pub(crate) build_time: U32,
    /// With 48-bit addresses, and unless it is 0: the root, and `root_nid` has the upper 16 bits of `blocks`.
    pub(crate) long_root_nid: U64,
    pub(crate) reserved_2: [u8; 8],
}
const _: () = assert!(size_of::<Superblock>() == 128);
const _: () = assert!(std::mem::offset_of!(Superblock, long_root_nid) == 112);
const _: () = assert!(std::mem::offset_of!(Superblock, feature_incompat) == 80);
const _: () = assert!(std::mem::offset_of!(Superblock, packed_nid) == 96);

/// The 32-byte inode: 16-bit owners and link count, 32-bit size, a time counted from the image's.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct CompactInode {
    pub(crate) format: U16,
    pub(crate) xattr_count: U16,
    pub(crate) mode: U16,
    /// Number of links; if bit 4 of the format says that it is one, the upper 16 bits of the start block.
    pub(crate) nlink: U16,
    pub(crate) size: U32,
    /// Seconds after the superblock's epoch; always 0 from older writers.
    pub(crate) mtime: U32,
    pub(crate) union: U32,
    pub(crate) ino: U32,
    pub(crate) uid: U16,
    pub(crate) gid: U16,
    pub(crate) reserved: U32,
}
const _: () = assert!(size_of::<CompactInode>() == 32);

/// The 64-byte inode: everything in full width, and its own modification time.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ExtendedInode {
    pub(crate) format: U16,
    pub(crate) xattr_count: U16,
    pub(crate) mode: U16,
    /// Upper 16 bits of the start block.
    pub(crate) start_high: U16,
    pub(crate) size: U64,
    pub(crate) union: U32,
    pub(crate) ino: U32,
    pub(crate) uid: U32,
    pub(crate) gid: U32,
    pub(crate) mtime: U64,
    pub(crate) mtime_nsec: U32,
    pub(crate) nlink: U32,
    pub(crate) reserved_2: [u8; 16],
}
const _: () = assert!(size_of::<ExtendedInode>() == 64);
const _: () = assert!(std::mem::offset_of!(ExtendedInode, mtime) == 32);

/// Stands once before an inode's own extended attributes; all zero when none is shared.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct XattrHeader {
    pub(crate) name_filter: U32,
    pub(crate) shared_count: u8,
    pub(crate) reserved: [u8; 7],
}
const _: () = assert!(size_of::<XattrHeader>() == 12);

/// Stands before the name and value of one extended attribute.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct XattrEntry {
    pub(crate) name_len: u8,
    pub(crate) name_index: u8,
    pub(crate) value_size: U16,
}
const _: () = assert!(size_of::<XattrEntry>() == 4);

/// One entry of a directory block; the names follow all entries of the block.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Dirent {
    pub(crate) nid: U64,
    pub(crate) name_offset: U16,
    pub(crate) file_type: u8,
    pub(crate) reserved: u8,
}
const _: () = assert!(size_of::<Dirent>() == 12);

/// CRC-32C (Castagnoli) as the kernel's `crc32c(~0, …)` gives it: not inverted at the end.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_crc_32c() {
        // The check value of the CRC catalogue is inverted at the end.
        assert_eq!(!super::crc32c(b"123456789"), 0xe306_9283);
    }
}
