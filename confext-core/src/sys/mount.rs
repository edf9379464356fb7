//! Mounts as file descriptors: `open_tree`, `move_mount`, `mount_setattr`, `umount2`, `pivot_root`; and `mount`.
#![allow(unsafe_code, reason = "mount_setattr is in no safe interface and is called by number")]

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use linux_raw_sys::general::mount_attr;
use rustix::mount::{self, MountPropagationFlags, MoveMountFlags, UnmountFlags};
pub use rustix::mount::{MountAttrFlags, MountFlags as SuperblockFlags, OpenTreeFlags};
use rustix::path::Arg;

const _: () = assert!(size_of::<mount_attr>() == 32);
const _: () = assert!(offset_of!(mount_attr, attr_set) == 0);
const _: () = assert!(offset_of!(mount_attr, attr_clr) == 8);
const _: () = assert!(offset_of!(mount_attr, propagation) == 16);
const _: () = assert!(offset_of!(mount_attr, userns_fd) == 24);

/// One mount, or with all mounts below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only this mount.
    Single,
    /// This mount and every mount below it.
    Recursive,
}

/// Where a mount goes relative to what is mounted at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Over it: visible at once.
    OnTop,
    /// Under it: visible when the one above is detached (`MOVE_MOUNT_BENEATH`, Linux 6.5).
    Beneath,
}

/// How mounts and unmounts pass between copies of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Neither in nor out.
    Private,
    /// In, not out.
    Slave,
    /// In and out.
    Shared,
}

/// What [`set_attributes`] changes.
#[derive(Debug, Clone, Copy)]
pub struct AttributeChange {
    /// Flags to set.
    pub set: MountAttrFlags,
    /// Flags to take off.
    pub clear: MountAttrFlags,
    /// The new propagation, if it changes.
    pub propagation: Option<Propagation>,
}

impl AttributeChange {
    /// Only sets flags.
    #[must_use]
    pub const fn set(flags: MountAttrFlags) -> Self {
        Self { set: flags, clear: MountAttrFlags::empty(), propagation: None }
    }
}

