//! The second pass: superblock, inodes, data, front to back.

use super::chunks::Chunks;
use super::layout::{Inode, Layout, Payload};
use super::{BLOCK, BLOCK_BITS, Options, dirent, xattr};
use crate::build::content::Content as _;
use crate::build::tree::{Device, Kind, Tree, show};
use crate::erofs::{self as raw, CompactInode, ExtendedInode, Superblock};
use crate::error::{Corrupt, Result};
use crate::units::ByteRange;
use std::io::{BufWriter, Write};
use zerocopy::IntoBytes as _;

pub(super) fn write(
    tree: &Tree,
    layout: &Layout<'_>,
    options: &Options,
    out: &mut impl Write,
) -> Result<u64> {
    let mut sink = Sink { out: BufWriter::with_capacity(1 << 18, out), position: 0, first: Vec::new() };
    sink.pad_to(raw::SUPERBLOCK_OFFSET)?;
    sink.write_all(superblock(layout, options).as_bytes())?;
    let mut by_offset: Vec<&Inode<'_>> = layout.inodes.iter().collect();
    by_offset.sort_unstable_by_key(|inode| inode.offset);
    for inode in by_offset {
        sink.pad_to(inode.offset)?;
        write_inode(inode, &mut sink)?;
        match &inode.payload {
            Payload::Chunks(chunks) => write_table(chunks, &mut sink)?,
            Payload::Flat { inline: true, .. } => {
                let start = inode.flat_bytes(true);
                copy(tree, layout, inode, &[range(start, inode.size)], &mut sink)?;
            }
            Payload::Flat { inline: false, .. } | Payload::None => {}
        }
    }
    for inode in &layout.inodes {
        write_data(tree, layout, inode, &mut sink)?;
    }
    let size = layout.blocks.saturating_mul(BLOCK);
    sink.pad_to(size)?;
    sink.out.flush()?;
    Ok(size)
}

fn write_data<W: Write>(
    tree: &Tree,
    layout: &Layout<'_>,
    inode: &Inode<'_>,
    sink: &mut Sink<W>,
) -> Result<()> {
    match &inode.payload {
        Payload::None => Ok(()),
        Payload::Flat { block, inline } => {
            let len = inode.flat_bytes(*inline);
            if len == 0 {
                return Ok(());
            }
            sink.pad_to(block.saturating_mul(BLOCK))?;
            copy(tree, layout, inode, &[range(0, len)], sink)
        }
        Payload::Chunks(chunks) => {
            let ranges: Vec<ByteRange> = chunks.runs.iter().map(|run| chunks.range(run)).collect();
            let Some(first) = chunks.runs.first() else { return Ok(()) };
            // Runs follow each other without a gap: only the file's last chunk is not whole blocks.
            sink.pad_to(first.block.saturating_mul(BLOCK))?;
            copy(tree, layout, inode, &ranges, sink)
        }
    }
}

/// Copies ranges of what an inode stores, and checks that not a byte more or less came.
fn copy<W: Write>(
    tree: &Tree,
    layout: &Layout<'_>,
    inode: &Inode<'_>,
    ranges: &[ByteRange],
    sink: &mut Sink<W>,
) -> Result<()> {
    let len = ranges.iter().map(|range| range.len_bytes()).fold(0, u64::saturating_add);
    let end = sink.position.saturating_add(len);
    match &inode.node.kind {
        Kind::File(content) => content.copy(ranges, sink)?,
        Kind::Symlink(target) => target.copy(ranges, sink)?,
        Kind::Directory(children) => {
            let names = dirent::sorted(children, inode.id, inode.parent);
            dirent::encode(tree, &names, |node| layout.nid_of(node)).copy(ranges, sink)?;
        }
        Kind::Device(_) | Kind::Fifo | Kind::Socket => {}
    }
    if sink.position != end {
        return Err(Corrupt::SourceChanged { path: show(&inode.path), what: "size" }.into());
    }
    Ok(())
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).unwrap_or(ByteRange::EMPTY)
}

fn superblock(layout: &Layout<'_>, options: &Options) -> Superblock {
    let chunked = layout.inodes.iter().any(|inode| matches!(inode.payload, Payload::Chunks(_)));
    let root_nid = layout.inodes.first().map_or(0, Inode::nid);
    Superblock {
        magic: raw::MAGIC.into(),
        // Set when the first block is complete.
        checksum: 0.into(),
        feature_compat: (raw::COMPAT_CHECKSUM | raw::COMPAT_MTIME).into(),
        block_bits: BLOCK_BITS,
        extension_slots: 0,
        // The root is placed first: in block 0, or at the start of block 1.
        root_nid: u16::try_from(root_nid).unwrap_or(u16::MAX).into(),
        inodes: u64::try_from(layout.inodes.len()).unwrap_or(u64::MAX).into(),
        epoch: options.build_time.seconds().cast_unsigned().into(),
        fixed_nsec: options.build_time.nanoseconds().into(),
        blocks: low_32(layout.blocks).into(),
        meta_block: 0.into(),
        xattr_block: 0.into(),
        uuid: options.uuid.to_bytes(),
        volume_name: [0; 16],
        feature_incompat: if chunked { raw::INCOMPAT_CHUNKED } else { 0 }.into(),
        compression: 0.into(),
        extra_devices: 0.into(),
        device_table_slot: 0.into(),
        directory_block_bits: 0,
        xattr_prefix_count: 0,
        xattr_prefix_start: 0.into(),
        packed_nid: 0.into(),
        xattr_filter: 0,
        shared_inode_prefix: 0,
        reserved: [0; 2],
        build_time: 0.into(),
        long_root_nid: 0.into(),
        reserved_2: [0; 8],
    }
}

