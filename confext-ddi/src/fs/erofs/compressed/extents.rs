//! Indexes with one record for each extent, as images with 48-bit addresses have them.
//!
//! Records have 4, 8, 16 or 32 bytes: a packed length; where it starts, or nothing if one follows the other; and the offset
//! in the file, or nothing if all extents but the last have the same size.

use super::decode::Take;
use super::map::{Layer, algorithm};
use super::{Cluster, Extent, Place, Source, raw, wrong};
use crate::ReadAt;
use crate::error::Result;
use crate::fs::erofs::meta::Records;
use crate::fs::erofs::{add, overflow};
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub(super) struct Extents {
    layer: Layer,
    records: u64,
    width: Width,
    count: u64,
    /// The record that was found last, and where its packed bytes are if they follow those before.
    last: Mutex<Position>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// Packed length only; the place of the first stands before all.
    Four,
    Eight,
    Sixteen,
    ThirtyTwo,
}

impl Width {
    const fn bytes(self) -> u64 {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
            Self::Sixteen => 16,
            Self::ThirtyTwo => 32,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Position {
    number: u64,
    place: u64,
}

/// A record: packed length with flags, place, and offset in the file.
#[derive(Debug, Clone, Copy)]
struct Record {
    packed: u32,
    place_low: u32,
    place_high: u32,
    start: u64,
}

/// The packed length, a flag for clusters with more in them, and the number of the algorithm plus one.
const LENGTH: u32 = (1 << 21) - 1;
const PARTIAL: u32 = 1 << 27;
const ALGORITHM_SHIFT: u32 = 28;

impl Extents {
    pub(super) fn new(layer: Layer, header: &raw::MapHeader, records: u64) -> Result<Self> {
        let width = match (layer.advise >> 1) & 3 {
            0 => Width::Four,
            1 => Width::Eight,
            2 => Width::Sixteen,
            _ => Width::ThirtyTwo,
        };
        let count = match width {
            Width::Four | Width::Eight => layer.size_bytes.div_ceil(layer.cluster_size.get()),
            Width::Sixteen | Width::ThirtyTwo => {
                let high = u64::from(header.algorithms) | u64::from(header.cluster_bits) << 8;
                high << 32 | u64::from(header.start.get())
            }
        };
        let records = records.checked_next_multiple_of(width.bytes()).ok_or_else(overflow)?;
        Ok(Self { layer, records, width, count, last: Mutex::default() })
    }

    pub(super) fn extent<R: ReadAt>(&self, records: &mut Records<'_, R>, at: u64) -> Result<Extent> {
        match self.width {
            Width::Four | Width::Eight => self.of_one_size(records, at),
            Width::Sixteen | Width::ThirtyTwo => self.of_any_size(records, at),
        }
    }

    fn of_one_size<R: ReadAt>(&self, records: &mut Records<'_, R>, at: u64) -> Result<Extent> {
        let number = at / self.layer.cluster_size;
        let start = number.checked_mul(self.layer.cluster_size.get()).ok_or_else(overflow)?;
        let end = start.saturating_add(self.layer.cluster_size.get()).min(self.layer.size_bytes);
        let (record, place) = if self.width == Width::Four {
            self.following(records, number)?
        } else {
            let record = self.record(records, number)?;
            (record, record.place_low.into())
        };
        self.made(&record, place, start, end)
    }

    /// The record of this number, and the place that the lengths of those before it come to.
    fn following<R: ReadAt>(&self, records: &mut Records<'_, R>, number: u64) -> Result<(Record, u64)> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut position = if last.number <= number && last.place != 0 {
            last
        } else {
            Position { number: 0, place: u64::from_le_bytes(records.get(self.records)?) }
        };
        loop {
            let record = self.record(records, position.number)?;
            if position.number == number {
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = position;
                return Ok((record, position.place));
            }
            position.place = add(position.place, (record.packed & LENGTH).into())?;
            position.number = position.number.saturating_add(1);
        }
    }

    fn of_any_size<R: ReadAt>(&self, records: &mut Records<'_, R>, at: u64) -> Result<Extent> {
        let size = self.layer.size_bytes;
        // The last record that starts at or before the offset, by bisection; the one after the last found comes first.
        let (mut low, mut high) = (0, self.count);
        let mut guess = self.last.lock().unwrap_or_else(PoisonError::into_inner).number.saturating_add(1);
        let mut found: Option<(u64, Record)> = None;
        let mut end = size;
        while low < high {
            let middle = if (low..high).contains(&guess) {
                guess
            } else {
                low.saturating_add(high.saturating_sub(low) / 2)
            };
            let record = self.record(records, middle)?;
            if record.start > end {
                return Err(wrong(
                    "extent of a compressed file",
                    record.start,
                    "extents in the order of the file",
                ));
            }
            if record.start > at {
                (high, end) = (middle, record.start);
            } else {
                low = middle.saturating_add(1);
                found = Some((middle, record));
            }
            // After a hit most likely the next one is behind the offset, and the search is over.
            guess = low;
        }
        let Some((number, record)) = found else {
            return Ok(Extent { start: 0, end, source: Source::Hole });
        };
        self.last.lock().unwrap_or_else(PoisonError::into_inner).number = number;
        let place = u64::from(record.place_high) << 32 | u64::from(record.place_low);
        self.made(&record, place, record.start, end)
    }

    fn record<R: ReadAt>(&self, records: &mut Records<'_, R>, number: u64) -> Result<Record> {
        // The place of the first cluster stands before the short records.
        let first = if self.width == Width::Four { add(self.records, 8)? } else { self.records };
        let at = number
            .checked_mul(self.width.bytes())
            .and_then(|offset| first.checked_add(offset))
            .ok_or_else(overflow)?;
        let words: [u32; 5] = match self.width {
            Width::Four => {
                let [packed] = words(records.get::<4>(at)?);
                [packed, 0, 0, 0, 0]
            }
            Width::Eight => {
                let [packed, place] = words(records.get::<8>(at)?);
                [packed, place, 0, 0, 0]
            }
            Width::Sixteen => {
                let [packed, low, high, start] = words(records.get::<16>(at)?);
                [packed, low, high, start, 0]
            }
            Width::ThirtyTwo => {
                let [packed, low, high, start, start_high, ..] = words::<32, 8>(records.get(at)?);
                [packed, low, high, start, start_high]
            }
        };
        let [packed, place_low, place_high, start, start_high] = words;
        Ok(Record { packed, place_low, place_high, start: u64::from(start_high) << 32 | u64::from(start) })
    }

    fn made(&self, record: &Record, place: u64, start: u64, end: u64) -> Result<Extent> {
        let len_bytes = u64::from(record.packed & LENGTH);
        if end == self.layer.size_bytes && self.layer.advises(raw::ADVISE_FRAGMENT) {
            let high = if self.width == Width::Four { 0 } else { u64::from(record.place_low) << 32 };
            return Ok(Extent { start, end, source: Source::Fragment(u64::from(record.packed) | high) });
        }
        if len_bytes == 0 {
            return Ok(Extent { start, end, source: Source::Hole });
        }
        let whole_blocks = place % self.layer.block_size == 0 && len_bytes % self.layer.block_size == 0;
        let packing = match record.packed >> ALGORITHM_SHIFT {
            0 if whole_blocks => self.layer.uncompressed(),
            0 => super::Packing::Stored,
            format => algorithm(format.saturating_sub(1))?,
        };
        let take = if record.packed & PARTIAL == 0 { Take::All } else { Take::Part };
        let cluster = Cluster { place: Place::Device(place), len_bytes, packing, take };
        Ok(Extent { start, end, source: Source::Cluster(cluster) })
    }
}

/// Little-endian words.
fn words<const N: usize, const M: usize>(bytes: [u8; N]) -> [u32; M] {
    let mut words = [0; M];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}
