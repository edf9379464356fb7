//! [`Copies`]: directories of extensions without the mounts below them; one copy of a mount serves all in one place

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use confext_ddi::limits::Limits;
use confext_ddi::release::Class;

use crate::directory::{self, Directory};
use crate::host::Host;
use crate::layer;
use crate::sys::{self, Depth, OFlags, ResolveFlags, Statx};

/// The directory of an extension. What is mounted below it is no part of the extension and is not seen.
#[derive(Debug)]
pub(crate) struct Place {
    /// To be looked at once: what is judged, identified and planned is the same.
    pub(crate) directory: Directory,
    /// The copy of a mount that it is in, with the flags of a layer; it is there as long as this is open.
    pub(crate) mount: Option<Arc<OwnedFd>>,
}

/// Copies of the mounts that search directories are on. The kernel takes long to make one go, so there is one for each
/// search directory and not one for each extension.
#[derive(Debug)]
pub(crate) struct Copies {
    class: Class,
    limits: Limits,
    /// By search directory; `None` where it cannot be copied.
    known: Mutex<BTreeMap<PathBuf, Option<Arc<OwnedFd>>>>,
}

impl Copies {
    /// None yet.
    pub(crate) fn new(class: Class, limits: &Limits) -> Self {
        Self { class, limits: limits.clone(), known: Mutex::default() }
    }

    /// `opened`, found at `path`, without the mounts below it. Who may not copy mounts may still look.
    pub(crate) fn without_mounts(
        &self,
        host: &Host,
        path: &Path,
        (opened, stat): (OwnedFd, &Statx),
    ) -> Place {
        if let Some(place) = self.inside(host, path, stat) {
            return place;
        }
        let directory = sys::clone_tree(opened.as_fd(), c"", Depth::Single).unwrap_or(opened);
        self.place(directory, None)
    }

    fn place(&self, directory: OwnedFd, mount: Option<Arc<OwnedFd>>) -> Place {
        Place { directory: Directory::new(directory, &self.limits), mount }
    }

    /// The copy of the mount that a search directory is on. Only for that others wait.
    fn copy(&self, host: &Host, outer: &Path) -> Option<Arc<OwnedFd>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copy) = known.get(outer) {
            return copy.clone();
        }
        let directory = host.open_path(outer, OFlags::DIRECTORY).ok();
        let copy = directory.and_then(|directory| layer::copy_of_mount(directory.as_fd(), self.class).ok());
        known.entry(outer.to_owned()).or_insert(copy.map(Arc::new)).clone()
    }

    /// The same directory, looked up in the copy; `None` when it is a mount point, or somewhere else.
    fn inside(&self, host: &Host, path: &Path, expected: &Statx) -> Option<Place> {
        let (outer, name) = (path.parent()?, path.file_name()?);
        let mount = self.copy(host, outer)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::NO_SYMLINKS;
        let directory = sys::open_beneath(mount.as_fd(), Path::new(name), flags, resolve).ok()?;
        let found = directory::statx(directory.as_fd()).ok()?;
        let id = |stat: &Statx| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        (id(&found) == id(expected)).then(|| self.place(directory, Some(mount)))
    }
}
