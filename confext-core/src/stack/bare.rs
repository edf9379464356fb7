//! What is under a stack: the host's own directory, which no path leads to while something is mounted over it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use confext_ddi::release::Class;
use rustix::io::Errno;

use super::submounts::{self, Submount};
use crate::directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::state;
use crate::sys::{self, Depth, Mode, OFlags, Propagation, ResolveFlags};

/// A hierarchy of the host without the stacks over it.
#[derive(Debug)]
pub(crate) struct Bare {
    /// The host's directory: a detached private mount of it, without mounts below.
    pub(crate) directory: OwnedFd,
    /// The mounts below it.
    pub(crate) submounts: Vec<Submount>,
}

/// Copies the directory as it is, when nothing is merged over it.
pub(crate) fn copy(directory: &OwnedFd) -> Result<OwnedFd> {
    let failed = |error| Error::os("copy", "the host's hierarchy", error);
    let copy = sys::clone_tree(directory.as_fd(), c"", Depth::Single).map_err(failed)?;
    submounts::make_private(copy.as_fd()).map_err(failed)?;
    Ok(copy)
}

/// Looks under the stacks of a class: a thread takes them off in a mount namespace of its own and comes back with what
/// was below. The host's mounts do not change.
///
/// # Errors
///
/// `os`; `missing-capability` when mounts of this namespace propagate and the process sees no root mount to stop it at.
///
/// # Needs
///
/// `CAP_SYS_ADMIN`.
pub(crate) fn look_under(host: &Host, class: Class, hierarchy: &str) -> Result<Bare> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| look_in_own_namespace(host, class, hierarchy));
        thread.join().unwrap_or_else(|_| {
            Err(Error::os("look under", host.display(Path::new(hierarchy)), std::io::Error::from(Errno::IO)))
        })
    })
}

fn look_in_own_namespace(host: &Host, class: Class, hierarchy: &str) -> Result<Bare> {
    let target = || host.display(Path::new(hierarchy));
    let failed = |operation| move |error| Error::os(operation, target(), error);
    sys::unshare_mounts().map_err(failed("unshare the mounts of"))?;
    let root = same_root(host)?;
    let open = || {
        let flags = OFlags::DIRECTORY;
        sys::open_path(root.as_fd(), hierarchy, flags, ResolveFlags::NO_MAGICLINKS).map_err(failed("open"))
    };
    let mut top = open()?;
    stop_propagation(&top, &root).map_err(failed("make private the mounts of"))?;
    while state::is_stack(top.as_fd(), class).map_err(failed("read the metadata of"))? {
        sys::detach(top.as_fd()).map_err(failed("umount a copy of"))?;
        top = open()?;
    }
    Ok(Bare { submounts: submounts::copy(top.as_fd())?, directory: copy(&top)? })
}

/// The root directory as this namespace has it: the descriptor from outside still shows the mounts outside.
fn same_root(host: &Host) -> Result<OwnedFd> {
    let failed = |error| Error::os("open", host.path().display().to_string(), error);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(host.path(), flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let (found, expected) =
        (directory::statx(root.as_fd()).map_err(failed)?, directory::statx(host.root()).map_err(failed)?);
    let id = |stat: &sys::Statx| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
    if id(&found) != id(&expected) {
        return Err(failed(Errno::STALE.into()));
    }
    Ok(root)
}

/// Keeps what is unmounted here from being unmounted outside.
fn stop_propagation(top: &OwnedFd, root: &OwnedFd) -> std::io::Result<()> {
    match sys::set_propagation(Path::new("/"), Propagation::Private, Depth::Recursive) {
        // In a chroot the root is no mount point. That is fine as long as nothing propagates.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            let top = sys::mount_info(sys::mount_id(top.as_fd())?)?;
            let root = sys::mount_info(sys::mount_id(root.as_fd())?)?;
            let below = sys::mount_info(top.parent).map_or(SHARED, |parent| parent.propagation);
            if (top.propagation | root.propagation | below) & SHARED == 0 { Ok(()) } else { Err(error) }
        }
        done => done,
    }
}

/// `MS_SHARED`
const SHARED: u64 = 1 << 20;
