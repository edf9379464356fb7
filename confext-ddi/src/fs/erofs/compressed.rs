//! Content of compressed files: which extent an offset is in, what its bytes are, and what was found out last.
//!
//! An extent is a piece of a file that is packed as one: a cluster of blocks, a cluster behind the inode, or a part of
//! the inode where the ends of files are together. Packed are at most 1 MiB, unpacked at most 12 MiB.
//!
//! *Spec:* `fs/erofs/zmap.c` and `zdata.c` of the Linux kernel.

mod cache;
mod decode;
mod extents;
mod index;
mod lz4;
mod map;
#[cfg(test)]
mod tests;

pub(super) use cache::Cache;

use super::inode::Inode;
use super::meta::{Area, Records};
use super::{Erofs, add, raw, unsupported, wrong};
use crate::ReadAt;
use crate::error::Result;
use crate::read::read_vec;
use cache::Unpacked;
use decode::{Algorithm, Take};
use map::Map;
use std::num::NonZeroU64;
use std::sync::Arc;

/// A piece of a file, from `start` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    start: u64,
    end: u64,
    source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Hole,
    /// In the inode of packed ends, from this offset on.
    Fragment(u64),
    Cluster(Cluster),
}

/// Packed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cluster {
    place: Place,
    len_bytes: u64,
    packing: Packing,
    /// Whether the cluster has more in it than the extent.
    take: Take,
}

/// Where packed bytes are: in the address space of all devices, or behind an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Device(u64),
    Meta(Area, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    /// Not compressed, from the start of the cluster on.
    Stored,
    /// Not compressed, at the same offset in its block as in the file's; what does not fit there is at the start.
    Rotated,
    Compressed(Algorithm),
}

impl Extent {
    const fn contains(&self, at: u64) -> bool {
        self.start <= at && at < self.end
    }

    const fn len_bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Refuses what is larger than the format allows, and an extent that the offset is not in.
    fn checked(self, at: u64, algorithms: u16) -> Result<Self> {
        if !self.contains(at) {
            return Err(wrong("extent of a compressed file", self.start, "one that the offset is in"));
        }
        let Source::Cluster(cluster) = self.source else { return Ok(self) };
        if cluster.len_bytes > raw::MOST_PACKED_BYTES {
            return Err(unsupported("size of a packed cluster", cluster.len_bytes));
        }
        match cluster.packing {
            Packing::Compressed(_) if self.len_bytes() > raw::MOST_UNPACKED_BYTES => {
                Err(unsupported("size of an unpacked cluster", self.len_bytes()))
            }
            Packing::Compressed(algorithm) if !algorithm.is_in(algorithms) => {
                Err(wrong("compression algorithm", algorithm.bit(), "one that the superblock lists"))
            }
            Packing::Stored | Packing::Rotated if self.len_bytes() > cluster.len_bytes => {
                Err(wrong("size of a stored cluster", cluster.len_bytes, "at least that of what is in it"))
            }
            _ => Ok(self),
        }
    }
}

/// Fills `buf` from `offset`; both were checked to be inside the content.
pub(super) fn read<R: ReadAt>(erofs: &Erofs<R>, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
    let map = match erofs.cache.map(inode.id) {
        Some(map) => map,
        None => erofs.cache.keep_map(inode.id, Map::read(erofs, inode)?),
    };
    let mut records = Records::new(erofs.meta(inode.area), erofs.cache.take_index(inode.id));
    let mut at = offset;
    let mut rest = buf;
    while !rest.is_empty() {
        let extent = match erofs.cache.extent(inode.id, at) {
            Some(extent) => extent,
            None => {
                let extent = map.extent(&mut records, at)?.checked(at, erofs.superblock.algorithms)?;
                erofs.cache.keep_extent(inode.id, extent);
                extent
            }
        };
        let len = usize::try_from(extent.end.saturating_sub(at)).unwrap_or(usize::MAX).min(rest.len());
        let (part, next) = rest.split_at_mut_checked(len).unwrap_or((&mut [], &mut []));
        read_extent(erofs, inode, &extent, at, part)?;
        rest = next;
        at = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }
    erofs.cache.keep_index(inode.id, records.into_block());
    Ok(())
}

