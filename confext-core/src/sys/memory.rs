//! Memory that can be sealed: `memfd_create` and the seals of `fcntl`.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
pub use rustix::fs::SealFlags;
use rustix::io::Errno;

/// `memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL)`
///
/// `name` is only for people: it is shown as `/memfd:NAME` in `/proc` and as the backing file of a loop device.
///
/// # Errors
///
/// `EINVAL` for a name longer than 249 bytes; `ENOMEM`, `EMFILE`.
pub fn memfd(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know MFD_NOEXEC_SEAL. The seals that protect the bytes do not depend on it.
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create(name, flags)?),
        other => Ok(other?),
    }
}

/// `fcntl(fd, F_ADD_SEALS, seals)`
///
/// # Errors
///
/// `EBUSY` when [`SealFlags::WRITE`] is asked for while a writable mapping exists; `EPERM` when sealing is sealed.
pub fn add_seals(fd: BorrowedFd<'_>, seals: SealFlags) -> io::Result<()> {
    Ok(rustix::fs::fcntl_add_seals(fd, seals)?)
}

/// `fcntl(fd, F_GET_SEALS)`
///
/// # Errors
///
/// `EINVAL` when the file cannot have seals.
pub fn seals(fd: BorrowedFd<'_>) -> io::Result<SealFlags> {
    Ok(rustix::fs::fcntl_get_seals(fd)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn sealed_memory_cannot_be_changed_and_the_seals_cannot_be_taken_off() {
        let mut file = std::fs::File::from(memfd("confext-test-seal").unwrap());
        file.write_all(b"checked").unwrap();
        let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        add_seals(file.as_fd(), all).unwrap();
        assert!(seals(file.as_fd()).unwrap().contains(all));
        let eperm = Some(Errno::PERM.raw_os_error());
        assert_eq!(file.write_at(b"x", 0).unwrap_err().raw_os_error(), eperm);
        assert_eq!(file.set_len(1).unwrap_err().raw_os_error(), eperm);
        assert_eq!(file.set_len(1 << 20).unwrap_err().raw_os_error(), eperm);
        assert_eq!(add_seals(file.as_fd(), SealFlags::FUTURE_WRITE).unwrap_err().raw_os_error(), eperm);
        let mut bytes = [0; 7];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"checked");
    }
}
