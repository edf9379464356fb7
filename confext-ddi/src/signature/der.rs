//! DER elements: a strict reader (definite, minimal lengths; every byte accounted for) and the writer of the same.

use crate::error::{Error, Result, Unverified};

#[cfg(feature = "openssl")]
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
#[cfg(feature = "openssl")]
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// Context-specific, constructed: `[0]` to `[3]`.
pub(super) const CONTEXT_0: u8 = 0xa0;
pub(super) const CONTEXT_1: u8 = 0xa1;
#[cfg(feature = "openssl")]
pub(super) const CONTEXT_2: u8 = 0xa2;
#[cfg(feature = "openssl")]
pub(super) const CONTEXT_3: u8 = 0xa3;

/// The elements of some bytes, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
    offset: u64,
}

/// One element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag, length and content.
    pub(super) whole: &'a [u8],
    /// Where the content starts.
    offset: u64,
}

pub(super) fn malformed(reason: &'static str, offset: u64) -> Error {
    Error::from(Unverified::SignatureDer { reason }).at_offset(offset)
}

fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl<'a> Elements<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next element, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Element<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let wrong = |reason| malformed(reason, self.offset);
        let short = || wrong("element ends too early");
        let (tag, after_tag) = self.rest.split_first().ok_or_else(short)?;
        if tag & 0x1f == 0x1f {
            return Err(wrong("tag of more than one byte"));
        }
        let (first, after_first) = after_tag.split_first().ok_or_else(short)?;
        let (len, after_len) = match first {
            0..=0x7f => (usize::from(*first), after_first),
            0x80 => return Err(wrong("indefinite length")),
            _ => {
                let (bytes, rest) =
                    after_first.split_at_checked(usize::from(first & 0x7f)).ok_or_else(short)?;
                (long_length(bytes).ok_or_else(|| wrong("length not minimal or too large"))?, rest)
            }
        };
        let (content, rest) = after_len.split_at_checked(len).ok_or_else(short)?;
        let header = len_u64(self.rest).saturating_sub(len_u64(after_len));
        let size = self.rest.len().saturating_sub(rest.len());
        let whole = self.rest.get(..size).ok_or_else(short)?;
        let offset = self.offset.saturating_add(header);
        *self = Self { rest, offset: offset.saturating_add(len_u64(content)) };
        Ok(Some(Element { tag: *tag, content, whole, offset }))
    }

    /// The next element, which has to be there and to have this tag.
    pub(super) fn expect(&mut self, tag: u8, reason: &'static str) -> Result<Element<'a>> {
        let offset = self.offset;
        self.next()?.filter(|element| element.tag == tag).ok_or_else(|| malformed(reason, offset))
    }

    /// The next element if it has this tag; else nothing is taken.
    pub(super) fn take(&mut self, tag: u8) -> Result<Option<Element<'a>>> {
        if self.rest.first() == Some(&tag) { self.next() } else { Ok(None) }
    }

    /// There has to be nothing left.
    pub(super) fn end(&self, reason: &'static str) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(malformed(reason, self.offset)) }
    }
}

impl<'a> Element<'a> {
    /// The elements in this one.
    pub(super) const fn elements(&self) -> Elements<'a> {
        Elements { rest: self.content, offset: self.offset }
    }

    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }
}

/// One element: tag, minimal length, and the parts as its content.
pub(super) fn encode(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut element = vec![tag];
    match u8::try_from(content.len()) {
        Ok(len @ 0..=0x7f) => element.push(len),
        _ => {
            let len = content.len().to_be_bytes();
            let bytes = || len.iter().copied().skip_while(|byte| *byte == 0);
            // The length of a slice has at most 8 bytes.
            element.push(u8::try_from(bytes().count()).unwrap_or_default() | 0x80);
            element.extend(bytes());
        }
    }
    element.extend(content);
    element
}

/// A length of one to four bytes that the short form could not hold and that has no leading zero.
fn long_length(bytes: &[u8]) -> Option<usize> {
    if bytes.len() > 4 || bytes.first() == Some(&0) {
        return None;
    }
    let value =
        bytes.iter().try_fold(0_u32, |value, byte| value.checked_mul(256)?.checked_add((*byte).into()));
    usize::try_from(value?).ok().filter(|len| *len > 0x7f)
}

/// An object identifier's dotted form, as far as it can be read; for messages.
pub(super) fn oid_text(content: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    for byte in content.iter().take(64) {
        arc = arc.saturating_mul(128).saturating_add(u64::from(byte & 0x7f));
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = arc.checked_div(40).unwrap_or(0).min(2);
                arcs.push(first);
                arcs.push(arc.saturating_sub(first.saturating_mul(40)));
            } else {
                arcs.push(arc);
            }
            arc = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_in_order() {
        let bytes = [&[0x02, 1, 5, 0x30, 0x81, 0x80][..], &[0; 128], &[0x05, 0]].concat();
        let mut elements = Elements::new(&bytes);
        assert_eq!(elements.expect(INTEGER, "").unwrap().content, [5]);
        assert!(elements.take(SET).unwrap().is_none());
        let sequence = elements.take(SEQUENCE).unwrap().unwrap();
        assert_eq!((sequence.content.len(), sequence.whole.len(), sequence.offset()), (128, 131, 6));
        assert!(elements.end("more").is_err());
        assert_eq!(elements.next().unwrap().unwrap().tag, NULL);
        assert!(elements.next().unwrap().is_none());
        elements.end("more").unwrap();
    }

    #[test]
    fn what_is_written_is_read() {
        for len in [0_usize, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let content = vec![7; len];
            let (first, second) = content.split_at(len / 2);
            let bytes = encode(OCTET_STRING, &[first, second]);
            let mut elements = Elements::new(&bytes);
            assert_eq!(elements.expect(OCTET_STRING, "").unwrap().content, content);
            elements.end("more").unwrap();
        }
    }

    #[test]
    fn loose_forms_are_refused() {
        for bytes in [
            &[0x30][..],
            &[0x30, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 0x7f],
            &[0x30, 0x82, 0, 0x80],
            &[0x30, 0x85, 1, 0, 0, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0xff],
            &[0x1f, 1, 0],
        ] {
            assert_eq!(Elements::new(bytes).next().unwrap_err().code(), "signature-der", "{bytes:x?}");
        }
    }

    #[test]
    fn identifiers_print_dotted() {
        assert_eq!(oid_text(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]), "1.2.840.113549.1.7.2");
        assert_eq!(oid_text(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]), "2.16.840.1.101.3.4.2.1");
        assert_eq!(oid_text(&[0x2b, 0x0e, 3, 2, 0x1a]), "1.3.14.3.2.26");
        assert_eq!(oid_text(&[]), "");
        assert!(!oid_text(&[0xff; 100]).contains("panic"));
    }
}