/// `open_tree(dir, path, flags | OPEN_TREE_CLOEXEC)`
///
/// # Errors
///
/// `ENOENT`; `EINVAL` when a clone is asked of a mount of another namespace; `EPERM`.
pub fn open_tree(dir: BorrowedFd<'_>, path: impl Arg, flags: OpenTreeFlags) -> io::Result<OwnedFd> {
    Ok(mount::open_tree(dir, path, flags | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

/// `open_tree(dir, path, OPEN_TREE_CLONE | AT_EMPTY_PATH …)`: a detached copy of the mount, rooted at `path`.
///
/// # Errors
///
/// As [`open_tree`].
pub fn clone_tree(dir: BorrowedFd<'_>, path: impl Arg, depth: Depth) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_EMPTY_PATH;
    match depth {
        Depth::Single => open_tree(dir, path, flags),
        Depth::Recursive => open_tree(dir, path, flags | OpenTreeFlags::AT_RECURSIVE),
    }
}

/// `move_mount(tree, "", dir, path, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH …)`
///
/// The last component of `path` is not followed if it is a link; an empty `path` is `dir` itself.
///
/// # Errors
///
/// `ENOENT`, `ENOTDIR` (a file over a directory or the other way round), `EINVAL` when `dir` is in another mount
/// namespace or, with [`Place::Beneath`], when the target is no mount point; `EPERM`.
pub fn move_mount(tree: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: impl Arg, place: Place) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    let flags = match place {
        Place::OnTop => flags,
        Place::Beneath => flags | MoveMountFlags::MOVE_MOUNT_BENEATH,
    };
    Ok(mount::move_mount(tree, c"", dir, path, flags)?)
}

/// `mount_setattr(tree, "", AT_EMPTY_PATH …, change, sizeof(*change))`
///
/// # Needs
///
/// Linux 5.12.
///
/// # Errors
///
/// `EINVAL` for a flag the kernel does not know; `EPERM` for a flag that is locked; with [`Depth::Recursive`] either
/// every mount is changed or none.
pub fn set_attributes(tree: BorrowedFd<'_>, change: &AttributeChange, depth: Depth) -> io::Result<()> {
    let at_flags = match depth {
        Depth::Single => libc::AT_EMPTY_PATH,
        Depth::Recursive => libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
    };
    let attributes = mount_attr {
        attr_set: u64::from(change.set.bits()),
        attr_clr: u64::from(change.clear.bits()),
        propagation: change.propagation.map_or(0, |kind| u64::from(kind.flags().bits())),
        userns_fd: 0,
    };
    set(tree, at_flags, attributes)
}

/// `mount_setattr(mount, "", AT_EMPTY_PATH, {MOUNT_ATTR_IDMAP, users})`: through this mount, files that belong to a number on
/// disk belong to who has that number in the user namespace `users`.
///
/// # Needs
///
/// Linux 5.12; `CAP_SYS_ADMIN` in `users`.
///
/// # Errors
///
/// `EINVAL` when the file system does not know of it, or the mount is in a mount namespace; `EPERM` when it is mapped already,
/// and for the first user namespace.
pub fn map_owners(mount: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    let userns_fd =
        u64::try_from(users.as_raw_fd()).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    let attr_set = u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits());
    set(mount, libc::AT_EMPTY_PATH, mount_attr { attr_set, attr_clr: 0, propagation: 0, userns_fd })
}

fn set(tree: BorrowedFd<'_>, at_flags: libc::c_int, mut attributes: mount_attr) -> io::Result<()> {
    // SAFETY: the path is a NUL-terminated string and `attributes` a mount_attr of the size given; both live across the
    // call, the kernel reads them and keeps neither; the descriptors are borrowed by the callers and so open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            at_flags,
            &raw mut attributes,
            size_of::<mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `umount2("/proc/self/fd/N", MNT_DETACH)`: takes away exactly the mount whose root `mount` is, even one that is covered.
///
/// Needs `/proc`: there is no call that takes a descriptor.
///
/// # Errors
///
/// `EINVAL` when the descriptor is not the root of a mount in this namespace; `EPERM`.
pub fn detach(mount: BorrowedFd<'_>) -> io::Result<()> {
    Ok(mount::unmount(format!("/proc/self/fd/{}", mount.as_raw_fd()), UnmountFlags::DETACH)?)
}

/// `fchdir(mount)`, `umount2(".", MNT_DETACH)`: as [`detach`], without `/proc`. Nothing is looked up.
///
/// The calling thread must have a working directory of its own: see [`unshare_directories`](super::unshare_directories).
///
/// # Errors
///
/// As [`detach`].
pub fn detach_at(mount: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(mount)?;
    Ok(mount::unmount(c".", UnmountFlags::DETACH)?)
}

/// `umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW)`
///
/// # Errors
///
/// `EINVAL` when `path` is no mount point; `EPERM`.
pub fn detach_path(path: &Path) -> io::Result<()> {
    Ok(mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

/// `mount(NULL, path, NULL, kind, NULL)`
///
/// # Errors
///
/// `EINVAL` when `path` is no mount point; `EPERM`.
pub fn set_propagation(path: &Path, kind: Propagation, depth: Depth) -> io::Result<()> {
    let flags = match depth {
        Depth::Single => kind.flags(),
        Depth::Recursive => kind.flags() | MountPropagationFlags::REC,
    };
    Ok(mount::mount_change(path, flags)?)
}

/// `mount(source, target, fs_type, flags, options)`: of the flags only those about the superblock are meant.
///
/// Where [`FsContext`](super::FsContext) cannot do it: one of its values has at most 255 bytes, here it is a page for all.
///
/// # Errors
///
/// As the file system says, which otherwise tells the kernel's log only; `EPERM`.
pub fn mount_file_system(
    fs_type: &str,
    source: &str,
    target: &str,
    (flags, options): (SuperblockFlags, &str),
) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    Ok(mount::mount(source, target, fs_type, flags, Some(options.as_c_str()))?)
}

/// `pivot_root(new_root, put_old)`
///
/// # Errors
///
/// `EBUSY`, `EINVAL` when `new_root` is no mount point or propagation is shared; `EPERM`.
pub fn pivot_root(new_root: &Path, put_old: &Path) -> io::Result<()> {
    Ok(rustix::process::pivot_root(new_root, put_old)?)
}

impl Propagation {
    const fn flags(self) -> MountPropagationFlags {
        match self {
            Self::Private => MountPropagationFlags::PRIVATE,
            Self::Slave => MountPropagationFlags::DOWNSTREAM,
            Self::Shared => MountPropagationFlags::SHARED,
        }
    }
}
