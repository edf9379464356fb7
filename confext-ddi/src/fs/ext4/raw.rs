//! Structures of ext4 as they stand on disk.

use zerocopy::little_endian::{U16, U32};

pub(super) const MAGIC: u16 = 0xef53;
pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;
pub(super) const EXTENT_MAGIC: u16 = 0xf30a;
pub(super) const XATTR_MAGIC: u32 = 0xea02_0000;
/// The type of the entry at the end of a directory block that holds the block's checksum.
pub(super) const TAIL_TYPE: u8 = 0xde;

on_disk! {
    Superblock = 1024 {
        inodes: U32, blocks_low: U32, unused1: [u8; 12], first_data_block: U32, log_block_size: U32, unused2: [u8; 4],
        blocks_per_group: U32, unused3: [u8; 4], inodes_per_group: U32, unused4: [u8; 12], magic: U16,
        unused5: [u8; 18], revision: U32, unused6: [u8; 8], inode_size: U16, unused7: [u8; 2], compatible: U32,
        incompatible: U32, read_only_compatible: U32, uuid: [u8; 16], unused8: [u8; 134], descriptor_size: U16,
        unused9: [u8; 4], first_meta_group: U32, unused10: [u8; 72], blocks_high: U32, unused11: [u8; 33],
        checksum_type: u8, unused12: [u8; 214], backup_groups: [U32; 2], unused13: [u8; 28], checksum_seed: U32,
        unused14: [u8; 392], checksum: U32,
    }
    GroupDescriptor = 64 {
        unused1: [u8; 8], inode_table_low: U32, unused2: [u8; 18], checksum: U16, unused3: [u8; 8],
        inode_table_high: U32, unused4: [u8; 20],
    }
    Inode = 128 {
        mode: U16, uid_low: U16, size_low: U32, unused1: [u8; 8], mtime: U32, unused2: [u8; 4], gid_low: U16,
        links: U16, unused3: [u8; 4], flags: U32, unused4: [u8; 4], content: [u8; 60], generation: U32,
        xattr_block_low: U32, size_high: U32, unused5: [u8; 6], xattr_block_high: U16, uid_high: U16, gid_high: U16,
        checksum_low: U16, unused6: [u8; 2],
    }
    ExtentHeader = 12 { magic: U16, entries: U16, most: U16, depth: U16, generation: U32 }
    Extent = 12 { block: U32, len: U16, start_high: U16, start_low: U32 }
    ExtentIndex = 12 { block: U32, leaf_low: U32, leaf_high: U16, unused: U16 }
    DirectoryEntry = 8 { inode: U32, len: U16, name_len: u8, file_type: u8 }
    XattrHeader = 32 { magic: U32, references: U32, blocks: U32, hash: U32, checksum: U32, unused: [u8; 12] }
    XattrEntry = 16 {
        name_len: u8, name_index: u8, value_offset: U16, value_inode: U32, value_size: U32, hash: U32,
    }
    AclEntry = 4 { tag: U16, permissions: U16 }
    Pointer = 4 { block: U32 }
}
