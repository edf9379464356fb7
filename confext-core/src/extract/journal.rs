//! What was made so far, to be undone when the rest fails.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use confext_ddi::Limits;
use confext_ddi::error::{Error as Fault, LimitExceeded};
use rustix::fs::{AtFlags, RenameFlags};

use super::place::{enter_all, leftover};
use crate::error::Result;

/// One step.
enum Step {
    /// A file, link or special file that was not there.
    File,
    /// A directory that was not there.
    Directory,
    /// A file that was made under this name, in the same directory, has been exchanged with what was there.
    Replaced(String),
    /// What was there has got this name, in the same directory.
    Aside(String),
}

/// The steps so far, in order, each with its path below the destination.
pub(super) struct Journal {
    steps: Vec<(Vec<u8>, Step)>,
    held_bytes: u64,
    most_bytes: u64,
}

impl Journal {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { steps: Vec::new(), held_bytes: 0, most_bytes: limits.manifest_bytes }
    }

    /// Makes sure that a step can be written down, before it is made.
    pub(super) fn reserve(&mut self, path: &[u8]) -> Result<()> {
        self.held_bytes = self.held_bytes.saturating_add(u64::try_from(path.len()).unwrap_or(u64::MAX));
        if self.held_bytes > self.most_bytes {
            let (what, found, most) = ("names of extracted files", self.held_bytes, self.most_bytes);
            return Err(Fault::from(LimitExceeded::Bytes { what, found, most }).into());
        }
        Ok(())
    }

    pub(super) fn made_file(&mut self, path: &[u8]) {
        self.steps.push((path.to_vec(), Step::File));
    }

    pub(super) fn made_directory(&mut self, path: &[u8]) {
        self.steps.push((path.to_vec(), Step::Directory));
    }

    pub(super) fn replaced(&mut self, path: &[u8], old: String) {
        self.steps.push((path.to_vec(), Step::Replaced(old)));
    }

    pub(super) fn set_aside(&mut self, path: &[u8], old: String) {
        self.steps.push((path.to_vec(), Step::Aside(old)));
    }

    /// Removes what was replaced.
    pub(super) fn commit(self, root: BorrowedFd<'_>) -> Result<()> {
        let mut left = Vec::new();
        for (path, step) in self.steps {
            if let Step::Replaced(old) | Step::Aside(old) = step
                && at(root, &path, |directory, _| rustix::fs::unlinkat(directory, &old, AtFlags::empty()))
                    .is_err()
            {
                left.push(shown(&path, old.as_bytes()));
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        Err(leftover(&left, format!("{} replaced files that cannot be removed", left.len())))
    }

    /// Takes everything back, last step first, and returns the paths where that failed.
    pub(super) fn undo(self, root: BorrowedFd<'_>) -> Vec<String> {
        let mut left = Vec::new();
        for (path, step) in self.steps.into_iter().rev() {
            let undone = at(root, &path, |directory, name| match &step {
                Step::File => rustix::fs::unlinkat(directory, name, AtFlags::empty()),
                Step::Directory => rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR),
                Step::Replaced(old) => {
                    rustix::fs::renameat_with(directory, old, directory, name, RenameFlags::EXCHANGE)
                }
                Step::Aside(old) => {
                    rustix::fs::renameat_with(directory, old, directory, name, RenameFlags::NOREPLACE)
                }
            });
            if undone.is_err() {
                left.push(shown(&path, b""));
            }
        }
        left
    }
}

/// Does something with a path's directory and name.
fn at(
    root: BorrowedFd<'_>,
    path: &[u8],
    act: impl FnOnce(&OwnedFd, &[u8]) -> rustix::io::Result<()>,
) -> std::io::Result<()> {
    let (parent, name) = split(path);
    Ok(act(&enter_all(root.as_fd(), parent)?, name)?)
}

/// The directory and the name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => {
            let (parent, rest) = path.split_at_checked(slash).unwrap_or((b"", path));
            (parent, rest.strip_prefix(b"/").unwrap_or(rest))
        }
        None => (b"", path),
    }
}

/// The path, or another name in its directory.
fn shown(path: &[u8], name: &[u8]) -> String {
    let (parent, own) = split(path);
    let name = if name.is_empty() { own } else { name };
    String::from_utf8_lossy(&crate::directory::join(parent, name)).into_owned()
}
