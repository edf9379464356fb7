//! Mounts below a hierarchy: copied onto the new stack, and back onto the host when the stack goes.
//!
//! The originals stay where they are, hidden under the stack, so that taking the stack away brings them back in the same
//! step. What was mounted or unmounted while the stack was there is set right after that: see [`Difference`].

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::host::fd_path;
use crate::sys::{
    self, AttributeChange, Depth, MountAttrFlags, MountId, MountInfo, OFlags, Place, Propagation,
    ResolveFlags,
};

/// A mount directly below a hierarchy, with all that is mounted below it.
#[derive(Debug)]
pub(crate) struct Submount {
    /// Where it is, relative to the hierarchy.
    pub(crate) path: PathBuf,
    /// A detached, private copy.
    pub(crate) tree: OwnedFd,
    what: What,
}

/// What is mounted at a place and below it: path, device, and the directory of the device's file system.
type What = Vec<(PathBuf, (u32, u32), Vec<u8>)>;

/// Copies the mounts that can be seen below a directory.
pub(crate) fn copy(directory: BorrowedFd<'_>) -> Result<Vec<Submount>> {
    let target = fd_path(directory).map_err(|error| Error::os("look up", "a hierarchy", error))?;
    let failed = |operation| {
        let target = target.display().to_string();
        move |error| Error::os(operation, target, error)
    };
    let mut found: Vec<Submount> = Vec::new();
    for (path, what) in list(directory).map_err(failed("list the mounts below"))? {
        // Deeper mounts of one that is copied come along with it.
        if found.iter().any(|outer| path.starts_with(&outer.path)) {
            continue;
        }
        let place = sys::open_path(directory, path.as_path(), OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)
            .map_err(failed("open a mount below"))?;
        let tree =
            sys::clone_tree(place.as_fd(), c"", Depth::Recursive).map_err(failed("copy a mount below"))?;
        make_private(tree.as_fd()).map_err(failed("copy a mount below"))?;
        found.push(Submount { path, tree, what });
    }
    Ok(found)
}

/// Without this the copy would stay a peer of the original, and what is unmounted there would vanish here.
pub(crate) fn make_private(tree: BorrowedFd<'_>) -> std::io::Result<()> {
    let change = AttributeChange {
        propagation: Some(Propagation::Private),
        ..AttributeChange::set(MountAttrFlags::empty())
    };
    sys::set_attributes(tree, &change, Depth::Recursive)
}

/// Path and content of each mount directly on the directory's mount, below the directory; sorted by path.
fn list(directory: BorrowedFd<'_>) -> std::io::Result<Vec<(PathBuf, What)>> {
    let own = sys::mount_id(directory)?;
    let base = fd_path(directory)?;
    let mut all: Vec<(PathBuf, MountInfo)> = Vec::new();
    for id in sys::list_mounts(own)? {
        let Some(info) = still_there(id)? else { continue };
        let point = PathBuf::from(std::ffi::OsString::from_vec(info.mount_point.clone()));
        if let Ok(path) = point.strip_prefix(&base) {
            all.push((path.to_path_buf(), info));
        }
    }
    let mut found: Vec<(PathBuf, What)> = Vec::new();
    for (path, info) in &all {
        let is_root = path.as_os_str().as_bytes().is_empty();
        if info.parent != own || is_root || !is_visible(directory, path, own)? {
            continue;
        }
        let inside = all.iter().filter(|(inner, _)| inner.starts_with(path));
        let mut what: What = inside.map(|(p, info)| (p.clone(), info.device, info.root.clone())).collect();
        what.sort();
        found.push((path.clone(), what));
    }
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    Ok(found)
}

fn still_there(id: MountId) -> std::io::Result<Option<MountInfo>> {
    match sys::mount_info(id) {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the path leads to something that is mounted there, and not to a directory that hides the mount.
fn is_visible(directory: BorrowedFd<'_>, path: &std::path::Path, own: MountId) -> std::io::Result<bool> {
    match sys::open_path(directory, path, OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS) {
        Ok(place) => {
            let root = rustix::fs::StatxAttributes::MOUNT_ROOT;
            let stat = crate::directory::statx(place.as_fd())?;
            Ok(stat.stx_attributes.contains(root) && sys::mount_id(place.as_fd())? != own)
        }
        Err(_) => Ok(false),
    }
}

/// Puts copies into a tree that is not in place yet.
///
/// # Errors
///
/// `submount-point` when the tree has nothing, or something else, where the mount was.
pub(crate) fn attach(tree: BorrowedFd<'_>, submounts: &[Submount]) -> Result<()> {
    for submount in submounts {
        let path = submount.path.as_path();
        sys::move_mount(submount.tree.as_fd(), tree, path, Place::OnTop).map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Error::conflict(
                    "submount-point",
                    path.display().to_string(),
                    "an extension that has something else there",
                    "a place for the mount that is there now",
                ),
                _ => Error::os("move_mount", path.display().to_string(), error),
            }
        })?;
    }
    Ok(())
}

/// What to change below a hierarchy once its stack is gone.
#[derive(Debug)]
pub(crate) struct Difference {
    /// Mounted while the stack was there.
    new: Vec<Submount>,
    /// Unmounted while the stack was there.
    stale: Vec<PathBuf>,
}

impl Difference {
    /// Compares what can be seen on the stack with what it hides.
    pub(crate) fn between(seen: Vec<Submount>, hidden: &[Submount]) -> Self {
        let same = |a: &Submount, b: &Submount| a.path == b.path && a.what == b.what;
        let stale =
            hidden.iter().filter(|h| !seen.iter().any(|s| same(s, h))).map(|h| h.path.clone()).collect();
        let new = seen.into_iter().filter(|s| !hidden.iter().any(|h| same(s, h))).collect();
        Self { new, stale }
    }

    /// Sets the bare hierarchy right; goes on after an error and returns the first.
    pub(crate) fn apply(&self, directory: BorrowedFd<'_>) -> Result<()> {
        let mut first = Ok(());
        for path in &self.stale {
            let done = sys::open_path(directory, path.as_path(), OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)
                .and_then(|place| sys::detach(place.as_fd()))
                .map_err(|error| Error::os("umount", path.display().to_string(), error));
            first = first.and(done);
        }
        for submount in &self.new {
            first = first.and(attach(directory, std::slice::from_ref(submount)));
        }
        first
    }
}
