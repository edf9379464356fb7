//! Entries of directories, and their times.

use super::name::Name;

pub(super) const LABEL: u8 = 0x08;
pub(super) const DIRECTORY: u8 = 0x10;
pub(super) const ARCHIVE: u8 = 0x20;
const LONG_NAME: u8 = 0x0f;
/// Units of UTF-16 in one entry of a long name.
pub(super) const UNITS: usize = 13;

/// A date and a time of FAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    date: u16,
    time: u16,
}

impl Time {
    /// The pair of seconds a moment is in, at the earliest the start of 1980; `None` after 2107.
    pub(super) fn new(seconds: i64) -> Option<Self> {
        /// The start of 1980.
        const START: i64 = 315_532_800;
        let since = u32::try_from(seconds.saturating_sub(START).max(0)).ok()?;
        let (mut day, rest) = (since / 86_400, since % 86_400);
        // 2100, 120 years after the start, is no leap year.
        let is_leap = |year: u32| year.is_multiple_of(4) && year != 120;
        let year = (0..128_u32).find(|&year| {
            let days = if is_leap(year) { 366 } else { 365 };
            let is_in = day < days;
            day = if is_in { day } else { day.saturating_sub(days) };
            is_in
        })?;
        let month = (1..=12_u32).find(|&month| {
            let days = match month {
                2 if is_leap(year) => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let is_in = day < days;
            day = if is_in { day } else { day.saturating_sub(days) };
            is_in
        })?;
        let date = year << 9 | month << 5 | day.saturating_add(1);
        let time = (rest / 3600) << 11 | (rest / 60 % 60) << 5 | (rest % 60 / 2);
        Some(Self { date: u16::try_from(date).ok()?, time: u16::try_from(time).ok()? })
    }
}

/// A label as it stands in entries and in the boot sector: what fits, padded with spaces.
pub(super) fn label(text: &str) -> [u8; 11] {
    let mut bytes = text.bytes();
    std::array::from_fn(|_| bytes.next().unwrap_or(b' ').to_ascii_uppercase())
}

/// Adds an entry with a short name; `content` is its first cluster and its size.
pub(super) fn short(out: &mut Vec<u8>, name: [u8; 11], attributes: u8, at: Time, content: (u32, u32)) {
    let ([low_0, low_1, high_0, high_1], size) = (content.0.to_le_bytes(), content.1);
    out.extend_from_slice(&name);
    out.extend_from_slice(&[attributes, 0, 0]);
    // When it was made, and when it was read last.
    out.extend_from_slice(&at.time.to_le_bytes());
    out.extend_from_slice(&at.date.to_le_bytes());
    out.extend_from_slice(&at.date.to_le_bytes());
    out.extend_from_slice(&[high_0, high_1]);
    out.extend_from_slice(&at.time.to_le_bytes());
    out.extend_from_slice(&at.date.to_le_bytes());
    out.extend_from_slice(&[low_0, low_1]);
    out.extend_from_slice(&size.to_le_bytes());
}

/// Adds the entries of a long name, its end first, where it has one.
pub(super) fn long(out: &mut Vec<u8>, name: &Name) {
    let checksum = name.short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let parts = name.long.chunks(UNITS);
    let count = parts.len();
    for (index, part) in parts.enumerate().rev() {
        let order = u8::try_from(index.saturating_add(1)).unwrap_or(u8::MAX);
        let last = if index.saturating_add(1) == count { 0x40 } else { 0 };
        let filling = std::iter::once(0).chain(std::iter::repeat(0xffff_u16));
        let units: Vec<u16> = part.iter().copied().chain(filling).take(UNITS).collect();
        let bytes = |from: usize, to: usize| -> Vec<u8> {
            units.get(from..to).unwrap_or_default().iter().flat_map(|unit| unit.to_le_bytes()).collect()
        };
        out.push(order | last);
        out.extend(bytes(0, 5));
        out.extend_from_slice(&[LONG_NAME, 0, checksum]);
        out.extend(bytes(5, 11));
        out.extend_from_slice(&[0, 0]);
        out.extend(bytes(11, 13));
    }
}