fn write_inode<W: Write>(inode: &Inode<'_>, sink: &mut Sink<W>) -> Result<()> {
    let meta = &inode.node.meta;
    let (layout, union) = match &inode.payload {
        Payload::Chunks(chunks) => (raw::CHUNK_BASED, u32::from(chunks.bits)),
        Payload::Flat { block, inline: true } => (raw::FLAT_INLINE, low_32(*block)),
        Payload::Flat { block, inline: false } => (raw::FLAT_PLAIN, low_32(*block)),
        Payload::None => (raw::FLAT_PLAIN, device_number(&inode.node.kind)),
    };
    let format = (layout << 1) | u16::from(inode.extended);
    let xattr_count = xattr::count(inode.xattr_bytes);
    let mode = meta.mode | type_bits(&inode.node.kind);
    if inode.extended {
        let extended = ExtendedInode {
            format: format.into(),
            xattr_count: xattr_count.into(),
            mode: mode.into(),
            start_high: 0.into(),
            size: inode.size.into(),
            union: union.into(),
            ino: inode.number.into(),
            uid: meta.uid.into(),
            gid: meta.gid.into(),
            mtime: inode.mtime.seconds().cast_unsigned().into(),
            mtime_nsec: inode.mtime.nanoseconds().into(),
            nlink: inode.links.into(),
            reserved_2: [0; 16],
        };
        sink.write_all(extended.as_bytes())?;
    } else {
        // The layout chose this form because every value fits.
        let narrow = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        let compact = CompactInode {
            format: format.into(),
            xattr_count: xattr_count.into(),
            mode: mode.into(),
            nlink: narrow(inode.links).into(),
            size: low_32(inode.size).into(),
            mtime: 0.into(),
            union: union.into(),
            ino: inode.number.into(),
            uid: narrow(meta.uid).into(),
            gid: narrow(meta.gid).into(),
            reserved: 0.into(),
        };
        sink.write_all(compact.as_bytes())?;
    }
    sink.write_all(&xattr::encode(&inode.node.xattrs, &inode.path)?)?;
    Ok(())
}

/// The addresses of a file's chunks, 4 bytes each.
fn write_table<W: Write>(chunks: &Chunks, sink: &mut Sink<W>) -> Result<()> {
    let mut next = 0;
    let hole = raw::NULL_ADDRESS.to_le_bytes();
    for run in &chunks.runs {
        (next..run.first).try_for_each(|_| sink.write_all(&hole))?;
        next = run.first.saturating_add(run.count);
        for at in 0..run.count {
            let block = run.block.saturating_add(at.saturating_mul(chunks.chunk_blocks()));
            sink.write_all(&low_32(block).to_le_bytes())?;
        }
    }
    (next..chunks.count()).try_for_each(|_| sink.write_all(&hole))?;
    Ok(())
}

/// A block address or count, which the layout keeps below 2^32, as 32 bits.
fn low_32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

const fn type_bits(kind: &Kind) -> u16 {
    match kind {
        Kind::Fifo => 0o010_000,
        Kind::Device(Device::Character { .. }) => 0o020_000,
        Kind::Directory(_) => 0o040_000,
        Kind::Device(Device::Block { .. }) => 0o060_000,
        Kind::File(_) => 0o100_000,
        Kind::Symlink(_) => 0o120_000,
        Kind::Socket => 0o140_000,
    }
}

/// Linux's 32-bit device number: the minor's low 8 bits, 12 bits of major, the minor's high 12 bits.
const fn device_number(kind: &Kind) -> u32 {
    match kind {
        Kind::Device(device) => {
            let (major, minor) = device.number();
            (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
        }
        _ => 0,
    }
}

/// The output, with the first block held back until it is complete and its checksum can be set.
struct Sink<W: Write> {
    out: W,
    position: u64,
    first: Vec<u8>,
}

const FIRST_BYTES: usize = 4096;
const _: () = assert!(BLOCK == 4096);

impl<W: Write> Sink<W> {
    fn pad_to(&mut self, position: u64) -> Result<()> {
        const ZEROS: [u8; FIRST_BYTES] = [0; FIRST_BYTES];
        while self.position < position {
            let len = usize::try_from(position.saturating_sub(self.position)).unwrap_or(usize::MAX);
            self.write_all(ZEROS.get(..len).unwrap_or(&ZEROS))?;
        }
        debug_assert_eq!(self.position, position, "the layout and the writer disagree");
        Ok(())
    }

    fn write_first(&mut self) -> std::io::Result<()> {
        let (before, rest) = self.first.split_at(FIRST_BYTES / 4);
        let checksum = raw::crc32c(rest).to_le_bytes();
        let (magic, rest) = rest.split_at(4);
        let (_, rest) = rest.split_at(4);
        [before, magic, &checksum, rest].into_iter().try_for_each(|part| self.out.write_all(part))
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let missing = FIRST_BYTES.saturating_sub(self.first.len());
        let written = if missing > 0 {
            let part = bytes.get(..missing).unwrap_or(bytes);
            self.first.extend_from_slice(part);
            if self.first.len() == FIRST_BYTES {
                self.write_first()?;
            }
            part.len()
        } else {
            self.out.write(bytes)?
        };
        self.position = self.position.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
