//! Asking about mounts: by `statmount` and `listmount` where the kernel has them, and else from the table in `/proc`.
//!
//! The two have numbers of their own for mounts, so one of them is used for everything a process asks.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Statx, StatxFlags};
use rustix::path::Arg;

use super::statmount::{self, Ask, MountId, MountInfo};
use super::table;

/// Where the answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountSource {
    /// `statmount` and `listmount` (Linux 6.8), with numbers that are never used again.
    Calls,
    /// `/proc/thread-self/mountinfo`, with numbers that are used again.
    Table,
}

static CURRENT: OnceLock<MountSource> = OnceLock::new();

impl MountSource {
    /// The one this process uses: tried once, so that what a container forbids counts as missing.
    #[must_use]
    pub fn current() -> Self {
        *CURRENT.get_or_init(|| if statmount::works() { Self::Calls } else { Self::Table })
    }

    /// Has this process use this one, for tests; does nothing once a mount was asked about.
    pub fn choose(self) {
        let _ = CURRENT.set(self);
    }

    /// The number of the mount a descriptor is on.
    ///
    /// # Errors
    ///
    /// `Unsupported` when the kernel does not tell.
    pub fn id(self, fd: BorrowedFd<'_>) -> io::Result<MountId> {
        match self {
            Self::Calls => statmount::mount_id(fd),
            Self::Table => table::mount_id(fd),
        }
    }

    /// What the kernel says of a mount of the calling thread's namespace. Detached mounts are not found.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such mount; when it is not below the caller's root, `EPERM` or `ENOENT`.
    pub fn info(self, id: MountId) -> io::Result<MountInfo> {
        match self {
            Self::Calls => statmount::mount_info(id, Ask::All),
            Self::Table => table::mount_info(id),
        }
    }

    /// The same without source and options, which the kernel writes down for each layer of an overlay.
    ///
    /// # Errors
    ///
    /// As [`MountSource::info`].
    pub fn place(self, id: MountId) -> io::Result<MountInfo> {
        match self {
            Self::Calls => statmount::mount_info(id, Ask::Place),
            Self::Table => table::mount_info(id).map(without_options),
        }
    }

    /// Every mount below `parent`, at any depth, without source and options; what is unmounted meanwhile may be missing.
    ///
    /// # Errors
    ///
    /// As [`MountSource::info`].
    pub fn below(self, parent: MountId) -> io::Result<Vec<MountInfo>> {
        if self == Self::Table {
            return Ok(table::mounts_below(parent)?.into_iter().map(without_options).collect());
        }
        let mut found = Vec::new();
        for id in statmount::list_mounts(parent)? {
            match statmount::mount_info(id, Ask::Place) {
                Ok(info) => found.push(info),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

fn without_options(info: MountInfo) -> MountInfo {
    MountInfo { source: None, options: None, ..info }
}

/// [`MountSource::id`] of the current source.
///
/// # Errors
///
/// As there.
pub fn mount_id(fd: BorrowedFd<'_>) -> io::Result<MountId> {
    MountSource::current().id(fd)
}

/// `statx(fd, "", AT_EMPTY_PATH, mask)` and [`mount_id`], by one call where the numbers are told by that one; no number
/// where the kernel does not tell.
///
/// # Errors
///
/// As `stat`.
pub fn statx_and_mount(fd: BorrowedFd<'_>, mask: StatxFlags) -> io::Result<(Statx, Option<MountId>)> {
    if MountSource::current() == MountSource::Calls {
        return statmount::statx_and_mount(fd, c"", AtFlags::EMPTY_PATH, mask);
    }
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, mask)?;
    Ok((stat, table::mount_id(fd).ok()))
}

/// `statx(dir, name, AT_SYMLINK_NOFOLLOW, mask)` and the number of the mount that the entry is on; no number where it takes
/// more than this call.
///
/// # Errors
///
/// As `stat`.
pub fn statx_and_mount_at(
    dir: BorrowedFd<'_>,
    name: impl Arg,
    mask: StatxFlags,
) -> io::Result<(Statx, Option<MountId>)> {
    match MountSource::current() {
        MountSource::Calls => statmount::statx_and_mount(dir, name, AtFlags::SYMLINK_NOFOLLOW, mask),
        MountSource::Table => Ok((rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, mask)?, None)),
    }
}

/// [`MountSource::info`] of the current source.
///
/// # Errors
///
/// As there.
pub fn mount_info(id: MountId) -> io::Result<MountInfo> {
    MountSource::current().info(id)
}

/// [`MountSource::place`] of the current source.
///
/// # Errors
///
/// As there.
pub fn mount_place(id: MountId) -> io::Result<MountInfo> {
    MountSource::current().place(id)
}

/// [`MountSource::below`] of the current source.
///
/// # Errors
///
/// As there.
pub fn mounts_below(parent: MountId) -> io::Result<Vec<MountInfo>> {
    MountSource::current().below(parent)
}
