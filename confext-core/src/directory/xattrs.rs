//! Extended attributes of files of this machine, with their values

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use confext_ddi::fs::Xattr;
use confext_ddi::limits::Limits;
use rustix::io::Errno;

use crate::sys;

/// The extended attributes of an open file, sorted by name; also of one that is open as a place only.
pub(crate) fn xattrs(fd: BorrowedFd<'_>, limits: &Limits) -> io::Result<Vec<Xattr>> {
    xattrs_of(&Attributed::Open(fd), limits)
}

/// A file whose attributes are asked for. No call takes a place, so that the way goes through `/proc`.
pub(super) enum Attributed<'a> {
    Open(BorrowedFd<'a>),
    /// The entry of a directory, which is not followed if it is a link.
    Entry {
        directory: BorrowedFd<'a>,
        name: &'a [u8],
    },
}

pub(super) fn xattrs_of(file: &Attributed<'_>, limits: &Limits) -> io::Result<Vec<Xattr>> {
    let path = || match file {
        Attributed::Open(fd) => format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes(),
        Attributed::Entry { directory, name } => {
            [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name].concat()
        }
    };
    let list = |buf: &mut [u8]| match file {
        Attributed::Open(_) => rustix::fs::listxattr(path(), buf),
        Attributed::Entry { directory, name } => match sys::list_attributes(*directory, *name, buf) {
            Err(Errno::NOSYS) => rustix::fs::llistxattr(path(), buf),
            answer => answer,
        },
    };
    let value = |name: &[u8], buf: &mut [u8]| match file {
        Attributed::Open(_) => rustix::fs::getxattr(path(), name, buf),
        Attributed::Entry { .. } => rustix::fs::lgetxattr(path(), name, buf),
    };
    let most = usize::try_from(limits.xattr_bytes).unwrap_or(usize::MAX);
    let names = match grow(most, list) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        names => names?,
    };
    let mut found = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        match grow(most, |buf| value(name, buf)) {
            Ok(value) => found.push((name.to_vec(), value)),
            // Gone since it was listed.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    found.sort();
    Ok(found)
}

/// Calls with a larger buffer until the answer fits.
fn grow(most: usize, call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256.min(most)];
    loop {
        match call(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < most => {
                buffer.resize(buffer.len().saturating_mul(4).min(most), 0);
            }
            Err(errno) => return Err(errno),
        }
    }
}
