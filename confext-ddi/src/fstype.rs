//! Which file system a partition holds, by magic: its name and size, nothing more.

use crate::error::{Corrupt, Result};
use crate::read::{ReadAt, read_vec};
use serde::Serialize;

/// A file system (or what stands in its place) that is recognised by its magic.
///
/// ```
/// use confext_ddi::fstype::FsType;
///
/// assert_eq!(FsType::from_name("erofs"), Some(FsType::Erofs));
/// assert!(FsType::Erofs.is_read_only());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FsType {
    /// EROFS.
    Erofs,
    /// squashfs.
    Squashfs,
    /// ext2, ext3 and ext4.
    Ext4,
    /// FAT12, FAT16 and FAT32.
    Vfat,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// A LUKS header: encrypted, nothing more is known.
    Luks,
    /// Swap space.
    Swap,
    /// No image at all: a directory tree of the running system. Never found by magic.
    Directory,
}

impl FsType {
    /// The name the kernel mounts it by (`swap` and `crypto_LUKS` as blkid names them).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
            Self::Ext4 => "ext4",
            Self::Vfat => "vfat",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::F2fs => "f2fs",
            Self::Luks => "crypto_LUKS",
            Self::Swap => "swap",
            Self::Directory => "directory",
        }
    }
}

impl FsType {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Erofs,
        Self::Squashfs,
        Self::Ext4,
        Self::Vfat,
        Self::Xfs,
        Self::Btrfs,
        Self::F2fs,
        Self::Luks,
        Self::Swap,
    ];

    /// Looks one up by [`FsType::as_str`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fs_type| fs_type.as_str() == name)
    }

    /// Whether nothing can be written to it by design.
    #[must_use]
    pub const fn is_read_only(self) -> bool {
        matches!(self, Self::Erofs | Self::Squashfs)
    }
}

impl std::fmt::Display for FsType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a superblock says.
///
/// ```
/// use confext_ddi::build::{Tree, erofs};
/// use confext_ddi::fstype::{FsType, probe};
///
/// let mut image = Vec::new();
/// let size = erofs::write(&Tree::new(), &erofs::Options::default(), &mut image)?;
/// let found = probe(&image)?.ok_or("it has a magic")?;
/// assert_eq!((found.fs_type, found.size_bytes), (FsType::Erofs, Some(size)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Superblock {
    /// Which file system it is.
    pub fs_type: FsType,
    /// How large the file system is, where the superblock says it and the numbers make sense.
    pub size_bytes: Option<u64>,
}

/// Bytes that are looked at: up to the end of the superblock of btrfs, which lies farthest in.
const HEAD_BYTES: u64 = 65536 + 4096;

/// Looks for the magic of a known file system in the first 68 KiB.
///
/// # Errors
///
/// `fs-ambiguous` when there are two; else only when reading fails.
pub fn probe<R: ReadAt + ?Sized>(reader: &R) -> Result<Option<Superblock>> {
    let len = usize::try_from(reader.size_bytes()?.min(HEAD_BYTES)).unwrap_or(0);
    let head = Head(&read_vec(reader, 0, len)?);
    let mut found: Option<Superblock> = None;
    for look in [erofs, squashfs, ext4, vfat, xfs, btrfs, f2fs, luks, swap] {
        let Some((fs_type, size_bytes)) = look(&head) else { continue };
        if let Some(other) = found {
            let (first, second) = (other.fs_type.as_str(), fs_type.as_str());
            return Err(Corrupt::FileSystemAmbiguous { first, second }.into());
        }
        found = Some(Superblock { fs_type, size_bytes });
    }
    Ok(found)
}

/// A file system's name and size.
type Found = Option<(FsType, Option<u64>)>;

/// The first bytes of what is probed; reading past them is no fault, only no match.
struct Head<'a>(&'a [u8]);

impl Head<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    fn has(&self, at: usize, magic: &[u8]) -> bool {
        self.0.get(at..).is_some_and(|rest| rest.starts_with(magic))
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }
}

/// `blocks` of 2^`bits` bytes, when `bits` is in range and the product fits.
fn shifted(blocks: u64, bits: u32, range: std::ops::RangeInclusive<u32>) -> Option<u64> {
    range.contains(&bits).then(|| blocks.checked_mul(1_u64.checked_shl(bits)?)).flatten()
}

