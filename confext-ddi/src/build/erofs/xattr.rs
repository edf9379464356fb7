//! Extended attributes as EROFS stores them behind an inode.

use crate::erofs::{XATTR_PREFIXES, XattrEntry, XattrHeader};
use crate::error::{Result, Unsupported};
use std::collections::BTreeMap;
use zerocopy::{FromZeros as _, IntoBytes as _};

/// The most bytes one inode's attributes can take: the count is of 4-byte units, in 16 bits.
const MAX_BYTES: usize = 12 + 4 * 65_534;

/// Splits a full name into the number of its prefix and the rest; `None` when EROFS has no number for it.
pub(crate) fn xattr_index(name: &[u8]) -> Option<(u8, &[u8])> {
    XATTR_PREFIXES.into_iter().find_map(|(index, prefix, with_rest)| {
        let rest = name.strip_prefix(prefix)?;
        (rest.is_empty() != with_rest).then_some((index, rest))
    })
}

/// The attributes' bytes, header first, padded to 4; nothing when there are none.
///
/// # Errors
///
/// `xattr-size` when they are too large together; `xattr-name` for a name [`xattr_index`] refuses.
pub(super) fn encode(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>, path: &[u8]) -> Result<Vec<u8>> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let show = || crate::build::tree::show(path);
    let mut out = XattrHeader::new_zeroed().as_bytes().to_vec();
    for (name, value) in xattrs {
        let split =
            xattr_index(name).and_then(|(index, rest)| Some((index, rest, u8::try_from(rest.len()).ok()?)));
        let wrong_name = || Unsupported::XattrName { path: show(), name: name.escape_ascii().to_string() };
        let (name_index, rest, name_len) = split.ok_or_else(wrong_name)?;
        let too_large =
            || Unsupported::XattrSize { path: show(), found: value.len(), most: usize::from(u16::MAX) };
        let value_size = u16::try_from(value.len()).map_err(|_| too_large())?;
        let entry = XattrEntry { name_len, name_index, value_size: value_size.into() };
        out.extend_from_slice(entry.as_bytes());
        out.extend_from_slice(rest);
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    if out.len() > MAX_BYTES {
        return Err(Unsupported::XattrSize { path: show(), found: out.len(), most: MAX_BYTES }.into());
    }
    Ok(out)
}

/// What an inode's `xattr_count` is for attributes of `bytes` bytes: 0 for none, else 1 + 4-byte units after the header.
pub(super) fn count(bytes: u64) -> u16 {
    match bytes.checked_sub(12) {
        Some(rest) => u16::try_from(rest / 4).unwrap_or(u16::MAX).saturating_add(1),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_counted_in_units_of_four() {
        let one = BTreeMap::from([(b"user.a".to_vec(), b"xy".to_vec())]);
        let bytes = encode(&one, b"").unwrap();
        assert_eq!(bytes[12..], [1, 1, 2, 0, b'a', b'x', b'y', 0]);
        assert_eq!(count(20), 3);
        assert_eq!(count(0), 0);
        assert!(encode(&BTreeMap::new(), b"").unwrap().is_empty());
    }

    #[test]
    fn the_largest_set_fits_exactly() {
        // Header 12, then four entries of 4 + 1 + value, padded: 4 * 65,534 bytes in all.
        let sizes = [65_531, 65_531, 65_531, 65_523];
        let set = |sizes: [usize; 4]| -> BTreeMap<Vec<u8>, Vec<u8>> {
            let entry = |(at, size): (usize, usize)| (format!("user.{at}").into_bytes(), vec![7; size]);
            sizes.into_iter().enumerate().map(entry).collect()
        };
        let bytes = encode(&set(sizes), b"f").unwrap();
        assert_eq!(bytes.len(), MAX_BYTES);
        assert_eq!(count(MAX_BYTES as u64), u16::MAX);
        let error = encode(&set([65_531, 65_531, 65_531, 65_524]), b"f").unwrap_err();
        assert_eq!(error.code(), "xattr-size");
    }
}
