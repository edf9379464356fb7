//! Indexes with one record for each logical cluster, in full and in compact form.
//!
//! A logical cluster is as many bytes of the file as a block has, or a power of two of that. Its record is a head, if an
//! extent starts in it, or tells how far the head before it and the one after it are.

use super::decode::Take;
use super::map::{Layer, algorithm};
use super::{Cluster, Extent, Packing, Place, Source, raw, unsupported, wrong};
use crate::ReadAt;
use crate::error::Result;
use crate::fs::erofs::inode::{Inode, Layout};
use crate::fs::erofs::meta::{Area, Records};
use crate::fs::erofs::{add, overflow};
use zerocopy::FromBytes as _;

#[derive(Debug)]
pub(super) struct Index {
    layer: Layer,
    /// Where the records start, with the padding that full ones have.
    records: u64,
    compact: bool,
    area: Area,
    /// What the two kinds of compressed heads are packed with.
    packings: [u32; 2],
    /// The last extent, if it is not in blocks of its own.
    tail: Option<Extent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    First,
    Second,
}

/// What a record says.
#[derive(Debug, Clone, Copy)]
enum Record {
    Head {
        kind: Kind,
        offset: u64,
        block: u32,
        partial: bool,
    },
    /// Records back to the head before and on to the next head; blocks of the cluster, if the record has that instead.
    Other {
        back: u64,
        on: u64,
        blocks: Option<u64>,
    },
}

/// A head, and the logical cluster it is of.
#[derive(Debug, Clone, Copy)]
struct Head {
    number: u64,
    kind: Kind,
    offset: u64,
    block: u32,
    partial: bool,
}

/// A file has at most one record for each of its blocks, and a record spans up to 2047 others: more steps than this
/// would be an extent beyond any limit.
const MOST_STEPS: usize = 1 << 16;

impl Index {
    pub(super) fn new<R: ReadAt>(
        layer: Layer,
        header: &raw::MapHeader,
        records: u64,
        inode: &Inode,
        read: &mut Records<'_, R>,
    ) -> Result<Self> {
        let (compact, area) = (inode.layout == Layout::Compressed { compact: true }, inode.area);
        let packings = [u32::from(header.algorithms & 0xf), u32::from(header.algorithms >> 4)];
        // A full index starts eight bytes later, for no reason that holds today.
        let records = if compact { records } else { add(records, 8)? };
        let mut index = Self { layer, records, compact, area, packings, tail: None };
        let start = header.start.get();
        let tail = if index.layer.advises(raw::ADVISE_FRAGMENT) {
            let (head, _) = index.last_head(read)?;
            let high = if compact { 0 } else { u64::from(head.block) << 32 };
            Some((head, Source::Fragment(u64::from(start) | high)))
        } else if index.layer.advises(raw::ADVISE_INLINE) && start >> 16 != 0 {
            let (head, at) = index.last_head(read)?;
            Some((head, Source::Cluster(index.inline(&head, at, u64::from(start >> 16))?)))
        } else {
            None
        };
        if let Some((head, source)) = tail {
            let (start, end) = (index.start(&head)?, index.layer.size_bytes);
            index.tail = Some(Extent { start, end, source });
        }
        Ok(index)
    }

    pub(super) fn extent<R: ReadAt>(&self, records: &mut Records<'_, R>, at: u64) -> Result<Extent> {
        if let Some(tail) = self.tail.filter(|tail| tail.contains(at)) {
            return Ok(tail);
        }
        let head = self.head(records, at)?;
        let source = Source::Cluster(Cluster {
            place: Place::Device(self.block_offset(head.block)?),
            len_bytes: self.packed_bytes(records, &head)?,
            packing: self.packing(head.kind)?,
            take: if head.partial { Take::Part } else { Take::All },
        });
        Ok(Extent { start: self.start(&head)?, end: self.end(records, &head)?, source })
    }

    fn block_offset(&self, block: u32) -> Result<u64> {
        u64::from(block).checked_mul(self.layer.block_size.get()).ok_or_else(|| overflow().into())
    }

    fn packing(&self, kind: Kind) -> Result<Packing> {
        match kind {
            Kind::Plain => Ok(self.layer.uncompressed()),
            Kind::First => algorithm(self.packings[0]),
            Kind::Second => algorithm(self.packings[1]),
        }
    }

