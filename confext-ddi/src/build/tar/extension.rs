//! What comes before an entry and is about it: long names of GNU tar, and the records of a PAX header.

use super::header::Type;
use super::{pax, unsupported};
use crate::build::tree::Timestamp;
use crate::error::{Corrupt, LimitExceeded, Result};
use crate::limits::Limits;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is said of an entry before its header.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: Option<Sparse>,
    /// Kinds of headers seen: each may come once before an entry.
    seen: Vec<Type>,
}

/// The records of a sparse file, in the forms of GNU tar that say so.
#[derive(Debug, Default, Clone)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) real_size: Option<u64>,
    /// Form 0.1: offsets and lengths, with commas between.
    pub(super) map: Option<String>,
    name: Option<Vec<u8>>,
}

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Takes the content of a header of this kind.
    pub(super) fn add(&mut self, kind: Type, bytes: Vec<u8>, limits: &Limits) -> Result<()> {
        if self.seen.contains(&kind) && kind != Type::PaxGlobal {
            let (found, expected) = (format!("two of kind {kind:?}"), "one");
            return Err(Corrupt::TarHeader { what: "headers about one entry", found, expected }.into());
        }
        match kind {
            Type::LongName => self.path = Some(without_nul(bytes)?),
            Type::LongTarget => self.target = Some(without_nul(bytes)?),
            Type::PaxGlobal => return global(&bytes),
            _ => self.records(&bytes, limits)?,
        }
        self.seen.push(kind);
        let names = [Type::LongName, Type::LongTarget];
        if self.seen.contains(&Type::Pax) && self.seen.iter().any(|kind| names.contains(kind)) {
            return Err(unsupported("names of GNU tar and records of PAX for one entry"));
        }
        Ok(())
    }

    fn records(&mut self, bytes: &[u8], limits: &Limits) -> Result<()> {
        let mut seen = BTreeSet::new();
        let mut encoded = BTreeSet::new();
        let mut xattr_bytes = 0_u64;
        for record in pax::records(bytes) {
            let (key, value) = record?;
            if !seen.insert(key) {
                return Err(wrong(key, value, "each key once"));
            }
            if let Some(name) = key.strip_prefix("LIBARCHIVE.xattr.") {
                encoded.insert(percent_decoded(name));
                continue;
            }
            let xattr = self.record(key, value)?;
            if let Some((name, value)) = xattr {
                let len = name.len().saturating_add(value.len());
                xattr_bytes = xattr_bytes.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
                let (found, most) = (xattr_bytes, limits.xattr_bytes);
                if found > most {
                    return Err(LimitExceeded::Bytes { what: "extended attributes", found, most }.into());
                }
                self.xattrs.insert(name, value);
            }
        }
        // bsdtar writes each attribute in two forms; the one that is read has to be there.
        if let Some(name) = encoded.iter().find(|name| !self.xattrs.contains_key(*name)) {
            return Err(unsupported(format!("only LIBARCHIVE.xattr.{}", name.escape_ascii())));
        }
        if let Some(sparse) = &mut self.sparse {
            // The name in the header is one of a directory that is never made.
            if let Some(name) = sparse.name.take() {
                self.path = Some(name);
            }
        }
        Ok(())
    }

    /// Takes one record; an extended attribute is returned.
    fn record(&mut self, key: &str, value: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            return Ok(Some((name.as_bytes().to_vec(), value.to_vec())));
        }
        if key == "RHT.security.selinux" {
            let label = value.strip_suffix(b"\0").unwrap_or(value);
            return Ok(Some((b"security.selinux".to_vec(), [label, b"\0"].concat())));
        }
        if let Some(key) = key.strip_prefix("GNU.sparse.") {
            self.sparse_record(key, value)?;
            return Ok(None);
        }
        let id = |value: &[u8]| {
            number(key, value).map(u32::try_from)?.map_err(|_| wrong(key, value, "a number of 32 bits"))
        };
        match key {
            "path" => self.path = Some(value.to_vec()),
            "linkpath" => self.target = Some(value.to_vec()),
            "size" => self.size = Some(number(key, value)?),
            "uid" => self.uid = Some(id(value)?),
            "gid" => self.gid = Some(id(value)?),
            "mtime" => {
                self.mtime = Some(time(value).ok_or_else(|| wrong(key, value, "seconds, with a fraction"))?)
            }
            "hdrcharset" if !matches!(value, b"BINARY" | b"ISO-IR 10646 2000 UTF-8") => {
                return Err(unsupported(format!("hdrcharset {}", value.escape_ascii())));
            }
            // Numbers and rights in a form that is not read: left out, they would be lost.
            "SCHILY.devmajor" | "SCHILY.devminor" | "SCHILY.acl.access" | "SCHILY.acl.default"
            | "SCHILY.acl.ace" => {
                return Err(unsupported(format!("record {key}")));
            }
            // Of no meaning for an image: names of owners, other times, comments, what a program adds for itself.
            _ => {}
        }
        Ok(None)
    }

    fn sparse_record(&mut self, key: &str, value: &[u8]) -> Result<()> {
        let sparse = self.sparse.get_or_insert_default();
        match key {
            "major" => sparse.major = Some(number(key, value)?),
            "minor" => sparse.minor = Some(number(key, value)?),
            "realsize" | "size" => sparse.real_size = Some(number(key, value)?),
            "name" => sparse.name = Some(value.to_vec()),
            "map" => {
                let text = std::str::from_utf8(value).map_err(|_| wrong(key, value, "numbers and commas"))?;
                sparse.map = Some(text.to_owned());
            }
            // Said by the map, too.
            "numblocks" => {}
            _ => return Err(unsupported(format!("record GNU.sparse.{key}"))),
        }
        Ok(())
    }
}

