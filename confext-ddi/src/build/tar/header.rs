//! The header of an entry: 512 bytes, text fields, numbers in octal or base 256.

use super::unsupported;
use crate::build::tree::Timestamp;
use crate::error::{Corrupt, Result};
use crate::units::ByteRange;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A header as it stands in the archive.
///
/// *Layout*: POSIX ustar; GNU tar has other fields from byte 345 on ([`RawGnu`]).
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    name: [u8; 100],
    mode: [u8; 8],
    uid: [u8; 8],
    gid: [u8; 8],
    size: [u8; 12],
    mtime: [u8; 12],
    checksum: [u8; 8],
    kind: u8,
    target: [u8; 100],
    magic: [u8; 8],
    user: [u8; 32],
    group: [u8; 32],
    major: [u8; 8],
    minor: [u8; 8],
    rest: [u8; 167],
}
const _: () = assert!(size_of::<Raw>() == 512);

/// Bytes 345 to 511 in GNU's form.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawGnu {
    atime: [u8; 12],
    ctime: [u8; 12],
    offset: [u8; 12],
    long_names: [u8; 4],
    unused: u8,
    sparse: [RawRange; 4],
    continues: u8,
    real_size: [u8; 12],
    padding: [u8; 17],
}
const _: () = assert!(size_of::<RawGnu>() == 167);

/// A stored range of a sparse file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRange {
    offset: [u8; 12],
    len: [u8; 12],
}

/// A block of more ranges.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSparse {
    ranges: [RawRange; 21],
    continues: u8,
    padding: [u8; 7],
}
const _: () = assert!(size_of::<RawSparse>() == 512);

const USTAR: &[u8; 8] = b"ustar\x0000";
const GNU: &[u8; 8] = b"ustar  \x00";
const V7: &[u8; 8] = &[0; 8];

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Regular,
    HardLink,
    Symlink,
    Character,
    Block,
    Directory,
    Fifo,
    GnuSparse,
    /// Records about the next entry.
    Pax,
    /// Records about all entries that follow.
    PaxGlobal,
    /// The name of the next entry.
    LongName,
    /// The link target of the next entry.
    LongTarget,
}

/// A header with its fields read. Numbers that a record may replace are checked where they are used.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) kind: Type,
    pub(super) name: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) mode: u16,
    pub(super) uid: Result<u32, Corrupt>,
    pub(super) gid: Result<u32, Corrupt>,
    pub(super) size: u64,
    pub(super) mtime: Result<Timestamp, Corrupt>,
    pub(super) device: Result<(u32, u32), Corrupt>,
    /// Of a sparse file in GNU's format: offset and length of each stored range.
    pub(super) sparse: Vec<Range>,
    pub(super) sparse_continues: bool,
    pub(super) real_size: Result<u64, Corrupt>,
}

/// Offset and length of a stored range; `None` for an unused slot.
pub(super) type Range = Result<Option<ByteRange>, Corrupt>;

impl Header {
    /// Reads a header: checksum, magic, kind, then each field.
    pub(super) fn parse(block: &[u8; 512]) -> Result<Self> {
        let raw = Raw::read_from_bytes(block).map_err(|_| wrong("header", block, "512 bytes"))?;
        let found = sum(block, &raw.checksum);
        let expected = unsigned("checksum", &raw.checksum)?;
        if found != expected {
            return Err(Corrupt::TarChecksum { found, expected }.into());
        }
        let gnu = match &raw.magic {
            USTAR | V7 => false,
            GNU => true,
            other => return Err(wrong("magic", other, "that of ustar, GNU tar or none").into()),
        };
        let kind = kind(raw.kind)?;
        let mode = unsigned("mode", &raw.mode)?;
        if mode > 0o177_777 {
            return Err(wrong("mode", &raw.mode, "at most 16 bits").into());
        }
        let rest = RawGnu::read_from_bytes(&raw.rest).ok().filter(|_| gnu);
        if kind == Type::GnuSparse && rest.is_none() {
            return Err(wrong("magic", &raw.magic, "that of GNU tar for a sparse file").into());
        }
        Ok(Self {
            kind,
            name: name(&raw),
            target: text(&raw.target).to_vec(),
            mode: u16::try_from(mode & 0o7777).unwrap_or_default(),
            uid: narrow("uid", &raw.uid),
            gid: narrow("gid", &raw.gid),
            size: unsigned("size", &raw.size)?,
            mtime: signed("mtime", &raw.mtime).map(Timestamp::from_seconds),
            device: narrow("devmajor", &raw.major)
                .and_then(|major| narrow("devminor", &raw.minor).map(|minor| (major, minor))),
            sparse: rest.iter().flat_map(|rest| rest.sparse.iter().map(range)).collect(),
            sparse_continues: rest.as_ref().is_some_and(|rest| rest.continues != 0),
            real_size: unsigned("realsize", rest.as_ref().map_or(&[], |rest| &rest.real_size)),
        })
    }
}

