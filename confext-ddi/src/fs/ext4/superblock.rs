//! The superblock and the groups of blocks.

use super::checksum::Checksum;
use super::{multiply, raw, wrong};
use crate::ReadAt;
use crate::error::{Corrupt, Error, Result, Unsupported};
use crate::read::{read_struct, read_vec};
use std::num::NonZeroU64;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Features that change how a file system is read.
mod incompatible {
    pub(super) const FILE_TYPE: u32 = 0x2;
    pub(super) const RECOVER: u32 = 0x4;
    pub(super) const META_GROUPS: u32 = 0x10;
    pub(super) const WIDE: u32 = 0x80;
    pub(super) const CHECKSUM_SEED: u32 = 0x2000;
    /// Read here: file types, meta groups, extents, 64 bits, multiple mount protection, flexible groups, attributes in
    /// inodes, the checksum seed, large directories, inline data.
    pub(super) const KNOWN: u32 = 0x2 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000;
    /// Not read here, by the names that mke2fs and dumpe2fs have for them.
    pub(super) const NAMES: [(u32, &str); 5] = [
        (0x1, "the feature compression"),
        (0x8, "the feature journal_dev"),
        (0x1000, "the feature dirdata"),
        (0x1_0000, "the feature encrypt"),
        (0x2_0000, "the feature casefold"),
    ];
}
const SPARSE_SUPERBLOCKS: u32 = 0x1;
const METADATA_CHECKSUMS: u32 = 0x400;
const TWO_SUPERBLOCKS: u32 = 0x200;

/// The superblock, checked.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) block_size: NonZeroU64,
    pub(super) inode_size: u16,
    /// Whether directories hold the types of their entries.
    pub(super) has_types: bool,
    /// What checksums start with; `None` where there are none.
    pub(super) checksum: Option<Checksum>,
    inodes: u32,
    inodes_per_group: NonZeroU64,
    blocks: u64,
    blocks_per_group: u64,
    first_data_block: u64,
    descriptor_size: u64,
    descriptors_per_block: NonZeroU64,
    first_meta_group: Option<u64>,
    backups: Backups,
}

/// Which groups start with a copy of the superblock.
#[derive(Debug, Clone)]
enum Backups {
    All,
    /// 0, 1 and the powers of 3, 5 and 7.
    Sparse,
    Two([u32; 2]),
}

impl Superblock {
    pub(super) fn read<R: ReadAt>(reader: &R) -> Result<Self> {
        let raw: raw::Superblock = read_struct(reader, raw::SUPERBLOCK_OFFSET)?;
        if raw.magic.get() != raw::MAGIC {
            return Err(wrong("magic", raw.magic.get(), "0xef53"));
        }
        let features = raw.incompatible.get();
        if features & incompatible::RECOVER != 0 {
            let what = "a journal that was not replayed (run e2fsck on the image)";
            return Err(feature(what, incompatible::RECOVER));
        }
        let unknown = features & !incompatible::KNOWN;
        if unknown != 0 {
            let named = incompatible::NAMES.into_iter().find(|(bit, _)| unknown & bit != 0);
            return Err(named.map_or_else(
                || feature("an incompatible feature without a name", unknown),
                |(bit, name)| feature(name, bit),
            ));
        }
        let has_checksums = raw.read_only_compatible.get() & METADATA_CHECKSUMS != 0;
        if has_checksums {
            if raw.checksum_type != 1 {
                return Err(feature("checksums of another type than crc32c", raw.checksum_type.into()));
            }
            let covered = raw.as_bytes().get(..1020).unwrap_or_default();
            let (found, expected) = (raw.checksum.get(), Checksum::START.over(covered).value());
            if found != expected {
                return Err(Corrupt::FileSystemChecksum { found, expected }.into());
            }
        }
        let block_size =
            u32::checked_shl(1024, raw.log_block_size.get()).filter(|_| raw.log_block_size.get() <= 6);
        let block_size = block_size.and_then(|size| NonZeroU64::new(size.into()));
        let block_size = block_size
            .ok_or_else(|| wrong("block size", raw.log_block_size.get(), "a shift of at most 6"))?;
        let inode_size = if raw.revision.get() == 0 { 128 } else { raw.inode_size.get() };
        if !(128..=4096).contains(&inode_size)
            || !inode_size.is_power_of_two()
            || u64::from(inode_size) > block_size.get()
        {
            return Err(wrong("inode size", inode_size, "a power of two from 128 to the block size"));
        }
        let wide = features & incompatible::WIDE != 0;
        let descriptor_size = if wide { u64::from(raw.descriptor_size.get()) } else { 32 };
        if !descriptor_size.is_power_of_two() || !(32..=1024).contains(&descriptor_size) {
            return Err(wrong("descriptor size", descriptor_size, "a power of two from 32 to 1024"));
        }
        let high = if wide { u64::from(raw.blocks_high.get()) << 32 } else { 0 };
        let blocks = u64::from(raw.blocks_low.get()) | high;
        let (end, size) = (blocks.saturating_mul(block_size.get()), reader.size_bytes()?);
        if end > size {
            return Err(Corrupt::OutOfBounds { end, size }.into());
        }
        let inodes_per_group = NonZeroU64::new(raw.inodes_per_group.get().into());
        let inodes_per_group =
            inodes_per_group.ok_or_else(|| wrong("inodes per group", 0_u32, "at least 1"))?;
        if raw.blocks_per_group.get() == 0 {
            return Err(wrong("blocks per group", 0_u32, "at least 1"));
        }
        let meta_groups = features & incompatible::META_GROUPS != 0;
        let seed = if features & incompatible::CHECKSUM_SEED != 0 {
            Checksum::from_value(raw.checksum_seed.get())
        } else {
            Checksum::START.over(&raw.uuid)
        };
        Ok(Self {
            block_size,
            inode_size,
            has_types: features & incompatible::FILE_TYPE != 0,
            checksum: has_checksums.then_some(seed),
            inodes: raw.inodes.get(),
            inodes_per_group,
            blocks,
            blocks_per_group: raw.blocks_per_group.get().into(),
            first_data_block: raw.first_data_block.get().into(),
            descriptor_size,
            // Neither is 0: both are powers of two, and a descriptor is not larger than the smallest block.
            descriptors_per_block: block_size
                .get()
                .checked_div(descriptor_size)
                .and_then(NonZeroU64::new)
                .unwrap_or(NonZeroU64::MIN),
            first_meta_group: meta_groups.then(|| raw.first_meta_group.get().into()),
            backups: if raw.compatible.get() & TWO_SUPERBLOCKS != 0 {
                Backups::Two(raw.backup_groups.map(zerocopy::little_endian::U32::get))
            } else if raw.read_only_compatible.get() & SPARSE_SUPERBLOCKS != 0 {
                Backups::Sparse
            } else {
                Backups::All
            },
        })
    }

