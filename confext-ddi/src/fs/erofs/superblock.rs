//! The superblock, checked.

use super::{add, overflow, raw, unsupported, wrong};
use crate::ReadAt;
use crate::erofs as format;
use crate::error::{Corrupt, Result, ResultExt as _};
use crate::read::{read_struct, read_vec};
use std::num::NonZeroU64;
use zerocopy::little_endian::{U16, U64};

#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) block_bits: u8,
    pub(super) block_size: NonZeroU64,
    pub(super) root: u64,
    pub(super) epoch: i64,
    pub(super) fixed_nsec: u32,
    pub(super) metadata_offset: u64,
    /// Shared attributes: their offset, and whether that is in the metabox.
    pub(super) xattr_offset: u64,
    pub(super) xattrs_in_metabox: bool,
    /// Inodes say which attributes they do not have.
    pub(super) xattr_filter: bool,
    pub(super) xattr_prefix_count: u8,
    pub(super) xattr_prefix_offset: u64,
    /// The name prefixes are in the image itself, not in an inode.
    pub(super) plain_prefixes: bool,
    pub(super) packed: Option<u64>,
    pub(super) metabox: Option<u64>,
    pub(super) extra_devices: u16,
    pub(super) device_table_slot: u16,
    /// Addresses of devices have 48 bits.
    long_addresses: bool,
    /// Packed data stands at the end of its blocks, behind zeros.
    pub(super) zero_padding: bool,
    /// The compression algorithms that files may use, by bit.
    pub(super) algorithms: u16,
}

impl Superblock {
    pub(super) fn read<R: ReadAt>(reader: &R) -> Result<Self> {
        Self::read_inner(reader)
            .map_err(|error| error.at_offset(format::SUPERBLOCK_OFFSET))
            .within("superblock")
            .within("erofs")
    }

    fn read_inner<R: ReadAt>(reader: &R) -> Result<Self> {
        let on_disk: format::Superblock = read_struct(reader, format::SUPERBLOCK_OFFSET)?;
        let (compatible, incompatible) = (on_disk.feature_compat.get(), on_disk.feature_incompat.get());
        let has = |feature: u32| incompatible & feature != 0;
        check(reader, &on_disk)?;
        let extension = u64::from(on_disk.extension_slots).saturating_mul(raw::EXTENSION_SLOT_BYTES);
        let size = add(128, extension)?;
        let metabox = if has(raw::INCOMPAT_METABOX) { Some(metabox(reader, size)?) } else { None };
        let packed = on_disk.packed_nid.get();
        if packed & raw::IN_METABOX != 0 {
            return Err(wrong("inode of fragments", packed, "one outside of the metabox"));
        }
        let long_addresses = has(raw::INCOMPAT_48BIT);
        let root = on_disk.long_root_nid.get();
        let root = if long_addresses && root != 0 { root } else { on_disk.root_nid.get().into() };
        let block_offset = |block: u32| u64::from(block).checked_shl(on_disk.block_bits.into()).unwrap_or(0);
        let algorithms = match has(raw::INCOMPAT_COMPRESSION_CONFIGS) {
            // Images from before there was a choice.
            false => 1,
            true => check_configs(reader, on_disk.compression.get(), add(format::SUPERBLOCK_OFFSET, size)?)?,
        };
        Ok(Self {
            block_bits: on_disk.block_bits,
            block_size: block_offset(1).try_into().unwrap_or(NonZeroU64::MIN),
            root,
            epoch: i64::from_le_bytes(on_disk.epoch.to_bytes()),
            fixed_nsec: on_disk.fixed_nsec.get(),
            metadata_offset: block_offset(on_disk.meta_block.get()),
            xattr_offset: block_offset(on_disk.xattr_block.get()),
            xattrs_in_metabox: compatible & raw::COMPAT_SHARED_IN_METABOX != 0,
            xattr_filter: compatible & raw::COMPAT_XATTR_FILTER != 0,
            xattr_prefix_count: on_disk.xattr_prefix_count,
            xattr_prefix_offset: u64::from(on_disk.xattr_prefix_start.get()).saturating_mul(4),
            plain_prefixes: compatible & raw::COMPAT_PLAIN_PREFIXES != 0,
            packed: Some(packed).filter(|&packed| packed != 0),
            metabox,
            // The bit also stands for a second algorithm in a file; the number of devices tells.
            extra_devices: if has(raw::INCOMPAT_DEVICE_TABLE) { on_disk.extra_devices.get() } else { 0 },
            device_table_slot: on_disk.device_table_slot.get(),
            long_addresses,
            zero_padding: has(raw::INCOMPAT_ZERO_PADDING),
            algorithms,
        })
    }

