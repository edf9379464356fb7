//! [`Copies`]: directories of extensions without the mounts below them; one copy of a mount serves all in one place

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use confext_ddi::limits::Limits;
use confext_ddi::release::Class;
use rustix::fs::FileType;

use crate::directory::{self, Directory};
use crate::discover::Kind;
use crate::host::Host;
use crate::identity::Seen;
use crate::layer;
use crate::sys::{self, Depth, MountId, OFlags, ResolveFlags, Statx, StatxFlags};

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
    known: Mutex<BTreeMap<PathBuf, Option<Arc<Outer>>>>,
}

/// A search directory.
#[derive(Debug)]
struct Outer {
    directory: OwnedFd,
    /// The mount that it is on; `None` where that takes a call for each entry.
    mount: Option<MountId>,
    /// The copy of that mount.
    copy: Arc<OwnedFd>,
}

impl Copies {
    /// None yet.
    pub(crate) fn new(class: Class, limits: &Limits) -> Self {
        Self { class, limits: limits.clone(), known: Mutex::default() }
    }

    /// The directory at `path`, without the mounts below it, and what is seen of it from outside; `None` where it has to be
    /// opened by its path first: it is a mount point or no directory, or the search directory cannot be copied.
    pub(crate) fn find(&self, host: &Host, path: &Path) -> Option<(Place, Seen, Statx)> {
        let outer = self.outer(host, path.parent()?)?;
        let name = path.file_name()?;
        let (stat, mount) = sys::statx_and_mount_at(outer.directory.as_fd(), name, Seen::ASKED).ok()?;
        let is_directory = FileType::from_raw_mode(u32::from(stat.stx_mode)) == FileType::Directory;
        if !is_directory || mount.is_none() || mount != outer.mount {
            return None;
        }
        let place = self.inside(&outer, name, &stat)?;
        let seen = Seen::new(place.directory.fd(), Kind::Directory, (&stat, mount));
        Some((place, seen, stat))
    }

    /// `opened`, found at `path`, without the mounts below it. Who may not copy mounts may still look.
    pub(crate) fn without_mounts(
        &self,
        host: &Host,
        path: &Path,
        (opened, stat): (OwnedFd, &Statx),
    ) -> Place {
        let outer = path.parent().and_then(|outer| self.outer(host, outer));
        let inside = outer.and_then(|outer| self.inside(&outer, path.file_name()?, stat));
        if let Some(place) = inside {
            return place;
        }
        let directory = sys::clone_tree(opened.as_fd(), c"", Depth::Single).unwrap_or(opened);
        self.place(directory, None)
    }

    fn place(&self, directory: OwnedFd, mount: Option<Arc<OwnedFd>>) -> Place {
        Place { directory: Directory::new(directory, &self.limits), mount }
    }

    /// A search directory, and the copy of the mount that it is on. Only for that others wait.
    fn outer(&self, host: &Host, path: &Path) -> Option<Arc<Outer>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outer) = known.get(path) {
            return outer.clone();
        }
        let outer = host.open_path(path, OFlags::DIRECTORY).ok().and_then(|directory| {
            let copy = Arc::new(layer::copy_of_mount(directory.as_fd(), self.class).ok()?);
            let (_, mount) = sys::statx_and_mount_at(directory.as_fd(), c".", StatxFlags::empty()).ok()?;
            Some(Arc::new(Outer { directory, mount, copy }))
        });
        known.entry(path.to_owned()).or_insert(outer).clone()
    }

    /// The same directory, looked up in the copy; `None` when it is a mount point, or somewhere else.
    fn inside(&self, outer: &Outer, name: &OsStr, expected: &Statx) -> Option<Place> {
        let mount = Arc::clone(&outer.copy);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::NO_SYMLINKS;
        let directory = sys::open_beneath(mount.as_fd(), Path::new(name), flags, resolve).ok()?;
        let found = directory::statx(directory.as_fd()).ok()?;
        let id = |stat: &Statx| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        (id(&found) == id(expected)).then(|| self.place(directory, Some(mount)))
    }
}
