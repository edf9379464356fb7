//! Putting assembled trees in place, all or none.
//!
//! ```text
//!  merge     host ◄── new                     one move over the host's directory
//!  refresh   host ◄── new ◄── old             one move beneath the old one, then the old one is detached:
//!            host ◄── new                     at no moment is there neither
//!  unmerge   host ◄── old                     the old one is detached
//! ```
//!
//! Each step can be undone with what was kept: of an old tree, a copy. When a later hierarchy fails, the earlier ones go
//! back the same way, without a gap.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use confext_ddi::release::Class;

use super::submounts::{self, Difference};
use super::{MountPoint, Tree, bare};
use crate::error::{Error, Result};
use crate::host::{Host, fd_path};
use crate::state::{self, Current};
use crate::sys::{self, Depth, Mode, OFlags, Place};

/// What is to happen to one hierarchy.
pub(crate) enum Step {
    /// Put a tree over the bare directory.
    Add(Tree),
    /// Put a tree in place of the one it replaces.
    Exchange(Tree),
    /// Take away the one that is there.
    Remove(&'static str, OwnedFd),
}

/// How to get back.
enum Undo<'s> {
    /// Take the new tree away.
    Detach(&'s Tree),
    /// Put the copy of the old tree in the new one's place.
    ExchangeBack(&'s Tree, OwnedFd),
    /// Put the copy of the old tree over the bare directory.
    AddBack(&'static str, OwnedFd),
}

/// Carries out all steps, or none.
///
/// # Errors
///
/// What the failed step says. If even going back fails, that second error is `rollback`: it says where.
pub(crate) fn place(host: &Host, class: Class, steps: &[Step]) -> Result<()> {
    let mut done: Vec<Undo<'_>> = Vec::new();
    for step in steps {
        match take(host, class, step) {
            Ok(undo) => done.push(undo),
            Err(error) => {
                for undo in done.into_iter().rev() {
                    go_back(host, &undo, &error)?;
                }
                for step in steps {
                    if let Step::Add(Tree { hierarchy, mount_point: MountPoint::Missing, .. }) = step {
                        unmake(host, hierarchy);
                    }
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

fn take<'s>(host: &Host, class: Class, step: &'s Step) -> Result<Undo<'s>> {
    match step {
        Step::Add(tree) => {
            if tree.mount_point == MountPoint::Missing {
                make(host, tree.hierarchy)?;
            }
            let target = open(host, tree.hierarchy)?;
            move_tree(host, tree.mount.as_fd(), tree.hierarchy, &target, Place::OnTop)?;
            Ok(Undo::Detach(tree))
        }
        Step::Exchange(tree) => {
            let old = match &tree.replaces {
                Some(old) => old,
                None => &open(host, tree.hierarchy)?,
            };
            let copy = copy(host, tree.hierarchy, old)?;
            exchange(host, tree.mount.as_fd(), tree.hierarchy, old)?;
            Ok(Undo::ExchangeBack(tree, copy))
        }
        Step::Remove(hierarchy, old) => {
            let undo = Undo::AddBack(hierarchy, copy(host, hierarchy, old)?);
            match remove(host, class, hierarchy) {
                Ok(()) => Ok(undo),
                // It may be gone although setting the mounts below right failed.
                Err(error) => match state::look(host, class, hierarchy) {
                    Ok(Current::Merged(_)) => Err(error),
                    _ => go_back(host, &undo, &error).and(Err(error)),
                },
            }
        }
    }
}

fn go_back(host: &Host, undo: &Undo<'_>, cause: &Error) -> Result<()> {
    let done = match undo {
        Undo::Detach(tree) => detach(host, tree.hierarchy, tree.mount.as_fd()),
        Undo::ExchangeBack(tree, old) => exchange(host, old.as_fd(), tree.hierarchy, &tree.mount),
        Undo::AddBack(hierarchy, old) => make(host, hierarchy)
            .and_then(|()| open(host, hierarchy))
            .and_then(|target| move_tree(host, old.as_fd(), hierarchy, &target, Place::OnTop)),
    };
    done.map_err(|error| {
        let found = format!("{} after {}", error.explain(), cause.explain());
        Error::conflict("rollback", host.path().display().to_string(), found, "the stack from before")
    })
}

/// A copy of a tree that is in place, to put it back; the original goes when it is taken away.
fn copy(host: &Host, hierarchy: &str, old: &OwnedFd) -> Result<OwnedFd> {
    let failed = |error| Error::os("copy", host.display(Path::new(hierarchy)), error);
    let copy = sys::clone_tree(old.as_fd(), c"", Depth::Recursive).map_err(failed)?;
    submounts::make_private(copy.as_fd()).map_err(failed)?;
    Ok(copy)
}

/// Puts `new` beneath `old`, then detaches `old`.
///
/// If the old one cannot be detached it stays on top, and the new one unseen beneath it until the next unmerge takes both:
/// `old` is mounted on `new` then, so that detaching `new` would take the old one along and leave the host bare.
fn exchange(host: &Host, new: BorrowedFd<'_>, hierarchy: &str, old: &OwnedFd) -> Result<()> {
    // Detaching goes through /proc: without it the exchange is not begun.
    fd_path(old.as_fd()).map_err(|error| Error::os("look up", host.display(Path::new(hierarchy)), error))?;
    // Before the kernel could put a mount beneath another one there is no way without a gap or a leftover.
    move_tree(host, new, hierarchy, old, Place::Beneath)?;
    detach(host, hierarchy, old.as_fd())
}

fn open(host: &Host, hierarchy: &str) -> Result<OwnedFd> {
    host.open_path(Path::new(hierarchy), OFlags::DIRECTORY)
        .map_err(|error| Error::os("open", host.display(Path::new(hierarchy)), error))
}

fn move_tree(
    host: &Host,
    tree: BorrowedFd<'_>,
    hierarchy: &str,
    target: &OwnedFd,
    place: Place,
) -> Result<()> {
    sys::move_mount(tree, target.as_fd(), c"", place)
        .map_err(|error| Error::os("move_mount", host.display(Path::new(hierarchy)), error))
}

fn detach(host: &Host, hierarchy: &str, mount: BorrowedFd<'_>) -> Result<()> {
    sys::detach(mount).map_err(|error| Error::os("umount", host.display(Path::new(hierarchy)), error))
}

/// Takes all stacks of a class off a hierarchy and sets the mounts below right.
///
/// # Errors
///
/// `os`. The stack is gone or not; mounts below that could not be put back are the first error.
pub(crate) fn remove(host: &Host, class: Class, hierarchy: &str) -> Result<()> {
    let Current::Merged(merged) = state::look(host, class, hierarchy)? else { return Ok(()) };
    let created = merged.record.as_ref().is_some_and(|record| record.created);
    let seen = submounts::copy(merged.top.as_fd())?;
    let hidden = bare::look_under(host, class, hierarchy)?.submounts;
    let difference = Difference::between(seen, &hidden);
    detach(host, hierarchy, merged.top.as_fd())?;
    drop(merged);
    while let Current::Merged(below) = state::look(host, class, hierarchy)? {
        detach(host, hierarchy, below.top.as_fd())?;
    }
    difference.apply(open(host, hierarchy)?.as_fd())?;
    if created {
        unmake(host, hierarchy);
    }
    Ok(())
}

/// Makes a hierarchy the host does not have, as a mount point.
fn make(host: &Host, hierarchy: &str) -> Result<()> {
    match rustix::fs::mkdirat(host.root(), hierarchy, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::os("make", host.display(Path::new(hierarchy)), errno)),
    }
}

/// Removes a mount point that was made; it stays when somebody put something into it.
fn unmake(host: &Host, hierarchy: &str) {
    let _ = rustix::fs::unlinkat(host.root(), hierarchy, rustix::fs::AtFlags::REMOVEDIR);
}
