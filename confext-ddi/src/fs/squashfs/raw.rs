//! On-disk structures.

use zerocopy::little_endian::{I16, U16, U32, U64};

pub(super) const MAGIC: u32 = 0x7371_7368;
pub(super) const SUPERBLOCK_BYTES: u64 = 96;
/// The offset of a table that is not there.
pub(super) const ABSENT: u64 = u64::MAX;
/// The index of a fragment or of attributes that are not there.
pub(super) const NONE: u32 = u32::MAX;

on_disk! {
    Superblock = 96 {
        magic: U32, inodes: U32, mtime: U32, block_size: U32, fragments: U32, compression: U16, block_log: U16,
        flags: U16, ids: U16, major: U16, minor: U16, root: U64, bytes_used: U64, id_table: U64, xattr_table: U64,
        inode_table: U64, directory_table: U64, fragment_table: U64, export_table: U64,
    }
    InodeHeader = 16 { kind: U16, mode: U16, uid: U16, gid: U16, mtime: U32, serial: U32 }
    BasicDirectory = 16 { start: U32, nlink: U32, size: U16, offset: U16, parent: U32 }
    ExtendedDirectory = 24 { nlink: U32, size: U32, start: U32, parent: U32, indexes: U16, offset: U16, xattr: U32 }
    BasicFile = 16 { start: U32, fragment: U32, offset: U32, size: U32 }
    ExtendedFile = 40 { start: U64, size: U64, sparse: U64, nlink: U32, fragment: U32, offset: U32, xattr: U32 }
    Symlink = 8 { nlink: U32, size: U32 }
    Device = 8 { nlink: U32, device: U32 }
    DirectoryHeader = 12 { count: U32, start: U32, serial: U32 }
    DirectoryEntry = 8 { offset: U16, serial_delta: I16, kind: U16, name_len: U16 }
    Fragment = 16 { start: U64, size: U32, unused: U32 }
    XattrTable = 16 { start: U64, ids: U32, unused: U32 }
    XattrId = 16 { place: U64, count: U32, size: U32 }
    XattrName = 4 { kind: U16, len: U16 }
}
