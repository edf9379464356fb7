//! Structures of FAT as they stand on disk.

use zerocopy::little_endian::{U16, U32};

/// The last two bytes of the first 512.
pub(super) const SIGNATURE: u16 = 0xaa55;
pub(super) const SIGNATURE_OFFSET: u64 = 510;
pub(super) const WIDE_OFFSET: u64 = 36;

/// The first byte of an entry that was deleted.
pub(super) const DELETED: u8 = 0xe5;

/// Attributes of an entry.
pub(super) mod attribute {
    pub(in super::super) const LABEL: u8 = 0x08;
    pub(in super::super) const DIRECTORY: u8 = 0x10;
    /// Part of a long name.
    pub(in super::super) const LONG_NAME: u8 = 0x0f;
    /// All that mean something.
    pub(in super::super) const KNOWN: u8 = 0x3f;
}

on_disk! {
    BootSector = 36 {
        jump: [u8; 3], maker: [u8; 8], sector_bytes: U16, cluster_sectors: u8, reserved_sectors: U16, tables: u8,
        root_entries: U16, few_sectors: U16, media: u8, table_sectors: U16, unused: [u8; 8], many_sectors: U32,
    }
    /// What follows in FAT32.
    Wide = 28 {
        table_sectors: U32, flags: U16, version: U16, root_cluster: U32, info_sector: U16, backup_sector: U16,
        unused: [u8; 12],
    }
    Entry = 32 {
        name: [u8; 11], attributes: u8, case: u8, created: [u8; 5], accessed: U16, cluster_high: U16, time: U16,
        date: U16, cluster_low: U16, size: U32,
    }
    LongName = 32 {
        order: u8, first: [U16; 5], attributes: u8, kind: u8, checksum: u8, second: [U16; 6], cluster: U16,
        third: [U16; 2],
    }
}
