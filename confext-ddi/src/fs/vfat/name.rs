//! Names: short ones of 8 and 3 bytes, and long ones in the entries before them.

use super::{raw, wrong};
use crate::error::Result;

/// Base and extension were written in lower case: Windows NT's way to save a long name.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// Units of UTF-16 in one entry, and in the longest name.
const UNITS: usize = 13;
const MOST_UNITS: usize = 255;
/// The bit of the entry that comes first and holds the end of the name.
const LAST: u8 = 0x40;

/// The upper half of code page 437, in which short names are taken to be, as Linux does.
const CODE_PAGE: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// What a short name's `.` and `..` are.
pub(super) const DOT: [u8; 11] = *b".          ";
pub(super) const DOT_DOT: [u8; 11] = *b"..         ";

/// The checksum of a short name that is in each part of its long one.
pub(super) fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// A short name as it is shown. The first byte 0x05 stands for 0xe5, which would be a deleted entry.
pub(super) fn short(entry: &raw::Entry) -> Result<String> {
    let mut bytes = entry.name;
    if let [first @ 0x05, ..] = &mut bytes {
        *first = raw::DELETED;
    }
    let (base, extension) = bytes.split_at_checked(8).unwrap_or((&bytes, &[]));
    let mut name = part(base, entry.case & LOWER_BASE != 0)?;
    if name.is_empty() {
        return Err(wrong("short name", 0_u32, "at least one character"));
    }
    let extension = part(extension, entry.case & LOWER_EXTENSION != 0)?;
    if !extension.is_empty() {
        name.push('.');
        name.push_str(&extension);
    }
    Ok(name)
}

/// One of a short name's parts, without the spaces that fill it.
fn part(bytes: &[u8], lower: bool) -> Result<String> {
    let decode = |byte: &u8| match byte {
        0 | b'/' => Err(wrong("short name", *byte, "characters but NUL and slash")),
        0x80.. => Ok(CODE_PAGE.chars().nth(usize::from(byte & 0x7f)).unwrap_or(char::REPLACEMENT_CHARACTER)),
        ascii => Ok(char::from(*ascii)),
    };
    let mut filled = bytes;
    while let [rest @ .., b' '] = filled {
        filled = rest;
    }
    let text: String = filled.iter().map(decode).collect::<Result<_>>()?;
    Ok(if lower { text.chars().map(lower_case).collect() } else { text })
}

/// The small letter, where the code page has it.
fn lower_case(letter: char) -> char {
    let mut small = letter.to_lowercase();
    match (small.next(), small.next()) {
        (Some(small), None) if small.is_ascii() || CODE_PAGE.contains(small) => small,
        _ => letter,
    }
}

/// A long name whose parts come one after the other, its end first.
#[derive(Debug)]
pub(super) struct Long {
    /// Parts that are still to come.
    missing: u8,
    checksum: u8,
    /// Units of the name from its end to its start, part by part.
    parts: Vec<[u16; UNITS]>,
}

impl Long {
    /// Takes the next part of `pending`, or the first one of a name.
    pub(super) fn add(pending: Option<Self>, entry: &raw::LongName) -> Result<Self> {
        if entry.kind != 0 || entry.cluster.get() != 0 {
            return Err(wrong("part of a long name", entry.kind, "neither kind nor cluster"));
        }
        let mut long = match pending {
            None if entry.order & LAST != 0 => {
                Self { missing: entry.order & !LAST, checksum: entry.checksum, parts: Vec::new() }
            }
            Some(long) if entry.checksum == long.checksum => long,
            Some(_) => return Err(wrong("checksum of a long name", entry.checksum, "the same in each part")),
            None => return Err(wrong("order of a long name", entry.order, "the part with its end first")),
        };
        let is_start = long.parts.is_empty();
        let order = if is_start { entry.order & !LAST } else { entry.order };
        if order == 0 || order > 20 || order != long.missing {
            return Err(wrong("order of a long name", entry.order, "one less in each part, down to 1"));
        }
        let mut units = entry.first.iter().chain(&entry.second).chain(&entry.third);
        long.parts.push(std::array::from_fn(|_| units.next().map_or(0, |unit| unit.get())));
        long.missing = long.missing.saturating_sub(1);
        Ok(long)
    }

    /// The whole name, which belongs to this short one.
    pub(super) fn finish(self, short: &[u8; 11]) -> Result<String> {
        if self.missing != 0 {
            return Err(wrong("order of a long name", self.missing, "all parts before the short name"));
        }
        if checksum(short) != self.checksum {
            return Err(wrong("checksum of a long name", self.checksum, "that of its short name"));
        }
        let units: Vec<u16> = self.parts.iter().rev().flatten().copied().collect();
        let end = units.iter().position(|&unit| unit == 0);
        let (name, filling) = units.split_at_checked(end.unwrap_or(units.len())).unwrap_or((&units, &[]));
        // The end, if it is marked, is in the last part, and what fills that part is 0xffff.
        let fills = filling.iter().skip(1).all(|&unit| unit == 0xffff);
        if name.is_empty() || name.len() > MOST_UNITS || filling.len() >= UNITS || !fills {
            return Err(wrong("long name", name.len(), "1 to 255 units in as many parts as they need"));
        }
        let name: std::result::Result<String, _> = char::decode_utf16(name.iter().copied()).collect();
        let name = name.map_err(|found| {
            wrong("long name", found.unpaired_surrogate(), "UTF-16 without half of a surrogate pair")
        })?;
        if name.contains('/') || matches!(name.as_str(), "." | "..") {
            return Err(wrong("long name", name.len(), "a name without slash, neither . nor .."));
        }
        Ok(name)
    }
}
