//! Mount namespaces: `unshare` and `setns`, and whose they are.
#![allow(
    unsafe_code,
    reason = "unshare can break other threads' descriptors with a flag that is never passed here; an ioctl goes by number"
)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
pub use rustix::thread::LinkNameSpaceType as NamespaceKind;
use rustix::thread::{ThreadNameSpaceType, UnshareFlags};

/// `_IO(0xb7, 1)`
const NS_GET_USERNS: libc::Ioctl = 0xb701;

/// `unshare(CLONE_NEWNS | CLONE_FS)`: gives the calling *thread* its own mount namespace, root and working directory.
///
/// Other threads stay where they are. Threads and processes started from this one share the new namespace, which ends
/// with the last of them. The copy still propagates as before: call [`set_propagation`](super::set_propagation) next.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN`.
pub fn unshare_mounts() -> io::Result<()> {
    let flags = UnshareFlags::NEWNS | UnshareFlags::FS;
    // SAFETY: the contract is about UnshareFlags::FILES only, which is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// `unshare(CLONE_FS)`: gives the calling *thread* its own root and working directory, so that it can go elsewhere.
///
/// # Errors
///
/// As the kernel says; none is known.
pub fn unshare_directories() -> io::Result<()> {
    // SAFETY: as above.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?;
    Ok(())
}

/// `setns(namespace, kind)`: the calling thread joins the namespace of an open `/proc/PID/ns/…` link.
///
/// For a mount namespace the thread must not share root and working directory: call [`unshare_directories`] before.
///
/// # Errors
///
/// `EINVAL` when the descriptor is another kind of namespace or the thread shares its root; `EPERM`.
pub fn enter_namespace(namespace: BorrowedFd<'_>, kind: NamespaceKind) -> io::Result<()> {
    Ok(rustix::thread::move_into_link_name_space(namespace, Some(kind))?)
}

/// `setns(pidfd, CLONE_NEWNS)`: the calling thread joins the mount namespace of a process.
///
/// # Errors
///
/// As [`enter_namespace`]; `ESRCH` when the process is gone.
pub fn enter_namespaces_of(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::thread::move_into_thread_name_spaces(pidfd, ThreadNameSpaceType::MOUNT)?)
}

/// `fchdir(root)`, `chroot(".")`: the calling thread has this root directory, and is in it.
///
/// The thread must not share its root with others: see [`unshare_directories`].
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_CHROOT`.
pub fn enter_root(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    Ok(rustix::process::chroot(c".")?)
}

/// `ioctl(namespace, NS_GET_USERNS)`: the user namespace that a namespace belongs to.
///
/// # Errors
///
/// `EPERM` when it is above the caller's.
pub fn owner_of(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no argument and the descriptor is borrowed and so open.
    let owner = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    if owner < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(owner) })
}

/// `open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC)`: the calling thread's mount namespace.
///
/// # Errors
///
/// `ENOENT` without `/proc`.
pub fn current_mount_namespace() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}
