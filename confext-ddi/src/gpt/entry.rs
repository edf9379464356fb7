//! Checked partition entries.

use super::header::{TableCopy, sector_range};
use super::raw;
use crate::error::{Corrupt, Result};
use crate::id::Guid;
use crate::units::{ByteRange, PartitionNumber};
use serde::Serialize;
use std::collections::BTreeMap;
use zerocopy::FromBytes;
use zerocopy::little_endian::U16;

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
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::{Limits, gpt::{Attributes, Table}};
///
/// let table = Table::read(&bytes, &Limits::default())?.ok_or("an image built here has a table")?;
/// let root = &table.partitions[0];
/// assert_eq!((root.number.value(), root.range.start()), (1, 20480));
/// assert!(root.attributes.contains(Attributes::READ_ONLY));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// Its name. An entry whose label is not UTF-16 is refused, so that no two labels read the same.
    pub label: String,
}

/// Checks every used entry of a copy: in range, no two of them overlapping or of one identifier.
pub(super) fn parse_all(copy: &TableCopy) -> Result<Vec<Partition>> {
    let mut partitions = Vec::new();
    for (index, bytes) in copy.entries.chunks_exact(copy.entry_bytes).enumerate() {
        let offset = u64::try_from(index.saturating_mul(copy.entry_bytes)).unwrap_or(u64::MAX);
        let number = u32::try_from(index).ok().and_then(|index| index.checked_add(1));
        let parsed = number.and_then(PartitionNumber::new).map(|number| parse(copy, number, bytes));
        let parsed = parsed
            .transpose()
            .map_err(|error| error.at_offset(copy.entries_offset.saturating_add(offset)))?;
        partitions.extend(parsed.flatten());
    }
    check_overlaps(&partitions)?;
    check_duplicates(&partitions)?;
    Ok(partitions)
}

fn parse(copy: &TableCopy, number: PartitionNumber, bytes: &[u8]) -> Result<Option<Partition>> {
    let Ok((raw, _)) = raw::Entry::read_from_prefix(bytes) else { return Ok(None) };
    let type_guid = Guid::from_disk_bytes(raw.type_guid);
    if type_guid.is_zero() {
        return Ok(None);
    }
    let (first, last) = (raw.first_lba.get(), raw.last_lba.get());
    if last < first {
        return Err(Corrupt::GptPartitionRange { number, first, last }.into());
    }
    let (usable_first, usable_last) = copy.usable;
    let range = sector_range(copy.sector_size, first, last)
        .filter(|range| copy.usable_bytes.contains(*range))
        .ok_or(Corrupt::GptPartitionOutside { number, first, last, usable_first, usable_last })?;
    Ok(Some(Partition {
        number,
        type_guid,
        unique_guid: Guid::from_disk_bytes(raw.unique_guid),
        range,
        attributes: Attributes::from_bits_retain(raw.attributes.get()),
        label: decode_label(&raw.label).map_err(|found| Corrupt::GptLabel { number, found })?,
    }))
}

/// The text up to the first NUL; the unpaired surrogate where it is not UTF-16.
fn decode_label(units: &[U16]) -> std::result::Result<String, u16> {
    let used = units.iter().map(|unit| unit.get()).take_while(|unit| *unit != 0);
    char::decode_utf16(used).map(|char| char.map_err(|error| error.unpaired_surrogate())).collect()
}

fn check_overlaps(partitions: &[Partition]) -> Result<()> {
    let mut by_start: Vec<&Partition> = partitions.iter().collect();
    by_start.sort_by_key(|partition| partition.range.start());
    // Sorted by start, a partition that overlaps any later one overlaps the next one.
    for (one, next) in by_start.iter().zip(by_start.iter().skip(1)) {
        if one.range.overlaps(next.range) {
            let (first, second) = (one.number.min(next.number), one.number.max(next.number));
            return Err(Corrupt::GptOverlap { first, second }.into());
        }
    }
    Ok(())
}

/// An identifier of zeros is none: whoever needs one says so.
fn check_duplicates(partitions: &[Partition]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for partition in partitions.iter().filter(|partition| !partition.unique_guid.is_zero()) {
        if let Some(first) = seen.insert(partition.unique_guid, partition.number) {
            let (second, found) = (partition.number, partition.unique_guid.to_uuid());
            return Err(Corrupt::GptDuplicate { first, second, found }.into());
        }
    }
    Ok(())
}
