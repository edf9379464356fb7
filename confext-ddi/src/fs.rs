//! Read-only view of the files of an image: list, stat, read and extended attributes, without root and without a mount.
//!
//! Paths are bytes, relative to the root of the image; a leading slash is ignored. The empty path is the root.

use crate::error::Result;
use crate::fstype::FsType;
use serde::Serialize;

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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

/// What `stat` tells of a file.
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
    /// `no-such-file`; `xattrs-unreadable` where the reader of this file system cannot tell.
    fn xattrs(&self, path: &[u8]) -> Result<Vec<Xattr>>;
}
