//! Mounts put in place for a command, and exchanged under it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, StatxFlags};

use super::Placement;
use crate::error::{Error, Result};
use crate::sys::{self, Depth, Helper, OFlags, Place, ResolveFlags};

/// Who mounts in the command's namespace.
pub(super) trait Mounts {
    fn open(&self, path: &Path) -> io::Result<OwnedFd>;
    fn clone_tree(&self, dir: BorrowedFd<'_>) -> io::Result<OwnedFd>;
    fn move_mount(&self, tree: BorrowedFd<'_>, dir: BorrowedFd<'_>, place: Place) -> io::Result<()>;
    fn detach(&self, mount: BorrowedFd<'_>) -> io::Result<()>;
}

/// The calling thread, which is in it.
pub(super) struct Here;

impl Mounts for Here {
    fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(path, flags, sys::Mode::empty())?)
    }

    fn clone_tree(&self, dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        sys::clone_tree(dir, c"", Depth::Recursive)
    }

    fn move_mount(&self, tree: BorrowedFd<'_>, dir: BorrowedFd<'_>, place: Place) -> io::Result<()> {
        sys::move_mount(tree, dir, c"", place)
    }

    fn detach(&self, mount: BorrowedFd<'_>) -> io::Result<()> {
        sys::detach(mount)
    }
}

impl Mounts for Helper {
    fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        Self::open(self, path)
    }

    fn clone_tree(&self, dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        Self::clone_tree(self, dir, Path::new(""), Depth::Recursive)
    }

    fn move_mount(&self, tree: BorrowedFd<'_>, dir: BorrowedFd<'_>, place: Place) -> io::Result<()> {
        Self::move_mount(self, tree, dir, Path::new(""), place)
    }

    fn detach(&self, mount: BorrowedFd<'_>) -> io::Result<()> {
        Self::detach(self, mount)
    }
}

/// A root directory as a namespace has it.
pub(super) struct Root<'a> {
    pub(super) fd: OwnedFd,
    path: &'a Path,
}

impl<'a> Root<'a> {
    /// Opens it in the namespace of `mounts`.
    ///
    /// # Errors
    ///
    /// `os`; `root-changed` when it is not the directory `expected`, which was opened before or elsewhere.
    pub(super) fn open(mounts: &dyn Mounts, path: &'a Path, expected: Identity) -> Result<Self> {
        let fd = mounts.open(path).map_err(|error| Error::os("open", path.display().to_string(), error))?;
        let found = Identity::of(fd.as_fd(), path)?;
        if found == expected {
            return Ok(Self { fd, path });
        }
        let show = |Identity(major, minor, inode)| format!("{major}:{minor} inode {inode}");
        Err(Error::conflict("root-changed", path.display().to_string(), show(found), show(expected)))
    }

    fn show(&self, hierarchy: &Path) -> String {
        self.path.join(hierarchy).display().to_string()
    }

    fn open_hierarchy(&self, hierarchy: &Path) -> Result<OwnedFd> {
        sys::open_path(self.fd.as_fd(), hierarchy, OFlags::DIRECTORY, ResolveFlags::NO_MAGICLINKS)
            .map_err(|error| Error::os("open", self.show(hierarchy), error))
    }

    /// Puts trees on top of what is there.
    ///
    /// # Errors
    ///
    /// `os`.
    pub(super) fn place(&self, mounts: &dyn Mounts, placements: Vec<Placement>) -> Result<Vec<Placed>> {
        placements.into_iter().map(|placement| self.place_one(mounts, placement)).collect()
    }

    fn place_one(&self, mounts: &dyn Mounts, placement: Placement) -> Result<Placed> {
        let target = self.open_hierarchy(&placement.hierarchy)?;
        mounts
            .move_mount(placement.tree.as_fd(), target.as_fd(), Place::OnTop)
            .map_err(|error| Error::os("mount on", self.show(&placement.hierarchy), error))?;
        Ok(Placed { hierarchy: placement.hierarchy, tree: Arc::new(placement.tree) })
    }

