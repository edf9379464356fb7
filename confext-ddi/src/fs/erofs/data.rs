//! Content that is not compressed: plain, behind its inode, or in chunks.

use super::inode::{Inode, Layout};
use super::meta::Area;
use super::{Erofs, add, format, overflow, raw, wrong};
use crate::ReadAt;
use crate::error::Result;
use crate::read::read_struct;
use zerocopy::little_endian::U32;

/// A piece of content: where it is, and how much of it is there.
struct Piece {
    place: Place,
    len_bytes: u64,
}

enum Place {
    Hole,
    Device { number: u16, start: u64 },
    Meta { area: Area, start: u64 },
}

/// Fills `buf` from `offset`; both were checked to be inside the content.
pub(super) fn read<R: ReadAt>(erofs: &Erofs<R>, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
    let mut at = offset;
    let mut rest = buf;
    while !rest.is_empty() {
        let piece = piece(erofs, inode, at)?;
        let len = usize::try_from(piece.len_bytes).unwrap_or(usize::MAX).min(rest.len());
        let (part, next) = rest.split_at_mut_checked(len).unwrap_or((&mut [], &mut []));
        match piece.place {
            Place::Hole => part.fill(0),
            Place::Device { number, start } => erofs.devices.read(number, start, part)?,
            Place::Meta { area, start } => erofs.meta(area).read_exact_at(start, part)?,
        }
        rest = next;
        at = at.saturating_add(piece.len_bytes);
    }
    Ok(())
}

/// Where the content from `offset` on is, as far as it is in one piece.
fn piece<R: ReadAt>(erofs: &Erofs<R>, inode: &Inode, offset: u64) -> Result<Piece> {
    let rest = inode.size_bytes.saturating_sub(offset);
    let block = erofs.superblock.block_size;
    let plain = |start: u64, len_bytes| {
        let start = add(erofs.superblock.block_offset(start)?, offset)?;
        Ok(Piece { place: Place::Device { number: 0, start }, len_bytes })
    };
    match inode.layout {
        Layout::Hole => Ok(Piece { place: Place::Hole, len_bytes: rest }),
        Layout::Plain { start } => plain(start, rest),
        Layout::Inline { start } => {
            // The last block, also when it is full, follows the inode.
            let last = inode.size_bytes.saturating_sub(1);
            let tail = last.saturating_sub(last % block);
            if offset < tail {
                return plain(start, tail.saturating_sub(offset));
            }
            let start = add(inode.end, offset.saturating_sub(tail))?;
            Ok(Piece { place: Place::Meta { area: inode.area, start }, len_bytes: rest })
        }
        Layout::Chunks { chunk_size, format } => {
            let within = offset % chunk_size;
            let len_bytes = rest.min(chunk_size.get().saturating_sub(within));
            let place = match chunk(erofs, inode, offset / chunk_size, format)? {
                Place::Device { number, start } => Place::Device { number, start: add(start, within)? },
                other => other,
            };
            Ok(Piece { place, len_bytes })
        }
        Layout::None | Layout::Compressed { .. } => {
            Err(wrong("data layout", 0_u64, "one for a file with content"))
        }
    }
}

/// Where a chunk starts.
fn chunk<R: ReadAt>(erofs: &Erofs<R>, inode: &Inode, chunk: u64, chunk_format: u32) -> Result<Place> {
    let indexed = chunk_format & raw::CHUNK_INDEXED != 0;
    let unit: u64 = if indexed { 8 } else { 4 };
    let table = inode.end.checked_next_multiple_of(unit).ok_or_else(overflow)?;
    let at = chunk.checked_mul(unit).and_then(|offset| table.checked_add(offset)).ok_or_else(overflow)?;
    let meta = erofs.meta(inode.area);
    let (number, block, hole) = if indexed {
        let index: raw::ChunkIndex = read_struct(&meta, at)?;
        let long = chunk_format & raw::CHUNK_48BIT != 0;
        let (high, hole) =
            if long { (index.block_high.get(), u64::MAX >> 16) } else { (0, format::NULL_ADDRESS.into()) };
        (index.device.get(), u64::from(high) << 32 | u64::from(index.block_low.get()), hole)
    } else {
        (0, u64::from(read_struct::<U32, _>(&meta, at)?.get()), format::NULL_ADDRESS.into())
    };
    if block == hole {
        return Ok(Place::Hole);
    }
    Ok(Place::Device { number, start: erofs.superblock.block_offset(block)? })
}
