//! What is under a stack: the host's own directory, which no path leads to while something is mounted over it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use confext_ddi::release::Class;
use rustix::io::Errno;

use super::submounts::{self, Found};
use crate::directory;
use crate::error::{Error, Result};
use crate::host::{Host, fd_path};
use crate::state;
use crate::sys::{self, Depth, Mode, MountId, OFlags, Propagation, ResolveFlags};

/// A hierarchy of the host without the stacks over it.
#[derive(Debug)]
pub(crate) struct Bare {
    /// The host's directory: a detached private mount of it, without mounts below.
    pub(crate) directory: OwnedFd,
    /// The mount that it was found in: it goes, which takes the kernel a moment.
    pub(crate) whole: Option<OwnedFd>,
    /// The mounts below it, which the stack hides, where they were asked for.
    pub(crate) hidden: Vec<Found>,
    /// How many stacks are over it.
    pub(crate) stacks: usize,
}

/// Whether the mounts that a stack hides are wanted: all mounts of the host have to be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    List,
    Leave,
}

/// What a mount is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// A directory of the host, on the same mount.
    Host,
    /// It is a stack: on the mount that is below it.
    Stack,
}

/// Whether other mount namespaces receive what is mounted there.
pub(super) fn propagates(place: &OwnedFd, over: Over) -> Result<bool> {
    let failed = |error| Error::os("ask about the mount of", "a hierarchy", error);
    let info = sys::mount_place(sys::mount_id(place.as_fd()).map_err(failed)?).map_err(failed)?;
    let below = match over {
        Over::Host => info,
        Over::Stack => sys::mount_place(info.parent).map_err(failed)?,
    };
    Ok(below.propagation & SHARED != 0)
}

/// Opens a hierarchy as it is seen now.
pub(super) fn open(host: &Host, hierarchy: &str) -> Result<OwnedFd> {
    host.open_path(Path::new(hierarchy), OFlags::DIRECTORY)
        .map_err(|error| Error::os("open", host.display(Path::new(hierarchy)), error))
}

/// Copies the directory as it is, when nothing is merged over it.
pub(crate) fn copy(directory: &OwnedFd) -> Result<OwnedFd> {
    let failed = |error| Error::os("copy", "the host's hierarchy", error);
    let copy = sys::clone_tree(directory.as_fd(), c"", Depth::Single).map_err(failed)?;
    submounts::make_private(copy.as_fd()).map_err(failed)?;
    Ok(copy)
}

/// How many stacks there are; `top` is the uppermost.
pub(super) fn count(host: &Host, class: Class, hierarchy: &str, top: &OwnedFd) -> Result<usize> {
    if Parent::of(host, top).is_some() {
        return Ok(1);
    }
    let failed = |error| Error::os("ask about the mount of", host.display(Path::new(hierarchy)), error);
    let info = sys::mount_place(sys::mount_id(top.as_fd()).map_err(failed)?).map_err(failed)?;
    // Without a mount below there is nothing to ask about.
    let Ok(below) = sys::mount_place(info.parent) else { return Ok(1) };
    if below.fs_type != b"overlay" || below.mount_point != info.mount_point {
        return Ok(1);
    }
    Ok(look_under(host, class, hierarchy, Hidden::Leave)?.stacks)
}

/// Looks under the stacks of a class. The host's mounts do not change.
///
/// # Errors
///
/// `os`; `missing-capability` when mounts of this namespace propagate and the process sees no root mount to stop it at.
///
/// # Needs
///
/// `CAP_SYS_ADMIN`.
pub(crate) fn look_under(host: &Host, class: Class, hierarchy: &str, hidden: Hidden) -> Result<Bare> {
    host.reachable("a look under a stack")?;
    let top = open(host, hierarchy)?;
    if let Some(parent) = Parent::of(host, &top) {
        match parent.look(hidden) {
            // Before Linux 6.15 nothing can be copied from a copy.
            Err(Error::Os { source, .. }) if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
            looked => return looked,
        }
    }
    // The host's directory is itself a mount point, or there is more than one stack: a thread takes them off in a mount
    // namespace of its own and comes back with what was below.
    std::thread::scope(|scope| {
        let look = || look_in_own_namespace(host, class, hierarchy, hidden);
        let thread = std::thread::Builder::new().spawn_scoped(scope, look);
        let failed = |error| Error::os("look under", host.display(Path::new(hierarchy)), error);
        thread.map_err(failed)?.join().unwrap_or_else(|_| Err(failed(Errno::IO.into())))
    })
}

