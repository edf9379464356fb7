//! Extended attributes of the entry of a directory: `listxattrat`.
#![allow(unsafe_code, reason = "listxattrat is in no safe interface and is called by number")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use linux_raw_sys::general::__NR_listxattrat;
use rustix::io::Errno;
use rustix::path::Arg;

#[expect(clippy::as_conversions, reason = "a small constant; From is not const")]
const SYS_LISTXATTRAT: libc::c_long = __NR_listxattrat as libc::c_long;

/// `listxattrat(directory, name, AT_SYMLINK_NOFOLLOW, buf, len)`: the names, each with a NUL at its end.
///
/// # Errors
///
/// `ENOSYS` before Linux 6.13; `ERANGE` when they do not fit; as `listxattr`.
pub fn list_attributes(
    directory: BorrowedFd<'_>,
    name: impl Arg,
    buf: &mut [u8],
) -> rustix::io::Result<usize> {
    name.into_with_c_str(|name| {
        // SAFETY: the name ends with a NUL; the kernel writes at most `buf.len()` bytes into `buf`; both outlive the call.
        let result = unsafe {
            libc::syscall(
                SYS_LISTXATTRAT,
                directory.as_raw_fd(),
                name.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
                buf.as_mut_ptr(),
                buf.len(),
            )
        };
        usize::try_from(result)
            .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
    })
}
