//! Extended attributes.

use super::inode::Inode;
use super::metadata::Cursor;
use super::{Squashfs, raw, wrong};
use crate::ReadAt;
use crate::error::{LimitExceeded, Result};
use crate::fs::Xattr;
use crate::read::read_struct;
use zerocopy::little_endian::{U32, U64};

/// The value is stored elsewhere: what stands in its place is where.
const OUT_OF_LINE: u16 = 0x100;

/// All attributes of an inode, unsorted.
pub(super) fn read<R: ReadAt>(fs: &Squashfs<R>, inode: &Inode) -> Result<Vec<Xattr>> {
    let Some(index) = inode.xattr else { return Ok(Vec::new()) };
    let list = fs
        .superblock
        .xattr_table
        .ok_or_else(|| wrong("attribute index", index, "none in an image without attributes"))?;
    let table: raw::XattrTable = read_struct(&fs.reader, list)?;
    if index >= table.ids.get() {
        return Err(wrong("attribute index", index, "an index into the attribute table"));
    }
    let id: raw::XattrId = fs.table_entry(super::add(list, 16)?, index.into())?;
    let cursor =
        |reference: u64| Cursor::from_reference(table.start.get(), reference, fs.superblock.bytes_used);
    let mut entries = cursor(id.place.get())?;
    let mut xattrs = Vec::new();
    let mut total = 0_u64;
    for _ in 0..id.count.get() {
        let raw: raw::XattrName = entries.read_value(fs)?;
        let prefix: &[u8] = match raw.kind.get() & !OUT_OF_LINE {
            0 => b"user.",
            1 => b"trusted.",
            2 => b"security.",
            other => return Err(wrong("attribute namespace", other, "0 to 2")),
        };
        let mut name = vec![0; raw.len.get().into()];
        entries.read(fs, &mut name)?;
        if name.is_empty() || name.len().saturating_add(prefix.len()) > 255 || name.contains(&0) {
            return Err(wrong("attribute name", name.len(), "1 to 255 bytes without NUL"));
        }
        let mut value_at = entries;
        let value = read_value(fs, &mut entries)?;
        let value = if raw.kind.get() & OUT_OF_LINE == 0 {
            value
        } else {
            value_at.read_value::<U32, _>(fs)?;
            read_value(fs, &mut cursor(value_at.read_value::<U64, _>(fs)?.get())?)?
        };
        let size = name.len().saturating_add(value.len()).saturating_add(1);
        total = total.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        check_limit(fs, total)?;
        xattrs.push(([prefix, &name].concat(), value));
    }
    Ok(xattrs)
}

fn read_value<R: ReadAt>(fs: &Squashfs<R>, cursor: &mut Cursor) -> Result<Vec<u8>> {
    let size = cursor.read_value::<U32, _>(fs)?.get();
    check_limit(fs, size.into())?;
    // The kernel's own limit.
    if size > 65536 {
        return Err(wrong("attribute value", size, "at most 65536 bytes"));
    }
    let mut value = vec![0; usize::try_from(size).unwrap_or(0)];
    cursor.read(fs, &mut value)?;
    Ok(value)
}

fn check_limit<R>(fs: &Squashfs<R>, found: u64) -> Result<()> {
    let most = fs.limits.xattr_bytes;
    if found > most {
        return Err(LimitExceeded::Bytes { what: "extended attributes", found, most }.into());
    }
    Ok(())
}