    /// The cluster that follows the index, for the last extent.
    fn inline(&self, head: &Head, at: u64, len_bytes: u64) -> Result<Cluster> {
        if (at % self.layer.block_size).saturating_add(len_bytes) > self.layer.block_size.get() {
            return Err(wrong("inline cluster", len_bytes, "one that ends in the block of its index"));
        }
        let packing = self.packing(head.kind)?;
        Ok(Cluster { place: Place::Meta(self.area, at), len_bytes, packing, take: Take::All })
    }

    /// The head of the extent that the last byte is in, and where the records end.
    fn last_head<R: ReadAt>(&self, records: &mut Records<'_, R>) -> Result<(Head, u64)> {
        let last = self
            .layer
            .size_bytes
            .checked_sub(1)
            .ok_or_else(|| wrong("file size", 0_u64, "that of a file with content"))?;
        let (_, end) = self.record(records, last / self.layer.cluster_size)?;
        Ok((self.head(records, last)?, end))
    }

    /// The byte of the file that the extent of a head starts with.
    fn start(&self, head: &Head) -> Result<u64> {
        let start = head.number.checked_mul(self.layer.cluster_size.get()).ok_or_else(overflow)?;
        add(start, head.offset)
    }

    /// The head of the extent that an offset is in.
    fn head<R: ReadAt>(&self, records: &mut Records<'_, R>, at: u64) -> Result<Head> {
        let mut number = at / self.layer.cluster_size;
        let within = at % self.layer.cluster_size;
        for step in 0..MOST_STEPS {
            let back = match self.record(records, number)?.0 {
                Record::Head { kind, offset, block, partial } if step > 0 || offset <= within => {
                    return Ok(Head { number, kind, offset, block, partial });
                }
                Record::Head { .. } => 1,
                Record::Other { back, .. } => back,
            };
            number = number.checked_sub(back).filter(|_| back > 0).ok_or_else(|| {
                wrong("distance to the start of an extent", back, "one that leads to a start")
            })?;
        }
        Err(wrong("distance to the start of an extent", number, "one that leads to a start"))
    }

    /// The byte of the file that follows the extent of a head.
    fn end<R: ReadAt>(&self, records: &mut Records<'_, R>, head: &Head) -> Result<u64> {
        let mut number = head.number.saturating_add(1);
        for _ in 0..MOST_STEPS {
            let start = number.checked_mul(self.layer.cluster_size.get()).ok_or_else(overflow)?;
            if start >= self.layer.size_bytes {
                return Ok(self.layer.size_bytes);
            }
            match self.record(records, number)?.0 {
                Record::Head { offset, .. } => return Ok(add(start, offset)?.min(self.layer.size_bytes)),
                // Old writers left out the way on.
                Record::Other { on, .. } => number = number.saturating_add(on.max(1)),
            }
        }
        Err(unsupported("size of an unpacked cluster", number))
    }

    /// How many bytes of blocks the cluster of a head has.
    fn packed_bytes<R: ReadAt>(&self, records: &mut Records<'_, R>, head: &Head) -> Result<u64> {
        let big = match head.kind {
            Kind::First => self.layer.advises(raw::ADVISE_BIG_1),
            Kind::Plain | Kind::Second => self.layer.advises(raw::ADVISE_BIG_2),
        };
        let next = head.number.saturating_add(1);
        let next_start = next.checked_mul(self.layer.cluster_size.get()).ok_or_else(overflow)?;
        let blocks = if !big || next_start >= self.layer.size_bytes {
            1
        } else {
            match self.record(records, next)?.0 {
                Record::Head { .. } => 1,
                Record::Other { blocks, .. } => blocks
                    .filter(|&blocks| blocks > 0)
                    .ok_or_else(|| wrong("size of a packed cluster", next, "a number of blocks"))?,
            }
        };
        blocks.checked_mul(self.layer.block_size.get()).ok_or_else(|| overflow().into())
    }

    /// A record, and where what follows it, or its pack, is.
    fn record<R: ReadAt>(&self, records: &mut Records<'_, R>, number: u64) -> Result<(Record, u64)> {
        let (record, next) =
            if self.compact { self.compact(records, number)? } else { self.full(records, number)? };
        match record {
            Record::Head { offset, .. } if offset >= self.layer.cluster_size.get() => {
                Err(wrong("start of an extent", offset, "an offset inside of its cluster"))
            }
            _ => Ok((record, next)),
        }
    }

