//! Checked headers: one copy of a table, with the bytes of its entries.

use super::raw;
use crate::error::{Corrupt, Error, LimitExceeded, Result, Unsupported};
use crate::id::Guid;
use crate::limits::Limits;
use crate::read::{ReadAt, read_vec};
use crate::units::{ByteRange, Lba, SectorSize};
use zerocopy::FromBytes;

/// One copy of a table whose header and entries match their checksums.
#[derive(Debug)]
pub(super) struct TableCopy {
    pub(super) sector_size: SectorSize,
    pub(super) lba: Lba,
    pub(super) alternate: Lba,
    pub(super) disk_guid: Guid,
    /// First and last usable sector, inclusive, inside the image.
    pub(super) usable: (u64, u64),
    pub(super) usable_bytes: ByteRange,
    pub(super) entry_bytes: usize,
    pub(super) entries_offset: u64,
    pub(super) entries: Vec<u8>,
}

impl TableCopy {
    /// Whether the two point at each other and describe the same partitions.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        (self.alternate, other.alternate) == (other.lba, self.lba)
            && self.disk_guid == other.disk_guid
            && self.usable == other.usable
            && self.entry_bytes == other.entry_bytes
            && self.entries == other.entries
    }
}

/// What is found where a header could be.
#[derive(Debug)]
pub(super) enum Attempt {
    /// No magic.
    Absent,
    /// A magic, but it does not check; the alternate place is what the bytes say, unchecked.
    Bad { error: Error, alternate: Lba },
    /// A copy that checks.
    Good(TableCopy),
}

/// Where to look for a copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    pub(super) image_bytes: u64,
    pub(super) sector_size: SectorSize,
    pub(super) lba: Lba,
}

impl Site {
    /// How many whole sectors the image has.
    pub(super) fn sectors(self) -> u64 {
        self.image_bytes.checked_div(u64::from(self.sector_size.bytes())).unwrap_or(0)
    }

    /// Looks for a copy here.
    ///
    /// # Errors
    ///
    /// Only what has nothing to do with the copy: reading failed, or a checked source refuses its bytes.
    pub(super) fn look<R: ReadAt + ?Sized>(self, reader: &R, limits: &Limits) -> Result<Attempt> {
        if self.lba.0 >= self.sectors() {
            return Ok(Attempt::Absent);
        }
        let Some(offset) = self.sector_size.offset_of(self.lba) else { return Ok(Attempt::Absent) };
        let len = usize::try_from(self.sector_size.bytes()).map_err(|_| too_large(u64::MAX, 0))?;
        let sector = read_vec(reader, offset, len)?;
        let Ok((raw, _)) = raw::Header::read_from_prefix(&sector) else { return Ok(Attempt::Absent) };
        if raw.signature != raw::SIGNATURE {
            return Ok(Attempt::Absent);
        }
        match self.check(&raw, &sector).and_then(|header| header.entries(reader, limits)) {
            Ok(copy) => Ok(Attempt::Good(copy)),
            Err(error) if matches!(error.family(), "io" | "unverified") => Err(error),
            Err(error) => {
                let error = error.at_offset(offset);
                Ok(Attempt::Bad { error, alternate: Lba(raw.alternate_lba.get()) })
            }
        }
    }

    fn check<'a>(self, raw: &'a raw::Header, sector: &[u8]) -> Result<Header<'a>> {
        let most = self.sector_size.bytes();
        let found = raw.header_bytes.get();
        let hashed = usize::try_from(found).ok().and_then(|len| sector.get(..len));
        let hashed = match hashed {
            Some(hashed) if found >= raw::HEADER_BYTES => hashed,
            _ => return Err(Corrupt::GptHeaderSize { found, most }.into()),
        };
        let (found, expected) = (raw.header_crc.get(), raw::header_crc(hashed).unwrap_or(0));
        if found != expected {
            return Err(Corrupt::GptHeaderCrc { found, expected }.into());
        }
        let found = raw.revision.get();
        if found != raw::REVISION {
            return Err(Unsupported::GptRevision { found }.into());
        }
        let (found, expected) = (raw.my_lba.get(), self.lba.0);
        if found != expected {
            return Err(Corrupt::GptHeaderPlace { found, expected }.into());
        }
        let found = raw.entry_bytes.get();
        // 128 × 2ⁿ. How much that is together with their number is for the limit to say.
        if !found.is_power_of_two() || found < raw::ENTRY_BYTES {
            return Err(Corrupt::GptEntrySize { found }.into());
        }
        let (first, last, sectors) = (raw.first_usable_lba.get(), raw.last_usable_lba.get(), self.sectors());
        let wrong = || Corrupt::GptUsableRange { first, last, sectors };
        if first < 2 || last < first || last >= sectors || (first..=last).contains(&self.lba.0) {
            return Err(wrong().into());
        }
        let usable = sector_range(self.sector_size, first, last).ok_or_else(wrong)?;
        Ok(Header { site: self, raw, usable })
    }
}

/// The bytes of the sectors from `first` to `last`, both included: the one place where GPT's inclusive ends are converted.
pub(super) fn sector_range(sector_size: SectorSize, first: u64, last: u64) -> Option<ByteRange> {
    ByteRange::new(sector_size.offset_of(Lba(first))?, sector_size.offset_of(Lba(last.checked_add(1)?))?)
}

fn too_large(found: u64, most: u64) -> LimitExceeded {
    LimitExceeded::Bytes { what: "partition entry array", found, most }
}

/// A header that matches its checksum and whose fields are in range.
struct Header<'a> {
    site: Site,
    raw: &'a raw::Header,
    usable: ByteRange,
}

impl Header<'_> {
    fn entries<R: ReadAt + ?Sized>(&self, reader: &R, limits: &Limits) -> Result<TableCopy> {
        let Site { image_bytes, sector_size, lba } = self.site;
        let (count, each) = (self.raw.entry_count.get(), self.raw.entry_bytes.get());
        let len_bytes = u64::from(count).saturating_mul(u64::from(each));
        let most = limits.gpt_entries_bytes;
        if len_bytes > most {
            return Err(too_large(len_bytes, most).into());
        }
        let len = usize::try_from(len_bytes).map_err(|_| too_large(len_bytes, most))?;
        let first = self.raw.entries_lba.get();
        let sector_bytes = u64::from(sector_size.bytes());
        let last = first.saturating_add(len_bytes.div_ceil(sector_bytes)).saturating_sub(1);
        let place = sector_range(sector_size, first, last.max(first))
            .filter(|place| first >= 2 && place.end() <= image_bytes)
            .filter(|place| !place.overlaps(self.usable) && !(first..=last).contains(&lba.0));
        let Some(place) = place else {
            return Err(Corrupt::GptEntriesPlace { first, last }.into());
        };
        let entries = read_vec(reader, place.start(), len)?;
        let (found, expected) = (self.raw.entries_crc.get(), raw::crc(&[&entries]));
        if found != expected {
            return Err(Error::from(Corrupt::GptEntriesCrc { found, expected }).at_offset(place.start()));
        }
        Ok(TableCopy {
            sector_size,
            lba,
            alternate: Lba(self.raw.alternate_lba.get()),
            disk_guid: Guid::from_disk_bytes(self.raw.disk_guid),
            usable: (self.raw.first_usable_lba.get(), self.raw.last_usable_lba.get()),
            usable_bytes: self.usable,
            entry_bytes: usize::try_from(each).map_err(|_| Corrupt::GptEntrySize { found: each })?,
            entries_offset: place.start(),
            entries,
        })
    }
}