/// The directory that a stack's mount point is in, when both are on one mount: the stack is over a plain directory then,
/// and a copy of that mount alone shows it.
pub(super) struct Parent {
    pub(super) directory: OwnedFd,
    pub(super) mount: MountId,
    /// Where the stack is, as this process sees it.
    pub(super) path: PathBuf,
}

impl Hidden {
    fn of(self, own: MountId, base: &Path) -> std::io::Result<Vec<Found>> {
        match self {
            Self::List => submounts::list(own, base),
            Self::Leave => Ok(Vec::new()),
        }
    }
}

impl Parent {
    /// `None` when it is not that simple.
    pub(super) fn of(host: &Host, top: &OwnedFd) -> Option<Self> {
        let path = fd_path(top.as_fd()).ok()?;
        let inside = path.strip_prefix(host.reachable("the place of a stack").ok()?).ok()?.parent()?;
        let directory = host.open_path(inside, OFlags::DIRECTORY).ok()?;
        let mount = sys::mount_id(directory.as_fd()).ok()?;
        let below = sys::mount_place(sys::mount_id(top.as_fd()).ok()?).ok()?.parent;
        (below == mount).then_some(Self { directory, mount, path })
    }

    fn look(&self, hidden: Hidden) -> Result<Bare> {
        let target = || self.path.display().to_string();
        let failed = |operation| move |error: std::io::Error| Error::os(operation, target(), error);
        let whole = copy(&self.directory)?;
        let name = self.path.file_name().unwrap_or_default();
        let directory =
            sys::open_path(whole.as_fd(), Path::new(name), OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)
                .and_then(|directory| sys::clone_tree(directory.as_fd(), c"", Depth::Single))
                .map_err(failed("look under"))?;
        let hidden = hidden.of(self.mount, &self.path).map_err(failed("list the mounts below"))?;
        Ok(Bare { directory, whole: Some(whole), hidden, stacks: 1 })
    }
}

fn look_in_own_namespace(host: &Host, class: Class, hierarchy: &str, hidden: Hidden) -> Result<Bare> {
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
    let mut stacks: usize = 0;
    while state::is_stack(top.as_fd(), class).map_err(failed("read the metadata of"))? {
        sys::detach(top.as_fd()).map_err(failed("umount a copy of"))?;
        stacks = stacks.saturating_add(1);
        top = open()?;
    }
    let mount = sys::mount_id(top.as_fd()).map_err(failed("ask about the mount of"))?;
    let path = fd_path(top.as_fd()).map_err(failed("look up"))?;
    let hidden = hidden.of(mount, &path).map_err(failed("list the mounts below"))?;
    Ok(Bare { hidden, directory: copy(&top)?, whole: None, stacks })
}

/// The root directory as this namespace has it: the descriptor from outside still shows the mounts outside.
fn same_root(host: &Host) -> Result<OwnedFd> {
    let path = host.reachable("a look under a stack")?;
    let failed = |error| Error::os("open", path.display().to_string(), error);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
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
            let top = sys::mount_place(sys::mount_id(top.as_fd())?)?;
            let root = sys::mount_place(sys::mount_id(root.as_fd())?)?;
            let below = sys::mount_place(top.parent).map_or(SHARED, |parent| parent.propagation);
            if (top.propagation | root.propagation | below) & SHARED == 0 { Ok(()) } else { Err(error) }
        }
        done => done,
    }
}

/// `MS_SHARED`
const SHARED: u64 = 1 << 20;
