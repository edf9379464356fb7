//! From offsets of a compressed file to extents: the header of its index, and the kind of index that follows.

use super::decode::Algorithm;
use super::extents::Extents;
use super::index::Index;
use super::{Extent, Packing, Source, raw, unsupported, wrong};
use crate::ReadAt;
use crate::error::Result;
use crate::fs::erofs::inode::{Inode, Layout};
use crate::fs::erofs::meta::{Block, Records};
use crate::fs::erofs::{Erofs, add, overflow};
use crate::read::read_struct;
use std::num::NonZeroU64;

/// What is known of a compressed file before any offset is looked up.
#[derive(Debug)]
pub(super) enum Map {
    /// All of it is one fragment.
    Fragment(Extent),
    /// An index of logical clusters.
    Index(Index),
    /// A list of extents.
    Extents(Extents),
}

/// What both kinds of index need.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) size_bytes: u64,
    pub(super) block_size: NonZeroU64,
    /// Bytes of the file that one record stands for, in indexes with one record for each.
    pub(super) cluster_size: NonZeroU64,
    pub(super) cluster_bits: u32,
    pub(super) advise: u16,
}

impl Layer {
    pub(super) const fn advises(&self, what: u16) -> bool {
        self.advise & what != 0
    }

    /// How a cluster that is not compressed is stored.
    pub(super) const fn uncompressed(&self) -> Packing {
        if self.advises(raw::ADVISE_INTERLACED) { Packing::Rotated } else { Packing::Stored }
    }
}

pub(super) fn algorithm(found: u32) -> Result<Packing> {
    Algorithm::from_raw(found)
        .map(Packing::Compressed)
        .ok_or_else(|| unsupported("compression algorithm", found))
}

impl Map {
    pub(super) fn read<R: ReadAt>(erofs: &Erofs<R>, inode: &Inode) -> Result<Self> {
        let at = inode.end.checked_next_multiple_of(8).ok_or_else(overflow)?;
        Self::read_inner(erofs, inode, at).map_err(|error| inode.area.locate(error, at))
    }

    fn read_inner<R: ReadAt>(erofs: &Erofs<R>, inode: &Inode, at: u64) -> Result<Self> {
        let header: raw::MapHeader = read_struct(&erofs.meta(inode.area), at)?;
        if header.cluster_bits & 0x80 != 0 {
            // The header is the offset, but for its highest bit.
            let high = u32::from(header.advise.get())
                | u32::from(header.algorithms) << 16
                | u32::from(header.cluster_bits & 0x7f) << 24;
            let offset = u64::from(header.start.get()) | u64::from(high) << 32;
            return Ok(Self::Fragment(Extent {
                start: 0,
                end: inode.size_bytes,
                source: Source::Fragment(offset),
            }));
        }
        let cluster_bits =
            u32::from(erofs.superblock.block_bits).saturating_add(u32::from(header.cluster_bits & 0xf));
        let layer = Layer {
            size_bytes: inode.size_bytes,
            block_size: erofs.superblock.block_size,
            cluster_size: 1_u64.checked_shl(cluster_bits).and_then(NonZeroU64::new).ok_or_else(overflow)?,
            cluster_bits,
            advise: header.advise.get(),
        };
        let compact = inode.layout == Layout::Compressed { compact: true };
        let records = add(at, 8)?;
        if !compact && layer.advises(raw::ADVISE_EXTENTS) {
            return Extents::new(layer, &header, records).map(Self::Extents);
        }
        if compact && layer.advises(raw::ADVISE_BIG_1) != layer.advises(raw::ADVISE_BIG_2) {
            return Err(wrong(
                "advice of a compressed file",
                layer.advise,
                "the same for both kinds of cluster",
            ));
        }
        let mut read = Records::new(erofs.meta(inode.area), Block::default());
        Index::new(layer, &header, records, inode, &mut read).map(Self::Index)
    }

    pub(super) fn extent<R: ReadAt>(&self, records: &mut Records<'_, R>, at: u64) -> Result<Extent> {
        match self {
            Self::Fragment(extent) => Ok(*extent),
            Self::Index(index) => index.extent(records, at),
            Self::Extents(extents) => extents.extent(records, at),
        }
    }
}