    fn full<R: ReadAt>(&self, records: &mut Records<'_, R>, number: u64) -> Result<(Record, u64)> {
        let at =
            number.checked_mul(8).and_then(|offset| self.records.checked_add(offset)).ok_or_else(overflow)?;
        let bytes: [u8; 8] = records.get(at)?;
        let on_disk = raw::ClusterIndex::read_from_bytes(&bytes).map_err(|_| overflow())?;
        let [low, high] = on_disk.value.map(zerocopy::little_endian::U16::get);
        let record = match kind(on_disk.advise.get().into()) {
            Some(kind) => Record::Head {
                kind,
                offset: on_disk.cluster_offset.get().into(),
                block: u32::from(high) << 16 | u32::from(low),
                partial: on_disk.advise.get() & raw::PARTIAL != 0,
            },
            None => self.other(low.into(), low.into(), high.into())?,
        };
        Ok((record, add(at, 8)?))
    }

    /// A record that is no head, from what it has in place of an offset, and the distances.
    fn other(&self, low: u32, back: u64, on: u64) -> Result<Record> {
        if low & raw::BLOCK_COUNT == 0 {
            return Ok(Record::Other { back, on, blocks: None });
        }
        if !self.layer.advises(raw::ADVISE_BIG_1 | raw::ADVISE_BIG_2) {
            return Err(wrong("record of a compressed file", low, "no number of blocks"));
        }
        Ok(Record::Other { back: 1, on, blocks: Some((low & !raw::BLOCK_COUNT).into()) })
    }

    /// Records in packs of 2 in 8 bytes or of 16 in 32 bytes: the first few and the last few in small packs, so that the
    /// large ones are aligned. The last four bytes of a pack are the block that the first head of it follows.
    fn compact<R: ReadAt>(&self, records: &mut Records<'_, R>, number: u64) -> Result<(Record, u64)> {
        let total = self.layer.size_bytes.div_ceil(self.layer.block_size.get());
        if number >= total {
            return Err(wrong("record of a compressed file", number, "one of those that it has"));
        }
        let first = (32_u64.saturating_sub(self.records % 32) / 4) & 7;
        let in_large = match total.checked_sub(first) {
            Some(rest) if self.layer.advises(raw::ADVISE_COMPACT_2B) => rest.saturating_sub(rest % 16),
            _ => 0,
        };
        let small_bytes = |records: u64| records.checked_mul(4).ok_or_else(overflow);
        let start = self.records;
        let (at, large) = match number.checked_sub(first) {
            None => (add(start, small_bytes(number)?)?, false),
            Some(after) => {
                let start = add(start, small_bytes(first)?)?;
                match after.checked_sub(in_large) {
                    None => (add(start, after.checked_mul(2).ok_or_else(overflow)?)?, true),
                    Some(rest) => {
                        let large = in_large.checked_mul(2).ok_or_else(overflow)?;
                        (add(add(start, large)?, small_bytes(rest)?)?, false)
                    }
                }
            }
        };
        if self.layer.cluster_bits > if large { 12 } else { 14 } {
            return Err(unsupported("size of a logical cluster in a compact index", self.layer.cluster_bits));
        }
        let (pack_bytes, within, slot) =
            if large { (32, at % 32, (at % 32) / 2) } else { (8, at % 8, (at % 8) / 4) };
        let pack_start = at.saturating_sub(within);
        let pack = if large {
            Pack { bytes: records.get(pack_start)?, records: 16, width: 14, low_bits: 12 }
        } else {
            let mut bytes = [0; 32];
            if let Some((head, _)) = bytes.split_first_chunk_mut::<8>() {
                *head = records.get(pack_start)?;
            }
            Pack { bytes, records: 2, width: 16, low_bits: self.layer.cluster_bits.max(12) }
        };
        let slot = usize::try_from(slot).unwrap_or(usize::MAX);
        Ok((self.in_pack(&pack, slot)?, add(pack_start, pack_bytes)?))
    }

