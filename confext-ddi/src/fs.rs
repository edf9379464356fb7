//! Read-only view of the files of an image: list, stat, read and extended attributes, without root and without a mount.
//!
//! Paths are bytes, relative to the root of the image; a leading slash is ignored. The empty path is the root.
//!
//! [`open`] gives the [`FileSystem`] of an image's checked bytes; every byte is read through
//! [`ReadAt`], so that a block that fails its hash is an error here too. [`resolve`] follows symbolic links, all
//! of them inside the image; [`walk`] lists a tree.

/// Structures as they stand on disk, each with its size in bytes.
#[cfg(feature = "read-fs")]
macro_rules! on_disk {
    ($($(#[$meta:meta])* $name:ident = $bytes:literal { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(
            Debug,
            Clone,
            Copy,
            zerocopy::FromBytes,
            zerocopy::IntoBytes,
            zerocopy::Immutable,
            zerocopy::KnownLayout,
            zerocopy::Unaligned,
        )]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $type),* }
        const _: () = assert!(size_of::<$name>() == $bytes);
    )*};
}

mod below;
mod path;
mod resolve;
mod walk;
mod watched;

#[cfg(feature = "read-fs")]
mod erofs;
#[cfg(feature = "read-fs")]
mod ext4;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(feature = "read-fs")]
mod node;
#[cfg(feature = "read-fs")]
mod squashfs;
#[cfg(feature = "read-fs")]
mod vfat;

pub use below::Below;
pub use resolve::resolve;
pub use walk::{Walk, walk};
pub use watched::Watched;

pub(crate) use path::{compare, display};

use crate::error::{Result, Unsupported};
use crate::fstype::FsType;
use crate::{Limits, ReadAt};
use serde::{Deserialize, Serialize};

/// What a directory entry is.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, fs::{FileSystem as _, FileType}};
///
/// let mut tree = Tree::new();
/// tree.add_symlink("etc/mtab", "../proc/self/mounts", Meta::new(0o777))?;
/// // Links are not followed.
/// let found = tree.files(&Limits::default()).stat(b"etc/mtab")?.file_type;
/// assert_eq!(found, FileType::Symlink);
/// assert_eq!(found.as_str(), "symbolic link");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

impl FileType {
    /// The name used in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular file",
            Self::Directory => "directory",
            Self::Symlink => "symbolic link",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
        }
    }

    /// The type in the upper bits of a Unix mode.
    #[cfg(feature = "read-fs")]
    const fn from_mode(mode: u16) -> Option<Self> {
        match mode & 0o17_0000 {
            0o10_0000 => Some(Self::Regular),
            0o04_0000 => Some(Self::Directory),
            0o12_0000 => Some(Self::Symlink),
            0o02_0000 => Some(Self::CharDevice),
            0o06_0000 => Some(Self::BlockDevice),
            0o01_0000 => Some(Self::Fifo),
            0o14_0000 => Some(Self::Socket),
            _ => None,
        }
    }
}

/// What `stat` tells of a file.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, fs::FileSystem as _};
///
/// let mut tree = Tree::new();
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o640))?;
/// tree.add_hardlink("etc/other.conf", "etc/app.conf")?;
/// let metadata = tree.files(&Limits::default()).stat(b"etc/other.conf")?;
/// assert_eq!((metadata.mode, metadata.size_bytes, metadata.nlink), (0o640, 12, 2));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// What it is.
    pub file_type: FileType,
    /// Permission, set-id and sticky bits: `0o7777` at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes; of a symbolic link, the length of its target.
    pub size_bytes: u64,
    /// Modification time, seconds since 1970.
    pub mtime_sec: i64,
    /// Nanoseconds of the modification time.
    pub mtime_nsec: u32,
    /// How many names it has.
    pub nlink: u32,
    /// Major and minor number of a device node.
    pub rdev: Option<(u32, u32)>,
    /// Inode number: two entries with the same one are the same file.
    pub ino: u64,
}

/// One entry of a directory; `.` and `..` are never listed.
///
/// ```
/// use confext_ddi::{Limits, build::{Meta, Tree}, fs::{FileSystem as _, FileType}};
///
/// let mut tree = Tree::new();
/// tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// tree.add_dir("etc/app.d", Meta::new(0o755))?;
/// let entries = tree.files(&Limits::default()).read_dir(b"etc")?;
/// let directories = entries.iter().filter(|entry| entry.file_type == FileType::Directory);
/// assert!(directories.map(|entry| entry.name.as_slice()).eq([b"app.d"]));
/// # Ok::<(), confext_ddi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without slashes; any bytes but NUL.
    pub name: Vec<u8>,
    /// What it is.
    pub file_type: FileType,
}

/// An extended attribute: full name (`user.comment`) and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// The files of a file system. No method follows a symbolic link in the last component.
///
/// Symbolic links in earlier components are not followed either: use [`resolve`] first where links may occur.
///
/// ```
/// # use confext_ddi::{build::*, image::{self, Image}, policy::Policy, release::Class, signature::*};
/// # let now = Time::from(std::time::SystemTime::now());
/// # let key = KeyPair::generate("vendor", now, 30)?;
/// # let mut tree = Tree::new();
/// # tree.add_file("etc/app.conf", "answer = 42\n", Meta::new(0o644))?;
/// # let mut bytes = std::io::Cursor::new(Vec::new());
/// # Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any()).build(&mut bytes, Some(&key))?;
/// # let bytes = bytes.into_inner();
/// # let mut trusted = Certificates::new(now);
/// # trusted.add_pem(&key.certificate_pem()?)?;
///
/// use confext_ddi::{Limits, fs::FileSystem as _};
///
/// let image = Image::open(bytes.as_slice(), &image::Options::default())?;
/// let admitted = Policy::signed().judge(image, Some(&trusted))?;
/// let files = admitted.file_system(&Limits::default())?;
/// assert_eq!(files.read(b"etc/app.conf")?, b"answer = 42\n");
/// assert_eq!(files.read(b"etc/other.conf").unwrap_err().family(), "lookup");
/// # Ok::<(), confext_ddi::Error>(())
/// ```
pub trait FileSystem: Send + Sync {
    /// Which file system it is.
    fn fs_type(&self) -> FsType;

