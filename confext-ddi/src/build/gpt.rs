//! Writing a GUID Partition Table: sectors of 512 bytes, 128 entries, primary at the start, backup at the end.

use crate::error::{Corrupt, Result, Unsupported};
use crate::gpt::{Partition, Table, raw};
use crate::id::Guid;
use crate::units::PartitionNumber;
use std::io::{Seek, SeekFrom, Write};
use zerocopy::IntoBytes as _;
use zerocopy::little_endian::U16;

const SECTOR: u64 = 512;
const ENTRY_COUNT: u32 = 128;
/// Sectors of the entry array: 128 entries of 128 bytes.
const ENTRY_SECTORS: u64 = 32;
/// The first sector behind protective MBR, header and entries.
const FIRST_USABLE: u64 = 34;
/// Sectors of the backup copy: entries and header.
const BACKUP_SECTORS: u64 = 33;

/// Bytes of the backup copy, at the end of an image.
pub(super) const BACKUP_BYTES: u64 = BACKUP_SECTORS * SECTOR;
/// What partitions start and end at multiples of.
pub(super) const GRAIN: u64 = 4096;
/// Where the first partition starts: the first grain behind the primary copy, sector 40.
pub(super) const FIRST_PARTITION: u64 = 20_480;

/// Whether a table can be written again in the one form that is written here.
pub(super) fn check_room(table: &Table) -> Result<()> {
    let first = table.partitions.iter().map(|partition| partition.range.start()).min();
    let last = table.partitions.iter().map(|partition| partition.number.value()).max();
    let reason = if u64::from(table.sector_size.bytes()) != SECTOR {
        "its sectors do not have 512 bytes"
    } else if first.is_some_and(|first| first < FIRST_USABLE.saturating_mul(SECTOR)) {
        "a partition starts where its entries would be"
    } else if last.is_some_and(|last| last > ENTRY_COUNT) {
        "a partition has a number above 128"
    } else {
        return Ok(());
    };
    Err(Unsupported::GptNoRoom { reason }.into())
}

/// The number behind all others; else the lowest that is free.
pub(super) fn free_number(partitions: &[Partition]) -> Option<PartitionNumber> {
    let taken = |number: &u32| partitions.iter().any(|partition| partition.number.value() == *number);
    let last = partitions.iter().map(|partition| partition.number.value()).max().unwrap_or_default();
    let behind = last.checked_add(1).filter(|number| *number <= ENTRY_COUNT);
    let number = behind.or_else(|| (1..=ENTRY_COUNT).find(|number| !taken(number)));
    number.and_then(PartitionNumber::new)
}

/// Writes both copies around `partitions`: the backup copy behind the last partition, or at the end of `least_bytes` where
/// that is further. Returns the image's size.
///
/// The primary copy is written last: an image that was not finished has no table.
pub(super) fn write<W: Write + Seek>(
    out: &mut W,
    disk_guid: Guid,
    partitions: &[Partition],
    least_bytes: u64,
) -> Result<u64> {
    let end = partitions.iter().map(|partition| partition.range.end()).max().unwrap_or(FIRST_PARTITION);
    let sectors = end.div_ceil(SECTOR).saturating_add(BACKUP_SECTORS).max(least_bytes / SECTOR);
    let last = sectors.saturating_sub(1);
    let backup_entries = sectors.saturating_sub(BACKUP_SECTORS);

    let mut entries = vec![0; 16_384];
    for partition in partitions {
        let index = usize::try_from(partition.number.value()).ok().and_then(|number| number.checked_sub(1));
        let place = index.and_then(|index| entries.chunks_exact_mut(size_of::<raw::Entry>()).nth(index));
        let place = place.ok_or(Unsupported::GptNoRoom { reason: "a partition has a number above 128" })?;
        place.copy_from_slice(entry(partition)?.as_bytes());
    }
    let entries_crc = raw::crc(&[&entries]);
    let header = |my_lba: u64, alternate_lba: u64, entries_lba: u64| {
        raw::Header {
            signature: raw::SIGNATURE,
            revision: raw::REVISION.into(),
            header_bytes: raw::HEADER_BYTES.into(),
            header_crc: 0.into(),
            reserved: 0.into(),
            my_lba: my_lba.into(),
            alternate_lba: alternate_lba.into(),
            first_usable_lba: FIRST_USABLE.into(),
            last_usable_lba: backup_entries.saturating_sub(1).into(),
            disk_guid: disk_guid.to_disk_bytes(),
            entries_lba: entries_lba.into(),
            entry_count: ENTRY_COUNT.into(),
            entry_bytes: raw::ENTRY_BYTES.into(),
            entries_crc: entries_crc.into(),
        }
        .sealed()
    };

    out.seek(SeekFrom::Start(backup_entries.saturating_mul(SECTOR)))?;
    out.write_all(&entries)?;
    out.write_all(&sector(header(last, 1, backup_entries).as_bytes()))?;
    out.seek(SeekFrom::Start(SECTOR))?;
    out.write_all(&sector(header(1, last, 2).as_bytes()))?;
    out.write_all(&entries)?;
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&protective_mbr(last))?;
    Ok(sectors.saturating_mul(SECTOR))
}
const _: () = assert!(ENTRY_SECTORS * SECTOR == 16_384 && FIRST_USABLE == 2 + ENTRY_SECTORS);
const _: () = assert!(FIRST_PARTITION.is_multiple_of(GRAIN) && FIRST_PARTITION >= FIRST_USABLE * SECTOR);

fn entry(partition: &Partition) -> Result<raw::Entry> {
    let label = raw::encode_label(&partition.label);
    Ok(raw::Entry {
        type_guid: partition.type_guid.to_disk_bytes(),
        unique_guid: partition.unique_guid.to_disk_bytes(),
        first_lba: (partition.range.start() / SECTOR).into(),
        last_lba: (partition.range.end() / SECTOR).saturating_sub(1).into(),
        attributes: partition.attributes.bits().into(),
        label: label.ok_or_else(|| Corrupt::PartitionLabel { found: partition.label.clone() })?,
    })
}

fn sector(bytes: &[u8]) -> [u8; 512] {
    let mut sector = [0; 512];
    for (to, from) in sector.iter_mut().zip(bytes) {
        *to = *from;
    }
    sector
}

/// One partition of type 0xee over the whole disk, so that tools that do not know GPT leave it alone.
fn protective_mbr(last_lba: u64) -> [u8; 512] {
    #[derive(zerocopy::IntoBytes, zerocopy::Immutable)]
    #[repr(C)]
    struct Mbr {
        boot_code: [u8; 446],
        partition: [u8; 8],
        first_lba: [u8; 4],
        sectors: [u8; 4],
        unused: [[u8; 16]; 3],
        signature: U16,
    }
    const _: () = assert!(size_of::<Mbr>() == 512);
    let mbr = Mbr {
        boot_code: [0; 446],
        // Not bootable, from cylinder 0 head 0 sector 2, type 0xee, to the largest address there is.
        partition: [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff],
        first_lba: 1_u32.to_le_bytes(),
        sectors: u32::try_from(last_lba).unwrap_or(u32::MAX).to_le_bytes(),
        unused: [[0; 16]; 3],
        signature: 0xaa55.into(),
    };
    sector(mbr.as_bytes())
}