    /// Puts `new` in the place of `old`, all or none.
    ///
    /// # Errors
    ///
    /// `stack-covered` when something else was mounted over one of them; `os`. What was there is there again then;
    /// `rollback` when that failed.
    pub(super) fn exchange(
        &self,
        mounts: &dyn Mounts,
        old: &[Placed],
        new: Vec<Placement>,
    ) -> Result<Vec<Placed>> {
        for placed in old {
            self.check_top(placed)?;
        }
        let copy = |placed: &Placed| {
            let failed = |error| Error::os("copy", self.show(&placed.hierarchy), error);
            let tree = mounts.clone_tree(placed.tree.as_fd()).map_err(failed)?;
            Ok(Placement { hierarchy: placed.hierarchy.clone(), tree, namespace: None })
        };
        // A mount that was detached cannot come back, a copy can.
        let before = old.iter().map(copy).collect::<Result<Vec<_>>>()?;
        let mut now = old.to_vec();
        match self.bring(mounts, &mut now, new) {
            Ok(()) => Ok(now),
            Err(error) => match self.bring(mounts, &mut now, before) {
                Ok(()) => Err(error),
                Err(second) => {
                    let found = format!("{}, and then {}", error.explain(), second.explain());
                    let expected = "the stack from before";
                    Err(Error::conflict("rollback", self.path.display().to_string(), found, expected))
                }
            },
        }
    }

    /// Makes `now` what `wanted` is, one hierarchy after the other; `now` is always what is in place.
    fn bring(&self, mounts: &dyn Mounts, now: &mut Vec<Placed>, wanted: Vec<Placement>) -> Result<()> {
        let kept: Vec<_> = wanted.iter().map(|placement| placement.hierarchy.clone()).collect();
        for placement in wanted {
            match now.iter_mut().find(|placed| placed.hierarchy == placement.hierarchy) {
                None => now.push(self.place_one(mounts, placement)?),
                Some(placed) => {
                    let failed = |operation| {
                        let shown = self.show(&placement.hierarchy);
                        move |error| Error::os(operation, shown, error)
                    };
                    mounts
                        .move_mount(placement.tree.as_fd(), placed.tree.as_fd(), Place::Beneath)
                        .map_err(failed("mount beneath"))?;
                    take_off(mounts, placed.tree.as_fd()).map_err(failed("umount"))?;
                    placed.tree = Arc::new(placement.tree);
                }
            }
        }
        while let Some(at) = now.iter().position(|placed| !kept.contains(&placed.hierarchy)) {
            if let Some(placed) = now.get(at) {
                take_off(mounts, placed.tree.as_fd())
                    .map_err(|error| Error::os("umount", self.show(&placed.hierarchy), error))?;
            }
            now.remove(at);
        }
        Ok(())
    }

    fn check_top(&self, placed: &Placed) -> Result<()> {
        let shown = || self.show(&placed.hierarchy);
        let failed = |error| Error::os("ask about the mount of", shown(), error);
        let top = self.open_hierarchy(&placed.hierarchy)?;
        let found = sys::mount_id(top.as_fd()).map_err(failed)?;
        let expected = sys::mount_id(placed.tree.as_fd()).map_err(failed)?;
        if found == expected {
            return Ok(());
        }
        Err(Error::conflict("stack-covered", shown(), "another mount", "the stack that was placed there"))
    }
}

/// A lookup that is in a stack already still finds the mounts below it: see the exchange of merged stacks.
fn take_off(mounts: &dyn Mounts, tree: BorrowedFd<'_>) -> io::Result<()> {
    const LOOKUP: Duration = Duration::from_millis(10);
    std::thread::sleep(LOOKUP);
    mounts.detach(tree).or_else(|_| mounts.detach(tree))
}

/// A tree that was put in place.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    hierarchy: PathBuf,
    tree: Arc<OwnedFd>,
}

/// Which directory it is: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u32, u32, u64);

impl Identity {
    pub(super) fn of(fd: BorrowedFd<'_>, path: &Path) -> Result<Self> {
        sys::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::INO)
            .map(|stat| Self(stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
            .map_err(|source| Error::os("stat", path.display().to_string(), source))
    }

    pub(super) fn at(path: &Path) -> Result<Self> {
        let fd = Here.open(path).map_err(|error| Error::os("open", path.display().to_string(), error))?;
        Self::of(fd.as_fd(), path)
    }
}
