//! Checked partition entries.

use crate::id::Guid;
use crate::units::{ByteRange, PartitionNumber};
use serde::Serialize;

bitflags::bitflags! {
    /// Attribute bits of a partition: those of UEFI (0–2) and of UAPI.2 (59, 60, 63). Unknown bits are kept.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Attributes: u64 {
        /// Bit 0: the platform needs this partition.
        const REQUIRED = 1;
        /// Bit 1: firmware must not read this partition as a device of its own.
        const NO_BLOCK_IO = 1 << 1;
        /// Bit 2: legacy BIOS may boot from it.
        const LEGACY_BOOT = 1 << 2;
        /// Bit 59: grow the file system to the partition when it is mounted writable.
        const GROWFS = 1 << 59;
        /// Bit 60: mount read-only.
        const READ_ONLY = 1 << 60;
        /// Bit 63: do not discover this partition.
        const NO_AUTO = 1 << 63;
        const _ = !0;
    }
}

impl Serialize for Attributes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        // Text, because bit 63 does not fit the numbers of most JSON readers.
        serializer.collect_str(&format_args!("{:#018x}", self.bits()))
    }
}

/// A used entry of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its place in the table, from 1.
    pub number: PartitionNumber,
    /// What it is for.
    pub type_guid: Guid,
    /// Which one it is.
    pub unique_guid: Guid,
    /// Where it lies, in bytes from the start of the image.
    pub range: ByteRange,
    /// Its attribute bits.
    pub attributes: Attributes,
    /// Its name.
    pub label: String,
}