/// Records about every entry that follows: a comment says nothing of an entry, anything else does.
fn global(bytes: &[u8]) -> Result<()> {
    for record in pax::records(bytes) {
        let (key, _) = record?;
        if key != "comment" {
            return Err(unsupported(format!("record {key} about all entries")));
        }
    }
    Ok(())
}

/// A name of GNU tar: ended by a NUL.
fn without_nul(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    if bytes.get(end..).unwrap_or_default().iter().any(|byte| *byte != 0) {
        let (found, expected) = ("bytes behind a NUL".to_owned(), "nothing but NULs there");
        return Err(Corrupt::TarHeader { what: "long name", found, expected }.into());
    }
    bytes.truncate(end);
    Ok(bytes)
}

pub(super) fn number(key: &str, value: &[u8]) -> Result<u64> {
    let digits =
        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| wrong(key, value, "a decimal number"))
}

/// A time in decimal seconds. What is finer than a nanosecond is cut.
fn time(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if ![whole, fraction]
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanoseconds: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    match (negative, nanoseconds) {
        (false, _) => Timestamp::new(seconds, nanoseconds),
        (true, 0) => Timestamp::new(seconds.checked_neg()?, 0),
        // Nanoseconds count forward from the second before.
        (true, _) => {
            let seconds = seconds.checked_neg()?.checked_sub(1)?;
            Timestamp::new(seconds, 1_000_000_000_u32.checked_sub(nanoseconds)?)
        }
    }
}

fn percent_decoded(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let decoded = behind
            .get(..2)
            .filter(|_| *byte == b'%')
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(decoded.unwrap_or(*byte));
        rest = behind.get(if decoded.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    out
}

fn wrong(key: &str, value: &[u8], expected: &'static str) -> crate::Error {
    let shown = value.get(..40).unwrap_or(value);
    Corrupt::TarRecord { found: format!("{key}={}", shown.escape_ascii()), expected }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1700000000.5", Some((1_700_000_000, 500_000_000))),
            ("1.123456789987", Some((1, 123_456_789))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.000000001", Some((-1, 999_999_999))),
            ("", None),
            ("-", None),
            ("1.", None),
            (".5", None),
            ("1.5.5", None),
            ("+1", None),
            ("1e3", None),
            ("99999999999999999999", None),
        ] {
            let found = time(text.as_bytes()).map(|time| (time.seconds(), time.nanoseconds()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn names_of_attributes_are_decoded() {
        assert_eq!(percent_decoded("user.a%20b%3dc%"), b"user.a b=c%");
    }
}
