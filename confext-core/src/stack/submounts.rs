//! Mounts below a hierarchy: copied onto the new stack, and back onto the host when the stack goes.
//!
//! The originals stay where they are, hidden under the stack, so that taking the stack away brings them back in the same
//! step. What was mounted while the stack was there is put among them before, what was unmounted is taken away after that: see
//! [`Difference`].

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use confext_ddi::release::Class;

use crate::error::{Error, Result};
use crate::host::fd_path;
use crate::state;
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
    /// It shows the hierarchy's own directory, with these attributes: the new one's is to be shown, and not the old one's.
    pub(crate) again: Option<MountAttrFlags>,
}

/// A mount directly below a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    /// Where it is, relative to the hierarchy.
    path: PathBuf,
    /// What is mounted at the place and below it: path, device, and the directory of the device's file system.
    what: Vec<(PathBuf, (u32, u32), Vec<u8>)>,
}

impl Found {
    /// Where it is, relative to the hierarchy.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Copies the mounts that can be seen below a directory.
pub(crate) fn copy(directory: BorrowedFd<'_>) -> Result<Vec<Submount>> {
    seen(directory)?.iter().map(|found| copy_of(directory, found)).collect()
}

/// The mounts that can be seen below a directory.
fn seen(directory: BorrowedFd<'_>) -> Result<Vec<Found>> {
    let failed = |error| Error::os("list the mounts below", "a hierarchy", error);
    let path = fd_path(directory).map_err(failed)?;
    list(sys::mount_id(directory).map_err(failed)?, &path).map_err(failed)
}

/// A copy of one of them.
pub(crate) fn copy_of(directory: BorrowedFd<'_>, found: &Found) -> Result<Submount> {
    let path = found.path.clone();
    let failed = |error| Error::os("copy a mount below", path.display().to_string(), error);
    let place = sys::open_path(directory, path.as_path(), OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS);
    let tree =
        place.and_then(|place| sys::clone_tree(place.as_fd(), c"", Depth::Recursive)).map_err(failed)?;
    make_private(tree.as_fd()).map_err(failed)?;
    Ok(Submount { path, tree, again: None })
}

/// Without this the copy would stay a peer of the original, and what is unmounted there would vanish here.
pub(crate) fn make_private(tree: BorrowedFd<'_>) -> std::io::Result<()> {
    let change = AttributeChange {
        propagation: Some(Propagation::Private),
        ..AttributeChange::set(MountAttrFlags::empty())
    };
    sys::set_attributes(tree, &change, Depth::Recursive)
}

/// What is mounted directly on a mount and below a path, as far as something else does not hide it; sorted by path.
/// Deeper mounts are part of the one that they are on.
pub(super) fn list(own: MountId, base: &Path) -> std::io::Result<Vec<Found>> {
    Ok(among(sys::mounts_below(own)?, own, base))
}

/// The same, of a table that has more mounts in it.
pub(crate) fn among(table: Vec<MountInfo>, own: MountId, base: &Path) -> Vec<Found> {
    let mut all: Vec<(PathBuf, MountInfo)> = Vec::new();
    for info in table {
        let point = PathBuf::from(std::ffi::OsString::from_vec(info.mount_point.clone()));
        match point.strip_prefix(base) {
            // The stack itself, when the question is what it hides.
            Ok(path) if path.as_os_str().is_empty() => {}
            Ok(path) => all.push((path.to_path_buf(), info)),
            Err(_) => {}
        }
    }
    let direct: Vec<&(PathBuf, MountInfo)> =
        all.iter().filter(|(path, info)| info.parent == own && !is_metadata(path, info)).collect();
    // A mount on a directory above hides it: the way there leads through the other one.
    let hidden = |path: &Path| direct.iter().any(|(outer, _)| outer != path && path.starts_with(outer));
    let mut found: Vec<Found> = Vec::new();
    for (path, info) in direct.iter().filter(|(path, _)| !hidden(path)) {
        let mut what = vec![(path.clone(), info.device, info.root.clone())];
        let mut ids = vec![info.id];
        // By parents and not by paths: what is mounted on a stack above has the same paths.
        while let Some(id) = ids.pop() {
            for (path, info) in all.iter().filter(|(_, info)| info.parent == id) {
                what.push((path.clone(), info.device, info.root.clone()));
                ids.push(info.id);
            }
        }
        what.sort();
        found.push(Found { path: path.clone(), what });
    }
    found.sort();
    found.dedup_by(|a, b| a.path == b.path);
    found
}

/// Whether it is part of a stack that can be written to, whose metadata is mounted over itself to be read-only.
fn is_metadata(path: &Path, info: &MountInfo) -> bool {
    let names = [Class::Sysext, Class::Confext].map(state::metadata_directory);
    let found = names.into_iter().find(|name| path.as_os_str() == *name);
    found.is_some_and(|name| info.fs_type == b"overlay" && info.root == [b"/", name.as_bytes()].concat())
}

/// Puts copies into a tree that is not in place yet.
///
/// # Errors
///
/// `submount-point` when the tree has nothing, or something else, where the mount was.
pub(crate) fn attach(tree: BorrowedFd<'_>, submounts: &[Submount]) -> Result<()> {
    for submount in submounts {
        let path = submount.path.as_path();
        let again = submount.again.and_then(|attributes| bind_again(tree, path, attributes).ok());
        let copy = again.as_ref().unwrap_or(&submount.tree);
        sys::move_mount(copy.as_fd(), tree, path, Place::OnTop).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound
            | std::io::ErrorKind::NotADirectory
            | std::io::ErrorKind::InvalidInput => Error::conflict(
                "submount-point",
                path.display().to_string(),
                "an extension that has something else there",
                "a place for the mount that is there now",
            ),
            _ => Error::os("move_mount", path.display().to_string(), error),
        })?;
    }
    Ok(())
}

/// A copy of a directory in the tree itself. Before Linux 6.15 a tree that is not in place cannot be copied.
fn bind_again(tree: BorrowedFd<'_>, path: &Path, attributes: MountAttrFlags) -> std::io::Result<OwnedFd> {
    let copy = sys::clone_tree(tree, path, Depth::Single)?;
    make_private(copy.as_fd())?;
    // The ways of keeping access times exclude each other.
    let clear = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW
        | MountAttrFlags::MOUNT_ATTR_NODIRATIME
        | MountAttrFlags::MOUNT_ATTR__ATIME;
    let change = AttributeChange { clear, ..AttributeChange::set(attributes) };
    sys::set_attributes(copy.as_fd(), &change, Depth::Single)?;
    Ok(copy)
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
    /// Compares what can be seen on a stack with what it hides, and copies what is new.
    pub(crate) fn between(stack: BorrowedFd<'_>, hidden: &[Found]) -> Result<Self> {
        let seen = seen(stack)?;
        let stale = hidden.iter().filter(|hidden| !seen.contains(hidden)).map(|hidden| hidden.path.clone());
        let new = seen.iter().filter(|seen| !hidden.contains(seen)).map(|seen| copy_of(stack, seen));
        Ok(Self { stale: stale.collect(), new: new.collect::<Result<_>>()? })
    }

    /// Puts what is new where it belongs, by `place`, while the stack still hides it. What cannot be placed so is left for
    /// [`apply`](Self::apply).
    pub(crate) fn place(&mut self, place: impl Fn(BorrowedFd<'_>, &Path) -> std::io::Result<()>) {
        self.new.retain(|submount| place(submount.tree.as_fd(), &submount.path).is_err());
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