/// Superblock at 1024: magic 0, block size bits 12, high blocks 14, blocks 36, incompatible features 80.
fn erofs(head: &Head<'_>) -> Found {
    const WIDE: u32 = 0x80;
    if head.u32(1024)? != 0xe0f5_e1e2 {
        return None;
    }
    let wide = head.u32(1024 + 80).is_some_and(|features| features & WIDE != 0);
    let high = if wide { u64::from(head.u16(1024 + 14)?) << 32 } else { 0 };
    let blocks = u64::from(head.u32(1024 + 36)?) | high;
    let [bits] = head.bytes(1024 + 12)?;
    Some((FsType::Erofs, shifted(blocks, bits.into(), 9..=16)))
}

/// Superblock at 0: magic 0, major version 28, bytes used 40.
fn squashfs(head: &Head<'_>) -> Found {
    (head.has(0, b"hsqs") && head.u16(28)? == 4).then(|| (FsType::Squashfs, head.u64(40)))
}

/// Superblock at 1024: inodes 0, blocks 4, block size bits less 10 at 24, blocks per group 32, magic 56, revision 76,
/// incompatible features 96, high blocks 336.
fn ext4(head: &Head<'_>) -> Found {
    const WIDE: u32 = 0x80;
    // Two bytes of magic are too few to go by: the fields beside it must make sense as well.
    let bits = head.u32(1024 + 24)?.checked_add(10)?;
    let sane = head.u16(1024 + 56)? == 0xef53
        && bits <= 16
        && head.u32(1024 + 76)? <= 1
        && head.u32(1024)? != 0
        && head.u32(1024 + 32)? != 0;
    if !sane {
        return None;
    }
    let wide = head.u32(1024 + 96)? & WIDE != 0;
    let high = if wide { u64::from(head.u32(1024 + 336)?) << 32 } else { 0 };
    let blocks = u64::from(head.u32(1024 + 4)?) | high;
    Some((FsType::Ext4, shifted(blocks, bits, 10..=16)))
}

/// Boot sector: bytes per sector 11, sectors 19 (or 32, when 0), type 54 (or 82 in FAT32), signature 510.
fn vfat(head: &Head<'_>) -> Found {
    let sector = u64::from(head.u16(11)?);
    let typed = head.has(54, b"FAT12   ")
        || head.has(54, b"FAT16   ")
        || head.has(54, b"FAT     ")
        || head.has(82, b"FAT32   ");
    if !typed || !head.has(510, &[0x55, 0xaa]) || !sector.is_power_of_two() || !(512..=4096).contains(&sector)
    {
        return None;
    }
    let sectors = match head.u16(19)? {
        0 => u64::from(head.u32(32)?),
        few => u64::from(few),
    };
    Some((FsType::Vfat, sectors.checked_mul(sector)))
}

/// Superblock at 0, big-endian: magic 0, block size 4, blocks 8.
fn xfs(head: &Head<'_>) -> Found {
    let size = |head: &Head<'_>| {
        let block = u64::from(u32::from_be_bytes(head.bytes(4)?));
        let blocks = u64::from_be_bytes(head.bytes(8)?);
        blocks.checked_mul(block).filter(|_| block.is_power_of_two() && (512..=65536).contains(&block))
    };
    head.has(0, b"XFSB").then(|| (FsType::Xfs, size(head)))
}

/// Superblock at 65536: magic 64, size in bytes (of all devices together) 112, devices 136.
fn btrfs(head: &Head<'_>) -> Found {
    let alone = head.u64(65536 + 136)? == 1;
    let size = head.u64(65536 + 112).filter(|_| alone);
    head.has(65536 + 64, b"_BHRfS_M").then_some((FsType::Btrfs, size))
}

/// Superblock at 1024: magic 0, block size bits 16, blocks 36.
fn f2fs(head: &Head<'_>) -> Found {
    if head.u32(1024)? != 0xf2f5_2010 {
        return None;
    }
    Some((FsType::F2fs, shifted(head.u64(1024 + 36)?, head.u32(1024 + 16)?, 12..=16)))
}

/// Header at 0: magic 0, version 6, big-endian. How much is encrypted, it does not say.
fn luks(head: &Head<'_>) -> Found {
    let version = u16::from_be_bytes(head.bytes(6)?);
    (head.has(0, b"LUKS\xba\xbe") && matches!(version, 1 | 2)).then_some((FsType::Luks, None))
}

