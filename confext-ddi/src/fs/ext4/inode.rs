//! Inodes: metadata, where the content is, and where attributes are.

use super::checksum::Checksum;
use super::{Ext4, raw, wrong};
use crate::ReadAt;
use crate::error::{Corrupt, Result, Unsupported};
use crate::fs::{FileType, Metadata, decode_device};
use crate::read::read_vec;
use zerocopy::FromBytes as _;

const ENCRYPTED: u32 = 0x800;
const INDEXED: u32 = 0x1000;
const EXTENTS: u32 = 0x8_0000;
const VALUE_OF_ATTRIBUTE: u32 = 0x20_0000;
const INLINE_DATA: u32 = 0x1000_0000;

/// An inode, checked.
#[derive(Debug, Clone)]
pub(in crate::fs) struct Inode {
    pub(super) number: u64,
    pub(super) meta: Metadata,
    pub(super) content: Content,
    /// What the checksums of the inode's own blocks start with.
    pub(super) checksum: Option<Checksum>,
    /// The attributes that are in the inode itself: entries and values, without the magic before them.
    pub(super) xattrs: Vec<u8>,
    /// The block with the other attributes.
    pub(super) xattr_block: Option<u64>,
    /// Whether it is no file but holds the value of an attribute.
    pub(super) is_value: bool,
    /// Whether a directory has blocks of hashes.
    pub(super) is_indexed: bool,
}

/// Where the content is.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// In blocks, found by a tree of extents whose root this is.
    Extents([u8; 60]),
    /// In blocks, found by numbers of blocks, and of blocks with such numbers.
    Blocks([u8; 60]),
    /// In the inode itself: here, and then in the attribute `system.data`.
    Inline([u8; 60]),
}

impl Inode {
    pub(super) fn read<R: ReadAt>(fs: &Ext4<R>, number: u64) -> Result<Self> {
        let offset = fs.superblock.inode_offset(&fs.reader, number)?;
        let bytes = read_vec(&fs.reader, offset, fs.superblock.inode_size.into())?;
        let (raw, rest) = raw::Inode::read_from_prefix(&bytes)
            .map_err(|_| wrong("inode size", fs.superblock.inode_size, "128 or more"))?;
        let tail_bytes = match rest {
            [low, high, ..] => usize::from(u16::from_le_bytes([*low, *high])),
            _ => 0,
        };
        if tail_bytes > rest.len() || !tail_bytes.is_multiple_of(4) {
            return Err(wrong("inode's extra size", tail_bytes, "a multiple of 4 that fits in the inode"));
        }
        let checksum = check(fs.superblock.checksum, number, &raw, &bytes, tail_bytes)?;
        let flags = raw.flags.get();
        if flags & ENCRYPTED != 0 {
            return Err(Unsupported::FileSystemFeature { what: "an encrypted file", found: number }.into());
        }
        let file_type = FileType::from_mode(raw.mode.get())
            .ok_or_else(|| wrong("inode mode", raw.mode.get(), "a mode with a file type"))?;
        // The higher bits of a time stand in the tail, as far as it goes.
        let mtime_extra = rest.get(8..12).filter(|_| tail_bytes >= 12).and_then(|bytes| bytes.first_chunk());
        let mtime_extra = mtime_extra.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let mtime_nsec = mtime_extra >> 2;
        if mtime_nsec > 999_999_999 {
            return Err(wrong("modification time", mtime_nsec, "less than 10^9 nanoseconds"));
        }
        let seconds = i64::from(i32::from_le_bytes(raw.mtime.to_bytes()));
        let size_bytes = u64::from(raw.size_low.get()) | u64::from(raw.size_high.get()) << 32;
        if i64::try_from(size_bytes).is_err() {
            return Err(wrong("file size", size_bytes, "less than 2^63"));
        }
        let is_device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
        let has_content = matches!(file_type, FileType::Regular | FileType::Directory | FileType::Symlink);
        let meta = Metadata {
            file_type,
            mode: raw.mode.get() & 0o7777,
            uid: u32::from(raw.uid_low.get()) | u32::from(raw.uid_high.get()) << 16,
            gid: u32::from(raw.gid_low.get()) | u32::from(raw.gid_high.get()) << 16,
            size_bytes: if has_content { size_bytes } else { 0 },
            mtime_sec: seconds.saturating_add(i64::from(mtime_extra & 3) << 32),
            mtime_nsec,
            nlink: raw.links.get().into(),
            rdev: is_device.then(|| device(&raw.content)),
            ino: number,
        };
        let content = match flags {
            _ if flags & INLINE_DATA != 0 => Content::Inline(raw.content),
            _ if flags & EXTENTS != 0 => Content::Extents(raw.content),
            // A short target stands where the numbers of blocks would.
            _ if file_type == FileType::Symlink && size_bytes < 60 => Content::Inline(raw.content),
            _ => Content::Blocks(raw.content),
        };
        let (magic, xattrs) =
            rest.get(tail_bytes..).and_then(<[u8]>::split_first_chunk).unwrap_or((&[0; 4], &[]));
        let has_xattrs = u32::from_le_bytes(*magic) == raw::XATTR_MAGIC;
        let block = u64::from(raw.xattr_block_low.get()) | u64::from(raw.xattr_block_high.get()) << 32;
        Ok(Self {
            number,
            meta,
            content,
            checksum,
            xattrs: if has_xattrs && tail_bytes > 0 { xattrs.to_vec() } else { Vec::new() },
            xattr_block: (block != 0).then_some(block),
            is_value: flags & VALUE_OF_ATTRIBUTE != 0,
            is_indexed: flags & INDEXED != 0,
        })
    }
}

/// Checks an inode's checksum, and returns what those of its blocks start with.
fn check(
    seed: Option<Checksum>,
    number: u64,
    raw: &raw::Inode,
    bytes: &[u8],
    tail_bytes: usize,
) -> Result<Option<Checksum>> {
    let Some(seed) = seed else { return Ok(None) };
    let low = u32::try_from(number).unwrap_or(u32::MAX);
    let own = seed.over(&low.to_le_bytes()).over(&raw.generation.to_bytes());
    // The checksum's own bytes count as zero.
    let mut covered = bytes.to_vec();
    let has_high = tail_bytes >= 4;
    for (at, byte) in covered.iter_mut().enumerate() {
        if (0x7c..0x7e).contains(&at) || (has_high && (0x82..0x84).contains(&at)) {
            *byte = 0;
        }
    }
    let high = bytes.get(0x82..0x84).filter(|_| has_high).and_then(|bytes| bytes.first_chunk());
    let mask = if high.is_some() { u32::MAX } else { 0xffff };
    let high = high.map_or(0, |high| u32::from(u16::from_le_bytes(*high)) << 16);
    let (found, expected) = (u32::from(raw.checksum_low.get()) | high, own.over(&covered).value() & mask);
    if found != expected {
        return Err(Corrupt::MetadataChecksum { what: "inode", number, found, expected }.into());
    }
    Ok(Some(own))
}

/// A device's number: in the old form, or, where that is zero, in the new one.
fn device(content: &[u8; 60]) -> (u32, u32) {
    let number = |at: usize| {
        let bytes = content.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    match number(0) {
        0 => decode_device(number(4)),
        old => ((old >> 8) & 0xff, old & 0xff),
    }
}