/// What a header is written from. What does not fit is cut, and said in records instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'f> {
    pub(super) kind: u8,
    pub(super) name: &'f [u8],
    pub(super) target: &'f [u8],
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
    pub(super) device: (u32, u32),
}

impl Fields<'_> {
    /// The largest number of a field of 8 bytes: seven octal digits.
    pub(super) const MOST_8: u64 = 0o7_777_777;
    /// The largest number of a field of 12 bytes.
    pub(super) const MOST_12: u64 = 0o77_777_777_777;
}

/// A ustar header with its checksum.
pub(super) fn write(fields: &Fields<'_>) -> [u8; 512] {
    let mtime = u64::try_from(fields.mtime.seconds()).unwrap_or(0);
    let mut raw = Raw {
        name: cut(fields.name),
        mode: octal_8(u64::from(fields.mode)),
        uid: octal_8(u64::from(fields.uid)),
        gid: octal_8(u64::from(fields.gid)),
        size: octal_12(fields.size),
        mtime: octal_12(mtime),
        checksum: [b' '; 8],
        kind: fields.kind,
        target: cut(fields.target),
        magic: *USTAR,
        user: [0; 32],
        group: [0; 32],
        major: octal_8(u64::from(fields.device.0)),
        minor: octal_8(u64::from(fields.device.1)),
        rest: [0; 167],
    };
    let sum: u64 = raw.as_bytes().iter().map(|byte| u64::from(*byte)).sum();
    raw.checksum = cut(format!("{sum:06o}\0 ").as_bytes());
    zerocopy::transmute!(raw)
}

fn octal_8(value: u64) -> [u8; 8] {
    cut(format!("{:07o}\0", value.min(Fields::MOST_8)).as_bytes())
}

fn octal_12(value: u64) -> [u8; 12] {
    cut(format!("{:011o}\0", value.min(Fields::MOST_12)).as_bytes())
}

fn cut<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
    field
}

/// The ranges of a block behind the header of a sparse file, and whether another block follows.
pub(super) fn sparse_block(block: &[u8; 512]) -> (Vec<Range>, bool) {
    match RawSparse::read_from_bytes(block) {
        Ok(raw) => (raw.ranges.iter().map(range).collect(), raw.continues != 0),
        Err(_) => (Vec::new(), false),
    }
}

fn range(raw: &RawRange) -> Range {
    if raw.offset.iter().chain(&raw.len).all(|byte| *byte == 0) {
        return Ok(None);
    }
    let (offset, len) = (unsigned("sparse offset", &raw.offset)?, unsigned("sparse length", &raw.len)?);
    let range = ByteRange::with_len(offset, len);
    range.map(Some).ok_or_else(|| wrong("sparse range", &raw.len, "an end below 2^64"))
}

