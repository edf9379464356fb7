//! The superblock, checked.

use crate::ReadAt;
use crate::erofs as raw;
use crate::error::{Corrupt, Error, Result, ResultExt as _, Unsupported};
use crate::read::{read_struct, read_vec};
use std::num::NonZeroU64;

/// The prefixes of attribute names are in a place of their own, not in the packed inode.
const COMPAT_PLAIN_PREFIXES: u32 = 0x10;
/// Compression variants, chunks, fragments and name prefixes. Bit 3 stands for extra devices as well as for a second
/// compression algorithm; the number of devices tells.
const INCOMPAT_KNOWN: u32 = 0x7f;

#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) block_bits: u8,
    pub(super) block_size: NonZeroU64,
    pub(super) root: u64,
    pub(super) epoch: i64,
    pub(super) fixed_nsec: u32,
    pub(super) metadata_offset: u64,
    pub(super) xattr_offset: u64,
    pub(super) xattr_prefix_count: u8,
    pub(super) xattr_prefix_offset: u64,
    /// The inode that holds the name prefixes, when it is not the image itself.
    pub(super) prefix_inode: Option<u64>,
}

impl Superblock {
    pub(super) fn read<R: ReadAt>(reader: &R) -> Result<Self> {
        Self::read_inner(reader)
            .map_err(|error| error.at_offset(raw::SUPERBLOCK_OFFSET))
            .within("superblock")
            .within("erofs")
    }

    fn read_inner<R: ReadAt>(reader: &R) -> Result<Self> {
        let raw: raw::Superblock = read_struct(reader, raw::SUPERBLOCK_OFFSET)?;
        if raw.magic.get() != raw::MAGIC {
            return Err(wrong("magic", raw.magic.get(), "0xe0f5e1e2"));
        }
        // 64 KiB is the largest page of any machine that mounts it.
        if !(9..=16).contains(&raw.block_bits) {
            return Err(wrong("block size (power of two)", raw.block_bits, "9 to 16"));
        }
        if raw.feature_compat.get() & raw::COMPAT_CHECKSUM != 0 {
            check_checksum(reader, &raw)?;
        }
        let unknown = raw.feature_incompat.get() & !INCOMPAT_KNOWN;
        if unknown != 0 {
            return Err(unsupported("incompatible feature", unknown));
        }
        if raw.extra_devices.get() != 0 && raw.feature_incompat.get() & 0x8 != 0 {
            return Err(unsupported("extra devices", raw.extra_devices.get()));
        }
        if raw.directory_block_bits != 0 {
            return Err(unsupported("directory block size", raw.directory_block_bits));
        }
        if raw.fixed_nsec.get() >= 1_000_000_000 {
            return Err(wrong("build time", raw.fixed_nsec.get(), "nanoseconds below one second"));
        }
        let block_offset = |block: u32| u64::from(block).checked_shl(raw.block_bits.into()).unwrap_or(0);
        let packed = raw.packed_nid.get();
        let plain = raw.feature_compat.get() & COMPAT_PLAIN_PREFIXES != 0;
        Ok(Self {
            block_bits: raw.block_bits,
            block_size: block_offset(1).try_into().unwrap_or(NonZeroU64::MIN),
            root: raw.root_nid.get().into(),
            epoch: i64::from_le_bytes(raw.epoch.to_bytes()),
            fixed_nsec: raw.fixed_nsec.get(),
            metadata_offset: block_offset(raw.meta_block.get()),
            xattr_offset: block_offset(raw.xattr_block.get()),
            xattr_prefix_count: raw.xattr_prefix_count,
            xattr_prefix_offset: u64::from(raw.xattr_prefix_start.get()).saturating_mul(4),
            prefix_inode: Some(packed).filter(|&packed| packed != 0 && !plain),
        })
    }
}

fn wrong(what: &'static str, found: impl Into<u64>, expected: &'static str) -> Error {
    Corrupt::FileSystem { what, found: found.into(), expected }.into()
}

fn unsupported(what: &'static str, found: impl Into<u64>) -> Error {
    Unsupported::FileSystemFeature { what, found: found.into() }.into()
}

/// CRC-32C of the superblock's block from the superblock on, with the checksum field as zero.
fn check_checksum<R: ReadAt>(reader: &R, raw: &raw::Superblock) -> Result<()> {
    let block = 1_usize.checked_shl(raw.block_bits.into()).unwrap_or(0);
    // A block of 1 KiB or less starts at the superblock.
    let len = if block > 1024 { block.saturating_sub(1024) } else { block };
    let mut bytes = read_vec(reader, raw::SUPERBLOCK_OFFSET, len)?;
    if let Some(field) = bytes.get_mut(4..8) {
        field.fill(0);
    }
    let (found, expected) = (raw.checksum.get(), raw::crc32c(&bytes));
    if found == expected { Ok(()) } else { Err(Corrupt::FileSystemChecksum { found, expected }.into()) }
}
