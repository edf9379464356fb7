//! Mount namespaces: `unshare` and `setns`.
#![allow(
    unsafe_code,
    reason = "unshare can break other threads' file descriptors with a flag that is never passed here"
)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
pub use rustix::thread::LinkNameSpaceType as NamespaceKind;
use rustix::thread::{ThreadNameSpaceType, UnshareFlags};

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

/// `open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC)`: the calling thread's mount namespace.
///
/// # Errors
///
/// `ENOENT` without `/proc`.
pub fn current_mount_namespace() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}
