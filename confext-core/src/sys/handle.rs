//! File handles: `name_to_handle_at`, for telling files apart, not for opening them.
#![allow(unsafe_code, reason = "name_to_handle_at is in no safe interface and is called by number")]

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `MAX_HANDLE_SZ`
const MOST_BYTES: usize = 128;
/// `AT_HANDLE_FID` (Linux 6.5): a handle that need not be one to open the file by, which more file systems have.
const AT_HANDLE_FID: libc::c_int = 0x200;

/// `struct file_handle` with room for the longest handle.
#[repr(C)]
struct Raw {
    bytes: u32,
    kind: i32,
    handle: [u8; MOST_BYTES],
}

const _: () = assert!(size_of::<Raw>() == 136);
const _: () = assert!(offset_of!(Raw, handle) == 8);

/// What a file system tells its files apart by: unlike an inode number it is not used again for another file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileHandle {
    /// How the file system reads it.
    pub kind: i32,
    /// The handle itself.
    pub bytes: Vec<u8>,
}

/// `name_to_handle_at(fd, "", &handle, &mount, AT_EMPTY_PATH | AT_HANDLE_FID)`, without the last flag where it is not known.
///
/// # Errors
///
/// `EOPNOTSUPP` when the file system has no handles; `EOVERFLOW`.
pub fn file_handle(fd: BorrowedFd<'_>) -> io::Result<FileHandle> {
    call(fd, libc::AT_EMPTY_PATH | AT_HANDLE_FID).or_else(|_| call(fd, libc::AT_EMPTY_PATH))
}

fn call(fd: BorrowedFd<'_>, flags: libc::c_int) -> io::Result<FileHandle> {
    let room = u32::try_from(MOST_BYTES).unwrap_or(0);
    let mut raw = Raw { bytes: room, kind: 0, handle: [0; MOST_BYTES] };
    let mut mount: libc::c_int = 0;
    let (raw_pointer, mount_pointer) = (&raw mut raw, &raw mut mount);
    // SAFETY: the kernel writes at most `bytes` bytes of the handle, which has room for them, and the mount's number.
    let done = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd.as_raw_fd(),
            c"".as_ptr(),
            raw_pointer,
            mount_pointer,
            flags,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let len = usize::try_from(raw.bytes).unwrap_or(usize::MAX);
    let bytes = raw.handle.get(..len).ok_or(io::ErrorKind::InvalidData)?.to_vec();
    Ok(FileHandle { kind: raw.kind, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn a_handle_belongs_to_one_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), b"").unwrap();
        std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        std::fs::write(dir.path().join("c"), b"").unwrap();
        let handle = |name: &str| {
            let file = std::fs::File::open(dir.path().join(name)).unwrap();
            file_handle(file.as_fd()).unwrap()
        };
        assert!(!handle("a").bytes.is_empty());
        assert_eq!(handle("a"), handle("b"));
        assert_ne!(handle("a"), handle("c"));
    }
}
