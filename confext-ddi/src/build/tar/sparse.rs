//! Sparse files: the map of what is stored, in the forms GNU tar writes.

use super::extension::{Sparse, number};
use super::header::Range;
use super::{BLOCK, Reader, unsupported};
use crate::error::{Corrupt, LimitExceeded, Result};
use crate::read::ReadAt;
use crate::units::ByteRange;

/// The most ranges of one file: as many as are kept of a directory's.
const MAX_RANGES: usize = 1 << 16;

/// What of a file is stored, one range after the other; the rest is zeros.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) size: u64,
    pub(super) ranges: Vec<ByteRange>,
}

/// A map, and where and how long the stored bytes are.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) map: Map,
    pub(super) start: u64,
    pub(super) stored: u64,
}

impl Map {
    pub(super) const fn new(size: u64) -> Self {
        Self { size, ranges: Vec::new() }
    }

    /// Adds the next range: behind the one before, inside the file.
    fn push(&mut self, range: ByteRange) -> Result<()> {
        let before = self.ranges.last().map_or(0, |range| range.end());
        if range.start() < before || range.end() > self.size {
            let found = format!("bytes {} to {}", range.start(), range.end());
            let expected = "ranges in order and inside the file";
            return Err(Corrupt::TarHeader { what: "sparse map", found, expected }.into());
        }
        if range.is_empty() {
            return Ok(());
        }
        if self.ranges.len() >= MAX_RANGES {
            let (found, most) = (MAX_RANGES.saturating_add(1), MAX_RANGES);
            let (found, most) =
                (u64::try_from(found).unwrap_or(u64::MAX), u64::try_from(most).unwrap_or(u64::MAX));
            return Err(LimitExceeded::Count { what: "ranges of a sparse file", found, most }.into());
        }
        // Ranges that touch are one.
        match self.ranges.pop() {
            Some(last) if last.end() == range.start() => {
                self.ranges.extend(ByteRange::new(last.start(), range.end()));
            }
            last => {
                self.ranges.extend(last);
                self.ranges.push(range);
            }
        }
        Ok(())
    }

    /// Adds the ranges of a block in GNU's form, and says whether another block follows.
    pub(super) fn push_gnu(&mut self, ranges: &[Range], continues: bool) -> Result<bool> {
        for range in ranges {
            match range.clone()? {
                Some(range) => self.push(range)?,
                None if continues => {
                    let (found, expected) =
                        ("an unused range".to_owned(), "one in each place but the last block's");
                    return Err(Corrupt::TarHeader { what: "sparse map", found, expected }.into());
                }
                None => {}
            }
        }
        Ok(continues)
    }
}

/// The map of a file with PAX records: in the records (0.1) or at the start of its content (1.0).
pub(super) fn of_records<R: ReadAt + 'static>(
    reader: &Reader<'_, R>,
    wanted: &Sparse,
    stored: u64,
) -> Result<Found> {
    let missing = |found: &str| Corrupt::TarRecord { found: found.to_owned(), expected: "a size and a map" };
    let mut map = Map::new(wanted.real_size.ok_or_else(|| missing("no GNU.sparse.realsize"))?);
    match (wanted.major, wanted.minor, &wanted.map) {
        (Some(1), Some(0), None) => {
            let len = from_content(reader, &mut map, stored)?;
            let (start, stored) = (reader.position.saturating_add(len), stored.saturating_sub(len));
            Ok(Found { map, start, stored })
        }
        (None | Some(0), None | Some(1), Some(text)) => {
            let numbers: Vec<&str> = text.split(',').filter(|part| !part.is_empty()).collect();
            for pair in numbers.chunks(2) {
                let [offset, len] = pair else { return Err(missing(text).into()) };
                map.push(range(number("map", offset.as_bytes())?, number("map", len.as_bytes())?)?)?;
            }
            Ok(Found { map, start: reader.position, stored })
        }
        _ => Err(unsupported("a sparse file of another form than 0.1 or 1.0")),
    }
}

/// Reads the map in front of the content: the count, then offset and length of each range, a line each, padded to whole
/// blocks. Returns its length.
fn from_content<R: ReadAt + 'static>(reader: &Reader<'_, R>, map: &mut Map, stored: u64) -> Result<u64> {
    let mut lines = Lines { reader, stored, used: 0, block: Vec::new() };
    let count = lines.number()?;
    for _ in 0..count {
        let offset = lines.number()?;
        let len = lines.number()?;
        map.push(range(offset, len)?)?;
    }
    Ok(lines.used)
}

fn range(offset: u64, len: u64) -> Result<ByteRange> {
    let fault = || Corrupt::TarRecord { found: format!("{offset}, {len}"), expected: "an end below 2^64" };
    ByteRange::with_len(offset, len).ok_or_else(|| fault().into())
}

/// Numbers, a line each, in blocks that are read as they are needed.
struct Lines<'r, 'o, R> {
    reader: &'r Reader<'o, R>,
    stored: u64,
    /// Bytes of the blocks read.
    used: u64,
    /// What is left of the last one, backwards.
    block: Vec<u8>,
}

impl<R: ReadAt + 'static> Lines<'_, '_, R> {
    fn number(&mut self) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return number("map", &digits),
                // More digits than any number of 64 bits has.
                digit if digit.is_ascii_digit() && digits.len() < 20 => digits.push(digit),
                other => {
                    let found = other.escape_ascii().to_string();
                    return Err(
                        Corrupt::TarRecord { found, expected: "decimal digits and a line break" }.into()
                    );
                }
            }
        }
    }

    fn byte(&mut self) -> Result<u8> {
        if let Some(byte) = self.block.pop() {
            return Ok(byte);
        }
        let end = self.used.saturating_add(BLOCK);
        if end > self.stored {
            let found = format!("{} bytes of content", self.stored);
            return Err(Corrupt::TarRecord { found, expected: "a map that ends before it" }.into());
        }
        let at = self.reader.position.saturating_add(self.used);
        let last = at.checked_add(BLOCK).filter(|last| *last <= self.reader.size);
        last.ok_or(Corrupt::TarTruncated { end: at.saturating_add(BLOCK), size: self.reader.size })?;
        let mut block = vec![0; 512];
        self.reader.archive.read_exact_at(at, &mut block)?;
        block.reverse();
        self.used = end;
        self.block = block;
        self.block.pop().ok_or_else(|| Corrupt::TarTruncated { end, size: self.reader.size }.into())
    }
}
