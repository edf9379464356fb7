//! The words of a policy.

use crate::dps::Designator;
use crate::fstype::FsType;
use serde::Serialize;

/// How a partition is protected, weakest first.
///
/// ```
/// # let bytes = {
/// #     use confext_ddi::{build::*, release::Class};
/// #     let mut tree = Tree::new();
/// #     tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// #     let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
/// #     let mut image = std::io::Cursor::new(Vec::new());
/// #     builder.unsigned().build(&mut image, None)?;
/// #     image.into_inner()
/// # };
/// use confext_ddi::image::{self, Image};
/// use confext_ddi::policy::{Policy, Protection};
///
/// let image = Image::open(bytes, &image::Options::default())?;
/// let found = Policy::verity().judge(image, None)?.evidence().protection();
/// assert_eq!(found, Protection::Verity);
/// // The weakest comes first.
/// assert!(Protection::None < found && found < Protection::Signed);
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Not at all.
    None,
    /// By a hash tree: nobody changed it after somebody built it.
    Verity,
    /// By a hash tree whose root hash is signed by a trusted key.
    Signed,
}

impl Protection {
    /// `none`, `verity` or `signed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Verity => "verity",
            Self::Signed => "signed",
        }
    }

    /// The flags of which one must be in a rule that allows this much protection: its own and those that ask for less.
    pub(super) const fn satisfies(self) -> Flags {
        match self {
            Self::None => Flags::UNPROTECTED,
            Self::Verity => Flags::UNPROTECTED.union(Flags::VERITY),
            Self::Signed => Flags::UNPROTECTED.union(Flags::VERITY).union(Flags::SIGNED),
        }
    }
}

impl std::fmt::Display for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

bitflags::bitflags! {
    /// What a rule allows: uses, attributes, file systems. Of each group at least one must fit.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub(super) struct Flags: u32 {
        const VERITY = 1;
        const SIGNED = 1 << 1;
        const ENCRYPTED = 1 << 2;
        const ENCRYPTED_WITH_INTEGRITY = 1 << 3;
        const UNPROTECTED = 1 << 4;
        const UNUSED = 1 << 5;
        const ABSENT = 1 << 6;
        const READ_ONLY_OFF = 1 << 7;
        const READ_ONLY_ON = 1 << 8;
        const GROWFS_OFF = 1 << 9;
        const GROWFS_ON = 1 << 10;
        const BTRFS = 1 << 11;
        const EROFS = 1 << 12;
        const EXT4 = 1 << 13;
        const F2FS = 1 << 14;
        const SQUASHFS = 1 << 15;
        const VFAT = 1 << 16;
        const XFS = 1 << 17;

        /// May be there or not, but is not used.
        const IGNORE = Self::UNUSED.bits() | Self::ABSENT.bits();
        /// All uses.
        const OPEN = 0x7f;
        /// All uses of a partition that is there and is used.
        const USED = Self::OPEN.bits() & !Self::IGNORE.bits();
        const READ_ONLY = Self::READ_ONLY_OFF.bits() | Self::READ_ONLY_ON.bits();
        const GROWFS = Self::GROWFS_OFF.bits() | Self::GROWFS_ON.bits();
        const FILE_SYSTEMS = 0x7f << 11;
    }
}

/// Each flag's word, in the order they are printed.
pub(super) const WORDS: [(&str, Flags); 18] = [
    ("verity", Flags::VERITY),
    ("signed", Flags::SIGNED),
    ("encrypted", Flags::ENCRYPTED),
    ("encryptedwithintegrity", Flags::ENCRYPTED_WITH_INTEGRITY),
    ("unprotected", Flags::UNPROTECTED),
    ("unused", Flags::UNUSED),
    ("absent", Flags::ABSENT),
    ("read-only-off", Flags::READ_ONLY_OFF),
    ("read-only-on", Flags::READ_ONLY_ON),
    ("growfs-off", Flags::GROWFS_OFF),
    ("growfs-on", Flags::GROWFS_ON),
    ("btrfs", Flags::BTRFS),
    ("erofs", Flags::EROFS),
    ("ext4", Flags::EXT4),
    ("f2fs", Flags::F2FS),
    ("squashfs", Flags::SQUASHFS),
    ("vfat", Flags::VFAT),
    ("xfs", Flags::XFS),
];

/// The groups of which a rule without any flag allows all.
pub(super) const GROUPS: [Flags; 4] = [Flags::OPEN, Flags::READ_ONLY, Flags::GROWFS, Flags::FILE_SYSTEMS];

impl Flags {
    /// What a rule with these words allows: a group of which nothing is named is allowed as a whole.
    pub(super) fn extended(self) -> Self {
        GROUPS.into_iter().filter(|group| !self.intersects(*group)).fold(self, |all, group| all | group)
    }

    /// The uses among them that exist for a partition: only root and usr can be under a hash tree, and what protects
    /// others is not protected itself.
    pub(super) fn uses_of(self, designator: Designator) -> Self {
        let mut uses = self & Self::OPEN;
        if designator.verity().is_none() {
            uses.remove(Self::VERITY | Self::SIGNED);
        }
        if designator.protects().is_some() {
            uses.remove(Self::ENCRYPTED | Self::ENCRYPTED_WITH_INTEGRITY);
        }
        uses
    }

    /// What they come to for a partition of this kind. Words without a meaning there are left out: uses that do not
    /// exist for it, file systems of what has none; and everything but the use, where it is not used at all.
    pub(super) fn at(self, designator: Designator) -> Self {
        let mut rest = self.difference(Self::OPEN);
        if designator.protects().is_some() {
            rest |= Self::FILE_SYSTEMS;
        }
        let uses = self.uses_of(designator);
        uses | if uses.intersects(Self::USED) { rest } else { Self::all().difference(Self::OPEN) }
    }

    /// The same with the protections that are stronger than one of them.
    pub(super) fn with_stronger(self) -> Self {
        let of = |protection: Protection, flag: Self| match self.intersects(protection.satisfies()) {
            true => flag,
            false => Self::empty(),
        };
        self | of(Protection::Verity, Self::VERITY) | of(Protection::Signed, Self::SIGNED)
    }

    /// The flag of a file system; none for one that no policy can name.
    pub(super) const fn of_file_system(fs_type: FsType) -> Self {
        match fs_type {
            FsType::Btrfs => Self::BTRFS,
            FsType::Erofs => Self::EROFS,
            FsType::Ext4 => Self::EXT4,
            FsType::F2fs => Self::F2FS,
            FsType::Squashfs => Self::SQUASHFS,
            FsType::Vfat => Self::VFAT,
            FsType::Xfs => Self::XFS,
            FsType::Luks | FsType::Swap | FsType::Directory => Self::empty(),
        }
    }

    /// The words, joined with `+`.
    pub(super) fn words(self) -> String {
        let named = WORDS.into_iter().filter(|(_, flag)| self.contains(*flag));
        named.map(|(word, _)| word).collect::<Vec<_>>().join("+")
    }
}