/// Fills `buf` with what is at `at` of a file, all of it in one extent.
fn read_extent<R: ReadAt>(
    erofs: &Erofs<R>,
    inode: &Inode,
    extent: &Extent,
    at: u64,
    buf: &mut [u8],
) -> Result<()> {
    let skip = at.saturating_sub(extent.start);
    match extent.source {
        Source::Hole => buf.fill(0),
        Source::Fragment(_) if erofs.superblock.packed == Some(inode.id) => {
            return Err(wrong("fragment", inode.id, "none in the inode of fragments"));
        }
        Source::Fragment(start) => erofs.read_packed(add(start, skip)?, buf)?,
        Source::Cluster(cluster) => match cluster.packing {
            Packing::Stored => read_packed(erofs, cluster.place, skip, buf)?,
            Packing::Rotated => read_rotated(erofs, &cluster, extent.start, skip, buf)?,
            Packing::Compressed(algorithm) => {
                let len = usize::try_from(extent.len_bytes()).unwrap_or(usize::MAX);
                let kept = erofs.cache.unpacked(&cluster, len);
                if kept.is_none() && buf.len() == len {
                    return unpack(erofs, &cluster, algorithm, buf);
                }
                let unpacked = match kept {
                    Some(unpacked) => unpacked,
                    None => {
                        let mut bytes = vec![0; len];
                        unpack(erofs, &cluster, algorithm, &mut bytes)?;
                        let unpacked = Unpacked { cluster, bytes: Arc::new(bytes) };
                        erofs.cache.keep_unpacked(unpacked)
                    }
                };
                let start = usize::try_from(skip).unwrap_or(usize::MAX);
                let found = unpacked.get(start..).and_then(|bytes| bytes.get(..buf.len()));
                let missing = || wrong("unpacked cluster", unpacked.len(), "all of its extent");
                buf.copy_from_slice(found.ok_or_else(missing)?);
            }
        },
    }
    Ok(())
}

fn read_packed<R: ReadAt>(erofs: &Erofs<R>, place: Place, skip: u64, buf: &mut [u8]) -> Result<()> {
    match place {
        Place::Device(start) => erofs.devices.read(0, add(start, skip)?, buf),
        Place::Meta(area, start) => erofs.meta(area).read_exact_at(add(start, skip)?, buf),
    }
}

/// As if the cluster's last bytes, up to the end of the block of the file that the extent starts in, stood before it.
fn read_rotated<R: ReadAt>(
    erofs: &Erofs<R>,
    cluster: &Cluster,
    start: u64,
    skip: u64,
    buf: &mut [u8],
) -> Result<()> {
    let block: NonZeroU64 = erofs.superblock.block_size;
    let turned = block.get().saturating_sub(start % block);
    let first = match cluster.len_bytes.checked_sub(turned) {
        Some(first) if cluster.len_bytes % block == 0 => first,
        _ if start % block == 0 => 0,
        _ => return Err(wrong("size of a rotated cluster", cluster.len_bytes, "whole blocks")),
    };
    let mut rest = buf;
    let mut skip = skip;
    if skip < turned {
        let len = usize::try_from(turned.saturating_sub(skip)).unwrap_or(usize::MAX).min(rest.len());
        let (part, next) = rest.split_at_mut_checked(len).unwrap_or((&mut [], &mut []));
        read_packed(erofs, cluster.place, add(first, skip)?, part)?;
        rest = next;
        skip = turned;
    }
    if rest.is_empty() {
        return Ok(());
    }
    read_packed(erofs, cluster.place, skip.saturating_sub(turned), rest)
}

/// Unpacks the first bytes of a cluster, as many as `out` has.
fn unpack<R: ReadAt>(
    erofs: &Erofs<R>,
    cluster: &Cluster,
    algorithm: Algorithm,
    out: &mut [u8],
) -> Result<()> {
    // The size was checked.
    let len = usize::try_from(cluster.len_bytes).unwrap_or(0);
    let (packed, at) = match cluster.place {
        Place::Device(start) => {
            let mut packed = vec![0; len];
            erofs.devices.read(0, start, &mut packed)?;
            (packed, start)
        }
        Place::Meta(area, start) => (read_vec(&erofs.meta(area), start, len)?, start),
    };
    let block = usize::try_from(erofs.superblock.block_size.get()).unwrap_or(usize::MAX);
    let (stream, take) = if erofs.superblock.zero_padding || algorithm != Algorithm::Lz4 {
        // The stream ends with the cluster; what is missing to whole blocks is zeros before it.
        let padding = packed.iter().take(block).take_while(|&&byte| byte == 0).count();
        let stream = packed.get(padding..).filter(|_| padding < block.min(len));
        (
            stream
                .ok_or_else(|| wrong("packed cluster", at, "something besides zeros in its first block"))?,
            cluster.take,
        )
    } else {
        // The stream starts with the cluster, and nothing says where it ends.
        (packed.as_slice(), Take::Part)
    };
    decode::decode(algorithm, stream, out, take).map_err(|error| match cluster.place {
        Place::Device(start) => error.at_offset(start),
        Place::Meta(area, start) => area.locate(error, start),
    })
}
