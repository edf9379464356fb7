//! Owner, mode, extended attributes and time, put on what was made.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use confext_ddi::fs::{FileType, Metadata, Xattr};
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};

use super::{Extracted, Options, Ownership, SetId};
use crate::error::{Error, Result};

const SET_ID: u16 = 0o6000;
/// What an overlay obeys.
const OVERLAY: &str = "trusted.overlay.";

/// Puts the attributes on an open file, of whatever type; it may be open as a place only.
///
/// The order matters: a change of owner clears set-id bits and capabilities, and everything but it changes no
/// modification time.
pub(super) fn apply(
    fd: BorrowedFd<'_>,
    path: &[u8],
    meta: &Metadata,
    xattrs: &[Xattr],
    options: &Options,
) -> Result<Extracted> {
    let failed = |operation| move |errno: rustix::io::Errno| Error::os(operation, shown(path), errno);
    let mut done = Extracted::default();
    if let Some((uid, gid)) = owner(path, meta, options.ownership)? {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("chown"))?;
    }
    // By this path, because those calls do not take a place; it leads to the open file itself.
    let place = format!("/proc/self/fd/{}", fd.as_raw_fd());
    if meta.file_type != FileType::Symlink {
        let mut mode = meta.mode;
        if options.set_id == SetId::Clear && mode & SET_ID != 0 && meta.file_type != FileType::Directory {
            mode &= !SET_ID;
            done.set_id_cleared = 1;
        }
        rustix::fs::chmod(place.as_str(), Mode::from_bits_truncate(u32::from(mode)))
            .map_err(failed("chmod"))?;
    }
    for (name, value) in xattrs {
        if is_allowed(name, &options.xattrs) {
            rustix::fs::setxattr(place.as_str(), name.as_slice(), value, XattrFlags::empty())
                .map_err(failed("setxattr"))?;
        } else {
            done.xattrs_left_out = done.xattrs_left_out.saturating_add(1);
        }
    }
    set_time(fd, meta).map_err(|error| Error::os("utimensat", shown(path), error))?;
    Ok(done)
}

fn set_time(fd: BorrowedFd<'_>, meta: &Metadata) -> io::Result<()> {
    let keep = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = Timespec { tv_sec: meta.mtime_sec, tv_nsec: i64::from(meta.mtime_nsec) };
    let times = Timestamps { last_access: keep, last_modification: modified };
    Ok(rustix::fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)?)
}

fn owner(path: &[u8], meta: &Metadata, ownership: Ownership) -> Result<Option<(u32, u32)>> {
    match ownership {
        Ownership::Caller => Ok(None),
        Ownership::AsIs => Ok(Some((meta.uid, meta.gid))),
        Ownership::Fixed { uid, gid } => Ok(Some((uid, gid))),
        Ownership::Shifted { first, count } => {
            let shift = |id: u32| {
                let shifted = first.checked_add(id).filter(|&shifted| id < count && shifted != u32::MAX);
                shifted.ok_or_else(|| {
                    let expected = format!("less than {count}");
                    Error::conflict("extract-owner", shown(path), id.to_string(), expected)
                })
            };
            Ok(Some((shift(meta.uid)?, shift(meta.gid)?)))
        }
    }
}

pub(super) fn is_allowed(name: &[u8], beginnings: &[String]) -> bool {
    let overlay = name.starts_with(OVERLAY.as_bytes());
    beginnings.iter().any(|beginning| {
        name.starts_with(beginning.as_bytes()) && !(overlay && beginning.len() < OVERLAY.len())
    })
}

/// A path as it is shown in messages.
pub(super) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