    /// The byte offset of a block.
    pub(super) fn block_offset(&self, block: u64) -> Result<u64> {
        block.checked_mul(self.block_size.get()).ok_or_else(|| overflow().into())
    }

    /// A block number in two parts, of which the upper one counts with 48-bit addresses only.
    pub(super) fn long_block(&self, low: u32, high: u16) -> u64 {
        let high = if self.long_addresses { u64::from(high) << 32 } else { 0 };
        high | u64::from(low)
    }
}

/// Magic, block size, checksum and what is not known.
fn check<R: ReadAt>(reader: &R, on_disk: &format::Superblock) -> Result<()> {
    if on_disk.magic.get() != format::MAGIC {
        return Err(wrong("magic", on_disk.magic.get(), "0xe0f5e1e2"));
    }
    // 64 KiB is the largest page of any machine that mounts it.
    if !(9..=16).contains(&on_disk.block_bits) {
        return Err(wrong("block size (power of two)", on_disk.block_bits, "9 to 16"));
    }
    if on_disk.feature_compat.get() & format::COMPAT_CHECKSUM != 0 {
        check_checksum(reader, on_disk)?;
    }
    let unknown = on_disk.feature_incompat.get() & !raw::INCOMPAT_KNOWN;
    if unknown != 0 {
        return Err(unsupported("incompatible feature", unknown));
    }
    if on_disk.directory_block_bits != 0 {
        return Err(unsupported("directory block size", on_disk.directory_block_bits));
    }
    if on_disk.fixed_nsec.get() >= 1_000_000_000 {
        return Err(wrong("build time", on_disk.fixed_nsec.get(), "nanoseconds below one second"));
    }
    Ok(())
}

/// The inode of the metabox, in the extension of the superblock.
fn metabox<R: ReadAt>(reader: &R, superblock_bytes: u64) -> Result<u64> {
    let field = 128;
    if superblock_bytes <= field {
        return Err(wrong("superblock size", superblock_bytes, "room for the inode of the metabox"));
    }
    let id = read_struct::<U64, _>(reader, add(format::SUPERBLOCK_OFFSET, field)?)?.get();
    if id & raw::IN_METABOX != 0 {
        return Err(wrong("inode of the metabox", id, "one outside of the metabox"));
    }
    Ok(id)
}

/// Checks the parameters of each algorithm that files may use, from `offset` on.
fn check_configs<R: ReadAt>(reader: &R, algorithms: u16, offset: u64) -> Result<u16> {
    let unknown = algorithms & !0xf;
    if unknown != 0 {
        return Err(unsupported("compression algorithm", unknown));
    }
    let mut at = offset;
    for algorithm in (0..4_u8).filter(|&bit| algorithms >> bit & 1 != 0) {
        at = at.checked_next_multiple_of(4).ok_or_else(overflow)?;
        let len: U16 = read_struct(reader, at)?;
        let least = match algorithm {
            0 | 1 => 14,
            _ => 6,
        };
        if len.get() < least {
            return Err(wrong("compression parameters", len.get(), "all that the algorithm has"));
        }
        let bytes = read_vec(reader, add(at, 2)?, len.get().into())?;
        let variant = match (algorithm, bytes.as_slice()) {
            (1, [_, _, _, _, low, high, ..]) => u16::from_le_bytes([*low, *high]),
            (3, [format, ..]) => (*format).into(),
            _ => 0,
        };
        if variant != 0 {
            return Err(unsupported("variant of a compression algorithm", variant));
        }
        at = add(at, u64::from(len.get()).saturating_add(2))?;
    }
    Ok(algorithms)
}

/// CRC-32C of the superblock's block from the superblock on, with the checksum field as zero.
fn check_checksum<R: ReadAt>(reader: &R, on_disk: &format::Superblock) -> Result<()> {
    let block = 1_usize.checked_shl(on_disk.block_bits.into()).unwrap_or(0);
    // A block of 1 KiB or less starts at the superblock.
    let len = if block > 1024 { block.saturating_sub(1024) } else { block };
    let mut bytes = read_vec(reader, format::SUPERBLOCK_OFFSET, len)?;
    if let Some(field) = bytes.get_mut(4..8) {
        field.fill(0);
    }
    let (found, expected) = (on_disk.checksum.get(), format::crc32c(&bytes));
    if found == expected { Ok(()) } else { Err(Corrupt::FileSystemChecksum { found, expected }.into()) }
}
