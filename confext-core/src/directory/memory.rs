//! [`Memory`]: what was seen of a tree, so that all who ask are told of one look at it

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use confext_ddi::error::Result;
use confext_ddi::fs::{DirEntry, Metadata, Xattr};

/// Answers by path. What failed is not kept: it is tried again.
#[derive(Debug, Default)]
pub(super) struct Memory {
    stats: Answers<Metadata>,
    lists: Answers<Vec<DirEntry>>,
    xattrs: Answers<Vec<Xattr>>,
}

impl Memory {
    pub(super) fn stat(&self, path: &[u8], look: impl FnOnce() -> Result<Metadata>) -> Result<Metadata> {
        self.stats.get(path, look)
    }

    pub(super) fn list(
        &self,
        path: &[u8],
        look: impl FnOnce() -> Result<Vec<DirEntry>>,
    ) -> Result<Vec<DirEntry>> {
        self.lists.get(path, look)
    }

    pub(super) fn xattrs(
        &self,
        path: &[u8],
        look: impl FnOnce() -> Result<Vec<Xattr>>,
    ) -> Result<Vec<Xattr>> {
        self.xattrs.get(path, look)
    }
}

#[derive(Debug)]
struct Answers<T>(Mutex<HashMap<Vec<u8>, T>>);

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Answers<T> {
    fn get(&self, path: &[u8], look: impl FnOnce() -> Result<T>) -> Result<T> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let seen = look()?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_vec(), seen.clone());
        Ok(seen)
    }
}