    /// What the file is.
    ///
    /// # Errors
    ///
    /// `no-such-file` when there is none.
    fn stat(&self, path: &[u8]) -> Result<Metadata>;

    /// The entries of a directory, sorted by the bytes of their names.
    ///
    /// # Errors
    ///
    /// `no-such-file`, `not-a-directory`.
    fn read_dir(&self, path: &[u8]) -> Result<Vec<DirEntry>>;

    /// Reads from `offset` of a regular file and returns how many bytes were read: less than asked only at its end.
    ///
    /// # Errors
    ///
    /// `no-such-file`, `not-a-file`.
    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Reads a whole regular file.
    ///
    /// # Errors
    ///
    /// `no-such-file`, `not-a-file`, `limit-bytes` above [`Limits::file_bytes`](crate::Limits::file_bytes).
    fn read(&self, path: &[u8]) -> Result<Vec<u8>>;

    /// The target of a symbolic link.
    ///
    /// # Errors
    ///
    /// `no-such-file`, `not-a-symlink`.
    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>>;

    /// The extended attributes, sorted by name.
    ///
    /// # Errors
    ///
    /// `no-such-file`; `limit-bytes` above [`Limits::xattr_bytes`](crate::Limits::xattr_bytes).
    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>>;

    /// Said by who does not ask for a while: what is only kept open to be faster can be let go of.
    fn rest(&self) {}
}

impl<F: FileSystem + ?Sized> FileSystem for &F {
    fn fs_type(&self) -> FsType {
        (**self).fs_type()
    }

    fn stat(&self, path: &[u8]) -> Result<Metadata> {
        (**self).stat(path)
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<DirEntry>> {
        (**self).read_dir(path)
    }

    fn read_at(&self, path: &[u8], offset: u64, buf: &mut [u8]) -> Result<usize> {
        (**self).read_at(path, offset, buf)
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>> {
        (**self).read(path)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        (**self).read_link(path)
    }

    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>> {
        (**self).xattrs(path)
    }

    fn rest(&self) {
        (**self).rest();
    }
}

/// Opens the file system in `reader`, whose bytes the caller has had checked.
///
/// # Errors
///
/// `file-system-unsupported` for a file system that cannot be read here; `file-system-devices` for EROFS that is spread
/// over several devices; else what its superblock or its reader says.
pub fn open<'a, R: ReadAt + 'a>(
    reader: R,
    fs_type: FsType,
    limits: &Limits,
) -> Result<Box<dyn FileSystem + 'a>> {
    open_with_devices(reader, Vec::new(), fs_type, limits)
}

/// Opens the file system in `reader`, parts of whose data are on `devices` (`mkfs.erofs --blobdev`).
///
/// *Shape:* all devices, in the order of the table in the image; none if the image holds their blocks too. The hash tree of
/// an image covers the image only: the caller has had the bytes of the devices checked as well.
///
/// # Errors
///
/// As [`open`]; `file-system-devices` when there are more or fewer than the image lists.
pub fn open_with_devices<'a, R: ReadAt + 'a>(
    reader: R,
    devices: Vec<R>,
    fs_type: FsType,
    limits: &Limits,
) -> Result<Box<dyn FileSystem + 'a>> {
    match fs_type {
        #[cfg(feature = "read-fs")]
        FsType::Erofs => {
            Ok(Box::new(node::ByPath::new(erofs::Erofs::open(reader, devices, limits)?, limits)))
        }
        #[cfg(feature = "read-fs")]
        FsType::Squashfs | FsType::Ext4 | FsType::Vfat if !devices.is_empty() => {
            Err(Unsupported::FileSystemDevices { found: devices.len(), expected: 0 }.into())
        }
        #[cfg(feature = "read-fs")]
        FsType::Squashfs => {
            Ok(Box::new(node::ByPath::new(squashfs::Squashfs::open(reader, limits)?, limits)))
        }
        #[cfg(feature = "read-fs")]
        FsType::Ext4 => Ok(Box::new(node::ByPath::new(ext4::Ext4::open(reader, limits)?, limits))),
        #[cfg(feature = "read-fs")]
        FsType::Vfat => Ok(Box::new(node::ByPath::new(vfat::Vfat::open(reader, limits)?, limits))),
        other => {
            let _ = (reader, devices, limits);
            Err(Unsupported::FileSystem { found: other.as_str() }.into())
        }
    }
}

/// Major and minor number as Linux packs them into 32 bits.
#[cfg(feature = "read-fs")]
const fn decode_device(packed: u32) -> (u32, u32) {
    ((packed >> 8) & 0xfff, (packed & 0xff) | ((packed >> 12) & 0xf_ff00))
}

/// Runs code of another library: should it panic on hostile bytes, that is an error like any other.
///
/// Nothing the code changed is used afterwards but the caller's buffer, whose content is then not used either.
#[cfg(feature = "read-fs")]
fn fence<T>(what: &'static str, code: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(code))
        .unwrap_or_else(|_| Err(Unsupported::ReaderFailed { what }.into()))
}
