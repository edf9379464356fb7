//! Small partition tables for tests, made with the same structs that are read.

use super::raw;
use crate::id::Guid;
use zerocopy::IntoBytes;

/// A table to be written in one or two copies.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) sector: u64,
    pub(crate) sectors: u64,
    pub(crate) entries: Vec<raw::Entry>,
    pub(crate) entry_bytes: u32,
}

impl Sample {
    /// An empty table with `count` entries of 128 bytes.
    pub(crate) fn new(sector: u64, sectors: u64, count: usize) -> Self {
        Self { sector, sectors, entries: vec![Self::unused(); count], entry_bytes: raw::ENTRY_BYTES }
    }

    pub(crate) fn unused() -> raw::Entry {
        raw::Entry {
            type_guid: [0; 16],
            unique_guid: [0; 16],
            first_lba: 0.into(),
            last_lba: 0.into(),
            attributes: 0.into(),
            label: [0.into(); raw::LABEL_UNITS],
        }
    }

    /// A used entry.
    pub(crate) fn entry(kind: Guid, id: Guid, (first, last): (u64, u64), label: &str) -> raw::Entry {
        raw::Entry {
            type_guid: kind.to_disk_bytes(),
            unique_guid: id.to_disk_bytes(),
            first_lba: first.into(),
            last_lba: last.into(),
            label: raw::encode_label(label).unwrap(),
            ..Self::unused()
        }
    }

    fn array_bytes(&self) -> u64 {
        self.entries.len() as u64 * u64::from(self.entry_bytes)
    }

    fn array_sectors(&self) -> u64 {
        self.array_bytes().div_ceil(self.sector)
    }

    fn array(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            bytes.extend_from_slice(entry.as_bytes());
            bytes.resize(bytes.len() + self.entry_bytes as usize - 128, 0);
        }
        bytes
    }

    /// First sector a partition may have.
    pub(crate) fn first_usable(&self) -> u64 {
        2 + self.array_sectors()
    }

    /// Last sector a partition may have.
    pub(crate) fn last_usable(&self) -> u64 {
        self.sectors - 2 - self.array_sectors()
    }

    /// The header of the primary copy, not sealed.
    pub(crate) fn header(&self) -> raw::Header {
        raw::Header {
            signature: raw::SIGNATURE,
            revision: raw::REVISION.into(),
            header_bytes: raw::HEADER_BYTES.into(),
            header_crc: 0.into(),
            reserved: 0.into(),
            my_lba: 1.into(),
            alternate_lba: (self.sectors - 1).into(),
            first_usable_lba: self.first_usable().into(),
            last_usable_lba: self.last_usable().into(),
            disk_guid: [7; 16],
            entries_lba: 2.into(),
            entry_count: (self.entries.len() as u32).into(),
            entry_bytes: self.entry_bytes.into(),
            entries_crc: raw::crc(&[&self.array()]).into(),
        }
    }

    /// The header of the backup copy, not sealed.
    pub(crate) fn backup_header(&self) -> raw::Header {
        raw::Header {
            my_lba: (self.sectors - 1).into(),
            alternate_lba: 1.into(),
            entries_lba: (self.last_usable() + 1).into(),
            ..self.header()
        }
    }

    /// Puts a header and the entries into an image, where the header says.
    pub(crate) fn put(&self, image: &mut [u8], header: raw::Header) {
        self.put_at(image, header, header.my_lba.get());
    }

    /// Puts a header at sector `lba`, and the entries where it says.
    pub(crate) fn put_at(&self, image: &mut [u8], header: raw::Header, lba: u64) {
        let at = (lba * self.sector) as usize;
        image[at..at + 92].copy_from_slice(header.sealed().as_bytes());
        let (at, array) = ((header.entries_lba.get() * self.sector) as usize, self.array());
        if let Some(place) = image.get_mut(at..at + array.len()) {
            place.copy_from_slice(&array);
        }
    }

    /// All zeros but the primary copy.
    pub(crate) fn primary_only(&self) -> Vec<u8> {
        let mut image = vec![0; (self.sectors * self.sector) as usize];
        self.put(&mut image, self.header());
        image
    }

    /// All zeros but the two copies.
    pub(crate) fn image(&self) -> Vec<u8> {
        let mut image = self.primary_only();
        self.put(&mut image, self.backup_header());
        image
    }
}