fn kind(byte: u8) -> Result<Type> {
    Ok(match byte {
        b'0' | 0 | b'7' => Type::Regular,
        b'1' => Type::HardLink,
        b'2' => Type::Symlink,
        b'3' => Type::Character,
        b'4' => Type::Block,
        b'5' => Type::Directory,
        b'6' => Type::Fifo,
        b'S' => Type::GnuSparse,
        b'x' => Type::Pax,
        b'g' => Type::PaxGlobal,
        b'L' => Type::LongName,
        b'K' => Type::LongTarget,
        other => return Err(unsupported(format!("an entry of type '{}'", other.escape_ascii()))),
    })
}

/// The name; ustar has its beginning in a field of its own.
fn name(raw: &Raw) -> Vec<u8> {
    let name = text(&raw.name);
    let prefix = raw.rest.get(..155).filter(|_| &raw.magic == USTAR).map_or(&[][..], text);
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// A text field: up to the first NUL, if there is one.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The sum of all bytes, those of the checksum taken for spaces.
fn sum(block: &[u8; 512], checksum: &[u8; 8]) -> u64 {
    let add = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum.saturating_add(u64::from(*byte)));
    add(block).saturating_sub(add(checksum)).saturating_add(8 * 32)
}

fn narrow(what: &'static str, field: &[u8]) -> Result<u32, Corrupt> {
    u32::try_from(unsigned(what, field)?).map_err(|_| wrong(what, field, "a number of 32 bits"))
}

fn unsigned(what: &'static str, field: &[u8]) -> Result<u64, Corrupt> {
    u64::try_from(signed(what, field)?).map_err(|_| wrong(what, field, "no negative number"))
}

/// A number: octal digits between spaces and ended by spaces or NULs, or binary when the first byte says so.
fn signed(what: &'static str, field: &[u8]) -> Result<i64, Corrupt> {
    let fault = |expected| wrong(what, field, expected);
    match field.split_first() {
        Some((0x80, rest)) => binary(rest, 0).ok_or_else(|| fault("at most 63 bits")),
        Some((0xff, rest)) => binary(rest, 0xff).ok_or_else(|| fault("at most 63 bits")),
        _ => {
            let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
            let digits = field.get(start..).unwrap_or_default();
            let end = digits.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(digits.len());
            let (digits, rest) = digits.split_at(end);
            if !rest.iter().all(|byte| matches!(byte, b' ' | 0)) {
                return Err(fault("octal digits"));
            }
            digits.iter().try_fold(0_i64, |value, digit| match digit {
                b'0'..=b'7' => {
                    let digit = i64::from(digit.saturating_sub(b'0'));
                    value
                        .checked_mul(8)
                        .and_then(|value| value.checked_add(digit))
                        .ok_or_else(|| fault("at most 63 bits"))
                }
                _ => Err(fault("octal digits")),
            })
        }
    }
}

/// Big-endian two's complement, whose bytes above the lowest eight are all sign.
fn binary(bytes: &[u8], sign: u8) -> Option<i64> {
    let (high, low) = bytes.split_at(bytes.len().saturating_sub(8));
    let mut padded = [sign; 8];
    let start = padded.len().saturating_sub(low.len());
    for (to, from) in padded.iter_mut().skip(start).zip(low) {
        *to = *from;
    }
    let value = i64::from_be_bytes(padded);
    (high.iter().all(|byte| *byte == sign) && (value < 0) == (sign != 0)).then_some(value)
}

fn wrong(what: &'static str, field: &[u8], expected: &'static str) -> Corrupt {
    let shown = field.get(..16).unwrap_or(field);
    Corrupt::TarHeader { what, found: shown.escape_ascii().to_string(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"00000000", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777", Some(0o77_777_777)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00", Some(-256)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\x7f\0\0\0\0\0\0\0", None),
            (b"0000648\0", None),
            (b"000 644\0", None),
            (b"-000644\0", None),
            (b"0x00644\0", None),
            (b"64\x004\0\0\0\0", None),
        ] {
            assert_eq!(signed("size", field).ok(), expected, "{}", field.escape_ascii());
        }
        assert!(unsigned("size", b"\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert!(narrow("uid", b"\x80\0\0\x01\0\0\0\0").is_err());
    }
}
