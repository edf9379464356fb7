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
//!
//! A process that is killed between two steps leaves hierarchies that are each complete, old or new; between the two
//! calls of a refresh the old tree on top of the new one, which counts as two stacks. What comes next finishes that:
//! it takes the upper one away before it exchanges the lower one.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use confext_ddi::release::Class;

use super::bare::Parent;
use super::exchange::{Way, exchange, let_lookups_end, mount_hidden};
use super::retire::Retired;
use super::submounts::{self, Difference};
use super::{Lock, MountPoint, Tree, bare};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::state::{self, Merged};
use crate::sys::{self, Depth, Mode, Place};

/// What is to happen to one hierarchy.
pub(crate) enum Step {
    /// Put a tree over the bare directory.
    Add(Tree),
    /// Put a tree in place of the one it replaces.
    Exchange(Class, Tree, Way),
    /// Take away the one that is there.
    Remove(Removal),
}

/// A stack that is to go.
pub(crate) struct Removal {
    pub(crate) hierarchy: &'static str,
    class: Class,
    top: OwnedFd,
    /// Whether the directory was made for it.
    created: bool,
    /// What is to be done about a stack that could be written to.
    retired: Option<Retired>,
}

/// How to get back.
enum Undo<'s> {
    /// Take the new tree away.
    Detach(&'s Tree),
    /// Put the copy of the old tree in the new one's place.
    ExchangeBack(&'s Tree, OwnedFd, Way),
    /// Put the copy of the old tree over the bare directory.
    AddBack(&'s Removal, OwnedFd),
}

impl Removal {
    /// Looks at what there is to do; nothing is changed, but nobody can write to the stack any more until this is dropped.
    ///
    /// # Errors
    ///
    /// `os`; as [`Retired::begin`].
    pub(crate) fn new(
        host: &Host,
        class: Class,
        hierarchy: &'static str,
        merged: Merged,
        wait: Duration,
    ) -> Result<Self> {
        let retired = Retired::begin(host, class, hierarchy, &merged, wait)?;
        let created = merged.record.as_ref().is_some_and(|record| record.created);
        Ok(Self { hierarchy, class, top: merged.top, created, retired })
    }
}

impl Step {
    /// The hierarchy it happens to.
    pub(super) fn hierarchy(&self) -> &'static str {
        match self {
            Self::Add(tree) | Self::Exchange(_, tree, _) => tree.hierarchy,
            Self::Remove(removal) => removal.hierarchy,
        }
    }

    /// The stack that went, as long as somebody holds it.
    pub(super) fn old(&mut self) -> Option<OwnedFd> {
        match self {
            Self::Exchange(_, tree, _) => tree.replaces.take(),
            Self::Add(..) | Self::Remove(..) => None,
        }
    }

    /// All steps were taken: removes what the stacks that are gone needed.
    ///
    /// # Errors
    ///
    /// `os`: a work directory stays behind, until a later merge.
    pub(super) fn settle(self) -> Result<()> {
        match self {
            Self::Add(tree) | Self::Exchange(_, tree, _) => tree.settle(),
            Self::Remove(removal) => removal.retired.map_or(Ok(()), Retired::gone),
        }
    }
}

/// Carries out all steps, or none.
///
/// # Errors
///
/// What the failed step says. If even going back fails, that second error is `rollback`: it says where.
pub(crate) fn place(host: &Host, lock: &Lock, steps: &[Step]) -> Result<()> {
    // Made ready before the first change, so that little is left that can fail between it and the last one.
    let mut copies = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        // Nothing comes after the last one that could fail.
        let is_last = at.saturating_add(1) == steps.len();
        let needed = !is_last || matches!(step, Step::Remove(_));
        copies.push(if needed { copy_of_old(host, step)? } else { None });
    }
    let mut done: Vec<Undo<'_>> = Vec::new();
    for (step, copy) in steps.iter().zip(copies) {
        if let Err(error) = take(host, lock, (step, copy), &mut done) {
            // Each hierarchy that can go back does, whatever becomes of the others.
            let mut back = Ok(());
            for undo in done.into_iter().rev() {
                back = back.and(go_back(host, &undo, &error));
            }
            for step in steps {
                if let Step::Add(Tree { hierarchy, mount_point: MountPoint::Missing, .. }) = step {
                    lock.unmake(host, hierarchy);
                }
            }
            return back.and(Err(error));
        }
    }
    for step in steps {
        match step {
            // From now on the record in the stack says who made the directory.
            Step::Add(Tree { hierarchy, mount_point: MountPoint::Missing, .. }) => lock.forget(hierarchy),
            Step::Remove(Removal { hierarchy, created: true, .. }) => lock.unmake(host, hierarchy),
            _ => {}
        }
    }
    Ok(())
}