    fn in_pack(&self, pack: &Pack, slot: usize) -> Result<Record> {
        let (low, head) = pack.value(slot);
        if let Some(kind) = head {
            let block = pack.base().wrapping_add(self.blocks_before(pack, slot)?);
            return Ok(Record::Head { kind, offset: low.into(), block, partial: false });
        }
        let last = slot.saturating_add(1) == pack.records;
        let back = if last && low & raw::BLOCK_COUNT == 0 {
            // The last one has the way on instead; the way back is one more than that of the one before.
            let before = match pack.value(slot.saturating_sub(1)) {
                (_, Some(_)) => 0,
                (low, None) if low & raw::BLOCK_COUNT != 0 => 1,
                (low, None) => low,
            };
            u64::from(before).saturating_add(1)
        } else {
            low.into()
        };
        self.other(low, back, pack.way_on(slot))
    }

    /// How many blocks the clusters that start earlier in the pack have.
    fn blocks_before(&self, pack: &Pack, slot: usize) -> Result<u32> {
        let big = self.layer.advises(raw::ADVISE_BIG_1);
        let mut blocks = u32::from(!big);
        let mut slot = slot;
        while let Some(before) = slot.checked_sub(1) {
            slot = before;
            match pack.value(slot) {
                (_, Some(_)) => blocks = blocks.saturating_add(1),
                (low, None) if !big => match slot.checked_sub(usize::try_from(low).unwrap_or(usize::MAX)) {
                    // Its head, which was not counted yet; or one of an earlier pack.
                    Some(head) => {
                        slot = head;
                        blocks = blocks.saturating_add(1);
                    }
                    None => break,
                },
                (low, None) if low & raw::BLOCK_COUNT != 0 => {
                    blocks = blocks.saturating_add(low & !raw::BLOCK_COUNT);
                    // Its head was counted with it.
                    let Some(head) = slot.checked_sub(1) else { break };
                    slot = head;
                }
                (low, None) => {
                    // To the record with the number of blocks, which is the second of its extent.
                    let back = low.checked_sub(2).ok_or_else(|| {
                        wrong(
                            "distance to the start of an extent",
                            low,
                            "at least two in a cluster of many blocks",
                        )
                    })?;
                    let Some(second) = slot.checked_sub(usize::try_from(back).unwrap_or(usize::MAX)) else {
                        break;
                    };
                    slot = second;
                }
            }
        }
        Ok(blocks)
    }
}

/// Records that are stored together: bits for a number and a kind each, and a block for all.
struct Pack {
    bytes: [u8; 32],
    records: usize,
    /// Bits of one record, and of its number.
    width: u32,
    low_bits: u32,
}

impl Pack {
    fn word(&self, at: usize) -> u32 {
        let word = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        word.copied().map_or(0, u32::from_le_bytes)
    }

    /// Number, and kind of a head.
    fn value(&self, slot: usize) -> (u32, Option<Kind>) {
        let bit = slot.saturating_mul(usize::try_from(self.width).unwrap_or(0));
        let shift = u32::try_from(bit % 8).unwrap_or(0);
        let bits = self.word(bit / 8).checked_shr(shift).unwrap_or(0);
        let low_mask = 1_u32.checked_shl(self.low_bits).unwrap_or(0).wrapping_sub(1);
        (bits & low_mask, kind(bits.checked_shr(self.low_bits).unwrap_or(0)))
    }

    /// The block before the first cluster that starts in the pack, or its first.
    fn base(&self) -> u32 {
        self.word(if self.records == 16 { 28 } else { 4 })
    }

    /// How many records on from `slot` the next head is, as far as the pack knows.
    fn way_on(&self, slot: usize) -> u64 {
        let mut on = 0_u64;
        let mut low = 0;
        for slot in slot..self.records {
            let (number, head) = self.value(slot);
            if head.is_some() {
                return on;
            }
            on = on.saturating_add(1);
            low = number;
        }
        // The last one says how far it is from there.
        if low & raw::BLOCK_COUNT == 0 { on.saturating_add(low.into()).saturating_sub(1) } else { on }
    }
}

/// The kind of head that two bits stand for.
const fn kind(bits: u32) -> Option<Kind> {
    match bits & 3 {
        0 => Some(Kind::Plain),
        1 => Some(Kind::First),
        3 => Some(Kind::Second),
        _ => None,
    }
}
