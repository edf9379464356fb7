//! Structures that only readers need, as they stand on disk.

use zerocopy::little_endian::{U16, U32};

/// Compatible features: filters of attribute names, shared attributes in the metabox, prefixes in a place of their own.
pub(super) const COMPAT_XATTR_FILTER: u32 = 4;
pub(super) const COMPAT_SHARED_IN_METABOX: u32 = 8;
pub(super) const COMPAT_PLAIN_PREFIXES: u32 = 0x10;

/// Incompatible features. Two bits stand for two features each, as both came with the same version of the kernel.
pub(super) const INCOMPAT_ZERO_PADDING: u32 = 1;
pub(super) const INCOMPAT_COMPRESSION_CONFIGS: u32 = 2;
pub(super) const INCOMPAT_DEVICE_TABLE: u32 = 8;
pub(super) const INCOMPAT_48BIT: u32 = 0x80;
pub(super) const INCOMPAT_METABOX: u32 = 0x100;
pub(super) const INCOMPAT_KNOWN: u32 = 0x1ff;

/// What the extension slots of a superblock count in.
pub(super) const EXTENSION_SLOT_BYTES: u64 = 16;
/// Set in the number of an inode that is in the metabox.
pub(super) const IN_METABOX: u64 = 1 << 63;

/// Bit 4 of an inode's format: one link, and its field holds the upper bits of the start block; of a directory: it does
/// not list itself.
pub(super) const FORMAT_ONE_LINK: u16 = 0x10;
pub(super) const FORMAT_KNOWN: u16 = 0x1f;

/// The chunk format of an inode: power of two over the block size, long entries, 48-bit addresses in them.
pub(super) const CHUNK_BITS: u32 = 0x1f;
pub(super) const CHUNK_INDEXED: u32 = 0x20;
pub(super) const CHUNK_48BIT: u32 = 0x40;
pub(super) const CHUNK_KNOWN: u32 = 0x7f;

/// Advice of a compression header.
pub(super) const ADVISE_COMPACT_2B: u16 = 1;
/// The same bit, where the index is not compact.
pub(super) const ADVISE_EXTENTS: u16 = 1;
pub(super) const ADVISE_BIG_1: u16 = 2;
pub(super) const ADVISE_BIG_2: u16 = 4;
pub(super) const ADVISE_INLINE: u16 = 8;
pub(super) const ADVISE_INTERLACED: u16 = 0x10;
pub(super) const ADVISE_FRAGMENT: u16 = 0x20;

/// Set in a distance that is the number of blocks of a cluster instead.
pub(super) const BLOCK_COUNT: u32 = 1 << 11;
/// Set in a full index entry whose cluster holds more than the file has of it.
pub(super) const PARTIAL: u16 = 1 << 15;

/// Packed and unpacked size of a cluster, at most.
pub(super) const MOST_PACKED_BYTES: u64 = 1 << 20;
pub(super) const MOST_UNPACKED_BYTES: u64 = 12 << 20;

on_disk! {
    /// A device besides the image. `unified` is the block that its first block has, if all are seen as one.
    DeviceSlot = 128 {
        tag: [u8; 64], blocks_low: U32, unified_low: U32, blocks_high: U16, unified_high: U16, reserved: [u8; 52],
    }
    /// The long form of a chunk's address; the short one is the block alone.
    ChunkIndex = 8 { block_high: U16, device: U16, block_low: U32 }
    /// What stands before the index of a compressed file. `start` is the offset of a fragment, the size of an inline
    /// cluster in its upper half, or the number of extents.
    MapHeader = 8 { start: U32, advise: U16, algorithms: u8, cluster_bits: u8 }
    /// One logical cluster in a full index. `value` is a block, or two distances.
    ClusterIndex = 8 { advise: U16, cluster_offset: U16, value: [U16; 2] }
}