/// A copy of the tree that goes, to put it back; the original is gone when it is taken away.
fn copy_of_old(host: &Host, step: &Step) -> Result<Option<OwnedFd>> {
    let (hierarchy, old) = match step {
        Step::Add(..) => return Ok(None),
        Step::Exchange(_, tree, _) => match &tree.replaces {
            Some(old) => (tree.hierarchy, old),
            None => return Ok(None),
        },
        Step::Remove(removal) => (removal.hierarchy, &removal.top),
    };
    let failed = |error| Error::os("copy", host.display(Path::new(hierarchy)), error);
    let copy = sys::clone_tree(old.as_fd(), c"", Depth::Recursive).map_err(failed)?;
    submounts::make_private(copy.as_fd()).map_err(failed)?;
    Ok(Some(copy))
}

/// Takes one step; how to undo it goes to `done` as soon as there is something to undo.
fn take<'s>(
    host: &Host,
    lock: &Lock,
    (step, copy): (&'s Step, Option<OwnedFd>),
    done: &mut Vec<Undo<'s>>,
) -> Result<()> {
    match step {
        Step::Add(tree) => {
            if tree.mount_point == MountPoint::Missing {
                make(host, lock, tree.hierarchy)?;
            }
            let target = bare::open(host, tree.hierarchy)?;
            move_tree(host, tree.mount.as_fd(), tree.hierarchy, &target, Place::OnTop)?;
            done.push(Undo::Detach(tree));
            Ok(())
        }
        Step::Exchange(class, tree, way) => {
            let old = uppermost(host, *class, tree.hierarchy)?;
            exchange(host, *way, tree.hierarchy, (tree.mount.as_fd(), &old))?;
            done.extend(copy.map(|copy| Undo::ExchangeBack(tree, copy, *way)));
            Ok(())
        }
        Step::Remove(removal) => {
            let Removal { hierarchy, class, created, .. } = removal;
            if *created {
                lock.note(host, hierarchy)?;
            }
            let top = bare::open(host, hierarchy)?;
            is_stack(host, *class, hierarchy, &top)?;
            // Only now: an earlier step may have changed a stack below this one.
            let hidden = bare::look_under(host, *class, hierarchy, bare::Hidden::List)?.hidden;
            let mut difference = Difference::between(top.as_fd(), &hidden)?;
            // A process that ends after the next call must not take along what others have mounted.
            if let Some(parent) = Parent::of(host, &top) {
                difference.place(|tree, place| mount_hidden(tree, &parent, place));
            }
            detach(host, hierarchy, top.as_fd())?;
            done.extend(copy.map(|copy| Undo::AddBack(removal, copy)));
            loop {
                let below = bare::open(host, hierarchy)?;
                if is_stack(host, *class, hierarchy, &below).is_err() {
                    return difference.apply(below.as_fd());
                }
                detach(host, hierarchy, below.as_fd())?;
            }
        }
    }
}

fn go_back(host: &Host, undo: &Undo<'_>, cause: &Error) -> Result<()> {
    let done = match undo {
        Undo::Detach(tree) => detach(host, tree.hierarchy, tree.mount.as_fd()),
        // Not by its descriptor: what is there may be a copy that arrived by propagation.
        Undo::ExchangeBack(tree, old, way) => bare::open(host, tree.hierarchy)
            .and_then(|new| exchange(host, *way, tree.hierarchy, (old.as_fd(), &new))),
        Undo::AddBack(Removal { hierarchy, .. }, old) => bare::open(host, hierarchy)
            .and_then(|target| move_tree(host, old.as_fd(), hierarchy, &target, Place::OnTop)),
    };
    done.map_err(|error| {
        let found = format!("{} after {}", error.explain(), cause.explain());
        Error::conflict("rollback", host.path().display().to_string(), found, "the stack from before")
    })
}

/// The stack that is to be exchanged, looked up again: an earlier step may have carried it over to another mount. If an
/// interrupted exchange left two of them, the lower one, with the upper one taken away.
fn uppermost(host: &Host, class: Class, hierarchy: &str) -> Result<OwnedFd> {
    let mut top = bare::open(host, hierarchy)?;
    is_stack(host, class, hierarchy, &top)?;
    for _ in 1..bare::count(host, class, hierarchy, &top)? {
        detach(host, hierarchy, top.as_fd())?;
        top = bare::open(host, hierarchy)?;
        is_stack(host, class, hierarchy, &top)?;
    }
    Ok(top)
}

/// Whoever mounts over a stack while it is being changed does not hold our lock.
fn is_stack(host: &Host, class: Class, hierarchy: &str, top: &OwnedFd) -> Result<()> {
    let target = || host.display(Path::new(hierarchy));
    match state::is_stack(top.as_fd(), class) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::conflict(
            "stack-covered",
            target(),
            "something else on top",
            format!("the {class} stack"),
        )),
        Err(error) => Err(Error::os("read the metadata of", target(), error)),
    }
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
    let_lookups_end(mount);
    sys::detach(mount).map_err(|error| Error::os("umount", host.display(Path::new(hierarchy)), error))
}

/// Makes a hierarchy the host does not have, as a mount point. That it is to be made is written down before.
fn make(host: &Host, lock: &Lock, hierarchy: &str) -> Result<()> {
    lock.note(host, hierarchy)?;
    match rustix::fs::mkdirat(host.root(), hierarchy, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::os("make", host.display(Path::new(hierarchy)), errno)),
    }
}
