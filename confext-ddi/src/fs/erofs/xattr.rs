//! Extended attributes: in the inode, or shared between inodes.

use super::inode::Inode;
use super::meta::Area;
use super::{Erofs, add, wrong};
use crate::ReadAt;
use crate::erofs::{XATTR_PREFIXES, XattrEntry, XattrHeader};
use crate::error::{Error, LimitExceeded, Result, Unsupported};
use crate::fs::Xattr;
use crate::read::{read_struct, read_vec};
use xxhash_rust::xxh32::xxh32;
use zerocopy::FromBytes as _;
use zerocopy::little_endian::{U16, U32};

/// All attributes of an inode, unsorted.
pub(super) fn read<R: ReadAt>(erofs: &Erofs<R>, inode: &Inode) -> Result<Vec<Xattr>> {
    let len = inode.end.saturating_sub(inode.xattr_offset);
    if len == 0 {
        return Ok(Vec::new());
    }
    check_limit(erofs, len)?;
    let body =
        read_vec(&erofs.meta(inode.area), inode.xattr_offset, usize::try_from(len).unwrap_or(usize::MAX))
            .map_err(|error| inode.area.locate(error, inode.xattr_offset))?;
    let prefixes = match erofs.prefixes.get() {
        Some(prefixes) => prefixes,
        None => {
            let prefixes = Prefixes::read(erofs)?;
            erofs.prefixes.get_or_init(|| prefixes)
        }
    };
    let (header, rest) = XattrHeader::read_from_prefix(&body).map_err(|_| truncated(len))?;
    if header.reserved != [0; 7] {
        return Err(Unsupported::FileSystemFeature { what: "attribute header", found: 1 }.into());
    }
    let (shared, mut inline) =
        <[U32]>::ref_from_prefix_with_elems(rest, header.shared_count.into()).map_err(|_| truncated(len))?;

    let mut xattrs = Vec::new();
    let mut total = 0_u64;
    let mut insert = |found: Option<Xattr>| {
        if let Some((name, value)) = found {
            let size = name.len().saturating_add(value.len());
            total = total.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
            check_limit(erofs, total)?;
            if erofs.superblock.xattr_filter {
                check_filter(header.name_filter.get(), &name)?;
            }
            xattrs.push((name, value));
        }
        Ok::<_, Error>(())
    };
    while !inline.is_empty() {
        let (entry, rest) = XattrEntry::read_from_prefix(inline).map_err(|_| truncated(len))?;
        let size = usize::from(entry.name_len).saturating_add(entry.value_size.get().into());
        let data = rest.get(..size).ok_or_else(|| truncated(len))?;
        insert(prefixes.attribute(entry, data)?)?;
        // The last entry of the body is padded as all others are.
        inline = rest.get(size.saturating_add(3) & !3..).ok_or_else(|| truncated(len))?;
    }
    let area = if erofs.superblock.xattrs_in_metabox { Area::Metabox } else { Area::Image };
    let meta = erofs.meta(area);
    for id in shared {
        let offset = add(erofs.superblock.xattr_offset, u64::from(id.get()).saturating_mul(4))?;
        let entry: XattrEntry = read_struct(&meta, offset)?;
        let size = usize::from(entry.name_len).saturating_add(entry.value_size.get().into());
        insert(prefixes.attribute(entry, &read_vec(&meta, add(offset, 4)?, size)?)?)?;
    }
    Ok(xattrs)
}

/// The long name prefixes of the image: number of the short prefix, and what follows it.
pub(super) struct Prefixes(Vec<(u8, Vec<u8>)>);

impl Prefixes {
    fn read<R: ReadAt>(erofs: &Erofs<R>) -> Result<Self> {
        let superblock = &erofs.superblock;
        // In the metabox if there is one, else with the packed ends of files if there are any.
        let id = superblock.metabox.or(superblock.packed);
        let inode = match id.filter(|_| superblock.xattr_prefix_count > 0 && !superblock.plain_prefixes) {
            Some(id) => Some(erofs.special_inode(id)?),
            None => None,
        };
        let read = |offset, buf: &mut [u8]| match &inode {
            Some(inode) => erofs.read_content(inode, offset, buf),
            None => erofs.devices.image().read_exact_at(offset, buf),
        };
        let mut prefixes = Vec::new();
        let mut at = superblock.xattr_prefix_offset;
        for _ in 0..superblock.xattr_prefix_count {
            let mut len = [0; 2];
            read(at, &mut len)?;
            let len = U16::from_bytes(len).get();
            if !(1..=256).contains(&len) {
                return Err(wrong("attribute name prefix", len, "1 to 256 bytes"));
            }
            let mut prefix = vec![0; len.into()];
            read(add(at, 2)?, &mut prefix)?;
            at = add(at, u64::from(len).saturating_add(2).next_multiple_of(4))?;
            let (base, infix) = prefix.split_first().ok_or_else(|| truncated(len.into()))?;
            prefixes.push((*base, infix.to_vec()));
        }
        Ok(Self(prefixes))
    }

    /// Name and value of an entry; `None` for one that is no attribute but padding.
    fn attribute(&self, entry: XattrEntry, data: &[u8]) -> Result<Option<Xattr>> {
        let (suffix, value) =
            data.split_at_checked(entry.name_len.into()).ok_or_else(|| truncated(entry.name_len.into()))?;
        let (index, infix): (u8, &[u8]) = if entry.name_index & 0x80 == 0 {
            (entry.name_index, &[])
        } else {
            let found = entry.name_index & 0x7f;
            let prefix = self.0.get(usize::from(found));
            let (index, infix) = prefix
                .ok_or_else(|| wrong("attribute name prefix", found, "one of those the image lists"))?;
            (*index, infix)
        };
        if index == 0 {
            return Ok(None);
        }
        let known = XATTR_PREFIXES.into_iter().find(|(number, ..)| *number == index);
        let (_, prefix, with_rest) = known.ok_or_else(|| Unsupported::FileSystemFeature {
            what: "attribute namespace",
            found: index.into(),
        })?;
        let name = [prefix, infix, suffix].concat();
        if name.len() > 255 || name.contains(&0) || with_rest != (name.len() > prefix.len()) {
            let found = u64::try_from(name.len()).unwrap_or(u64::MAX);
            return Err(wrong("attribute name", found, "a name of at most 255 bytes without NUL"));
        }
        Ok(Some((name, value.to_vec())))
    }
}

/// The kernel looks at the filter of an inode first: what that says is not there is not found by name.
fn check_filter(filter: u32, name: &[u8]) -> Result<()> {
    let known = XATTR_PREFIXES.into_iter().find(|(_, prefix, _)| name.starts_with(prefix));
    let Some((index, prefix, _)) = known else { return Ok(()) };
    let rest = name.get(prefix.len()..).unwrap_or_default();
    let bit = xxh32(rest, FILTER_SEED.wrapping_add(index.into())) % 32;
    if filter.checked_shr(bit).unwrap_or(0) & 1 == 0 {
        return Ok(());
    }
    Err(wrong("filter of attribute names", filter, "no bit set for an attribute that is there"))
}

/// What names are hashed with, together with the number of their namespace.
const FILTER_SEED: u32 = 0x25bb_e08f;

fn check_limit<R>(erofs: &Erofs<R>, found: u64) -> Result<()> {
    let most = erofs.limits.xattr_bytes;
    if found > most {
        return Err(LimitExceeded::Bytes { what: "extended attributes", found, most }.into());
    }
    Ok(())
}

fn truncated(len: u64) -> Error {
    wrong("extended attributes", len, "whole entries in the space of the inode")
}