/// A magic at the end of the first page, whatever the size of a page is. It counts pages, but of an unknown size.
fn swap(head: &Head<'_>) -> Found {
    [4096, 8192, 16384, 65536].into_iter().find_map(|page: usize| {
        let at = page.checked_sub(10)?;
        (head.has(at, b"SWAPSPACE2") || head.has(at, b"SWAP-SPACE")).then_some((FsType::Swap, None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of a file system, built from (offset, bytes).
    fn image(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut image = vec![0; 70 << 10];
        for (at, bytes) in parts {
            image[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        image
    }

    fn erofs_image() -> Vec<u8> {
        image(&[(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), (1036, &[12]), (1060, &[3, 0, 0, 0])])
    }

    fn ext4_parts() -> Vec<(usize, &'static [u8])> {
        vec![
            (1024, &[16, 0, 0, 0, 5, 1, 0, 0]),
            (1048, &[2]),
            (1056, &[0, 128]),
            (1080, &[0x53, 0xef]),
            (1100, &[1]),
        ]
    }

    fn known() -> Vec<(FsType, Option<u64>, Vec<u8>)> {
        let squashfs: &[(usize, &[u8])] = &[(0, b"hsqs"), (28, &[4]), (40, &[0, 2])];
        let vfat: &[(usize, &[u8])] =
            &[(11, &[0, 2]), (19, &[0, 0]), (32, &[9]), (82, b"FAT32   "), (510, &[0x55, 0xaa])];
        let small_fat: &[(usize, &[u8])] =
            &[(11, &[0, 2]), (19, &[5, 0]), (54, b"FAT12   "), (510, &[0x55, 0xaa])];
        let f2fs: &[(usize, &[u8])] = &[(1024, &[0x10, 0x20, 0xf5, 0xf2]), (1040, &[12]), (1060, &[1, 1])];
        vec![
            (FsType::Erofs, Some(3 * 4096), erofs_image()),
            (FsType::Squashfs, Some(512), image(squashfs)),
            (FsType::Ext4, Some(261 * 4096), image(&ext4_parts())),
            (FsType::Vfat, Some(9 * 512), image(vfat)),
            (FsType::Vfat, Some(5 * 512), image(small_fat)),
            (FsType::Xfs, Some(2 * 4096), image(&[(0, b"XFSB\0\0\x10\0\0\0\0\0\0\0\0\x02")])),
            (FsType::Btrfs, Some(0x0102), image(&[(65600, b"_BHRfS_M"), (65648, &[2, 1]), (65672, &[1])])),
            (FsType::F2fs, Some(257 * 4096), image(f2fs)),
            (FsType::Luks, None, image(&[(0, b"LUKS\xba\xbe\0\x02")])),
            (FsType::Swap, None, image(&[(4086, b"SWAPSPACE2")])),
            (FsType::Swap, None, image(&[(65526, b"SWAPSPACE2")])),
        ]
    }

    #[test]
    fn each_is_known_by_its_magic_and_size() {
        for (fs_type, size_bytes, image) in known() {
            let found = probe(&image).unwrap().unwrap();
            assert_eq!(found, Superblock { fs_type, size_bytes });
            assert_eq!(FsType::from_name(fs_type.as_str()), Some(fs_type));
        }
    }

    #[test]
    fn two_magics_are_ambiguous() {
        let mut both = erofs_image();
        both[..6].copy_from_slice(b"LUKS\xba\xbe");
        both[7] = 2;
        let error = probe(&both).unwrap_err();
        assert_eq!(error.code(), "fs-ambiguous");
        assert!(error.to_string().contains("erofs") && error.to_string().contains("crypto_LUKS"));
    }

    #[test]
    fn two_bytes_of_magic_do_not_make_ext4() {
        let mut image = erofs_image();
        image[1080..1082].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(probe(&image).unwrap().unwrap().fs_type, FsType::Erofs);
        for missing in 0..ext4_parts().len() - 1 {
            let mut parts = ext4_parts();
            parts[missing].1 = if missing == 1 { &[0xff; 4] } else { &[0; 8] };
            let found = probe(&self::image(&parts)).unwrap();
            assert!(found.is_none(), "{missing}");
        }
    }

    #[test]
    fn sizes_that_make_no_sense_are_not_told() {
        let mut image = erofs_image();
        image[1036] = 200;
        assert_eq!(probe(&image).unwrap().unwrap().size_bytes, None);
        image[1036] = 8;
        assert_eq!(probe(&image).unwrap().unwrap().size_bytes, None);
        let mut image = self::image(&[(0, b"XFSB")]);
        image[4..16].fill(0xff);
        assert_eq!(probe(&image).unwrap().unwrap().size_bytes, None);
    }

    #[test]
    fn short_and_empty_sources_hold_nothing() {
        for (fs_type, _, image) in known() {
            for len in 0..1100 {
                let found = probe(&image[..len]).unwrap();
                assert!(found.is_none_or(|found| found.fs_type == fs_type));
            }
        }
        assert_eq!(probe(&vec![0_u8; 1 << 17]).unwrap(), None);
    }
}
