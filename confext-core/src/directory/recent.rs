//! [`Recent`]: directories that were looked into last, kept open so that what is in them is found with one call

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::{self, OFlags, ResolveFlags};

/// As many as a walk goes back to, and few, because there is one such list for each tree.
const MOST: usize = 4;

/// The directories below one root that were used last, the latest at the end.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Vec<(Vec<u8>, Arc<OwnedFd>)>>);

impl Recent {
    /// The directory at `path`, opened as a place if it is not open.
    pub(super) fn directory(&self, root: BorrowedFd<'_>, path: &[u8]) -> io::Result<Arc<OwnedFd>> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = recent.iter().rposition(|(known, _)| known == path) {
            let found = recent.remove(at);
            let fd = Arc::clone(&found.1);
            recent.push(found);
            return Ok(fd);
        }
        // The longest part of the way that is open.
        let (from, rest) = recent
            .iter()
            .filter_map(|(known, fd)| Some((fd, path.strip_prefix(known.as_slice())?.strip_prefix(b"/")?)))
            .min_by_key(|(_, rest)| rest.len())
            .map_or((root, path), |(fd, rest)| (fd.as_fd(), rest));
        let fd = sys::open_path(from, rest, OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)?;
        Ok(push(&mut recent, path, Arc::new(fd)))
    }

    /// Takes a directory that was opened anyway.
    pub(super) fn add(&self, path: &[u8], fd: Arc<OwnedFd>) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|(known, _)| known != path);
        push(&mut recent, path, fd);
    }

    /// Closes all of them.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn push(recent: &mut Vec<(Vec<u8>, Arc<OwnedFd>)>, path: &[u8], fd: Arc<OwnedFd>) -> Arc<OwnedFd> {
    if recent.len() >= MOST {
        recent.remove(0);
    }
    recent.push((path.to_vec(), Arc::clone(&fd)));
    fd
}