    /// Where a block starts, in bytes.
    pub(super) fn offset_of(&self, block: u64) -> Result<u64> {
        if block >= self.blocks {
            return Err(wrong("block number", block, "a number less than that of all blocks"));
        }
        multiply(block, self.block_size.get())
    }

    /// Where an inode starts, in bytes.
    pub(super) fn inode_offset<R: ReadAt>(&self, reader: &R, number: u64) -> Result<u64> {
        let index = number.checked_sub(1).filter(|_| number <= self.inodes.into());
        let index = index.ok_or_else(|| wrong("inode number", number, "1 to the number of all inodes"))?;
        let table = self.inode_table(reader, index / self.inodes_per_group)?;
        let within = multiply(index % self.inodes_per_group, self.inode_size.into())?;
        let block = table.checked_add(within / self.block_size);
        let block = block.ok_or_else(|| wrong("inode table", table, "a block number"))?;
        Ok(self.offset_of(block)?.saturating_add(within % self.block_size))
    }

    /// The first block of a group's inodes.
    fn inode_table<R: ReadAt>(&self, reader: &R, group: u64) -> Result<u64> {
        let per_block = self.descriptors_per_block;
        let (table_block, within) = (group / per_block, group % per_block);
        let block = match self.first_meta_group {
            Some(first) if table_block >= first => {
                // The descriptors of some groups lie in the first of them.
                let group = multiply(table_block, per_block.get())?;
                let start = multiply(group, self.blocks_per_group)?.saturating_add(self.first_data_block);
                let small = self.block_size.get() == 1024 && table_block == 0 && self.first_data_block == 0;
                let copies = u64::from(self.has_backup(group)).saturating_add(u64::from(small));
                start.saturating_add(copies)
            }
            _ => self.first_data_block.saturating_add(1).saturating_add(table_block),
        };
        let offset = self.offset_of(block)?.saturating_add(within.saturating_mul(self.descriptor_size));
        let len = usize::try_from(self.descriptor_size).unwrap_or_default();
        let mut bytes = read_vec(reader, offset, len)?;
        // Short ones are as long ones whose second half is zero.
        bytes.resize(len.max(64), 0);
        let (raw, _) = raw::GroupDescriptor::read_from_prefix(&bytes)
            .map_err(|_| wrong("descriptor size", self.descriptor_size, "32 or more"))?;
        if let Some(seed) = self.checksum {
            let (before, after) =
                (bytes.get(..30).unwrap_or_default(), bytes.get(32..len).unwrap_or_default());
            let number = u32::try_from(group).unwrap_or(u32::MAX);
            let sum = seed.over(&number.to_le_bytes()).over(before).over(&[0; 2]).over(after);
            let (found, expected) = (raw.checksum.get().into(), sum.value() & 0xffff);
            if found != expected {
                return Err(Corrupt::MetadataChecksum {
                    what: "block group",
                    number: group,
                    found,
                    expected,
                }
                .into());
            }
        }
        Ok(u64::from(raw.inode_table_low.get()) | u64::from(raw.inode_table_high.get()) << 32)
    }

    fn has_backup(&self, group: u64) -> bool {
        match self.backups {
            Backups::All => true,
            Backups::Sparse => group <= 1 || [3, 5, 7].into_iter().any(|base| is_power(group, base)),
            Backups::Two(groups) => group == 0 || groups.iter().any(|backup| u64::from(*backup) == group),
        }
    }
}

fn is_power(mut number: u64, base: u64) -> bool {
    while number > 1 && number.checked_rem(base) == Some(0) {
        number = number.checked_div(base).unwrap_or(0);
    }
    number == 1
}

fn feature(what: &'static str, found: u32) -> Error {
    Unsupported::FileSystemFeature { what, found: found.into() }.into()
}
