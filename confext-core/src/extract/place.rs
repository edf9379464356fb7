//! Where files are extracted to: a directory that is there, or one beside the place it is to appear at.

use std::ffi::OsString;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::Sync;
use crate::error::{Error, Result};
use crate::sys::{self, ResolveFlags};

/// An open destination.
pub(super) struct Destination {
    path: PathBuf,
    root: OwnedFd,
    /// The directory it will be in, and its name until it is complete.
    staged: Option<(OwnedFd, OsString)>,
}

impl Destination {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let shown = || path.display().to_string();
        match open_directory(path) {
            Ok(root) => return Ok(Self { path: path.to_path_buf(), root, staged: None }),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let (found, expected) = ("no directory", "a directory, or nothing");
                return Err(Error::conflict("extract-destination", shown(), found, expected));
            }
            Err(errno) => return Err(Error::os("open", shown(), errno)),
        }
        if path.file_name().is_none() {
            let (found, expected) = ("no name at its end", "the path of a directory");
            return Err(Error::conflict("extract-destination", shown(), found, expected));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(parent, flags, Mode::empty())
            .map_err(|errno| Error::os("open", parent.display().to_string(), errno))?;
        let staged = OsString::from(format!(".#confext.{:016x}", random()));
        rustix::fs::mkdirat(&parent, &staged, Mode::RWXU)
            .map_err(|errno| Error::os("mkdir", shown(), errno))?;
        let root = match enter(parent.as_fd(), staged.as_bytes()) {
            Ok(root) => root,
            Err(error) => {
                // It is empty, and the first failure is the one to report.
                let _ = rustix::fs::unlinkat(&parent, &staged, AtFlags::REMOVEDIR);
                return Err(Error::os("open", shown(), error));
            }
        };
        Ok(Self { path: path.to_path_buf(), root, staged: Some((parent, staged)) })
    }

    pub(super) const fn root(&self) -> &OwnedFd {
        &self.root
    }

    pub(super) const fn is_new(&self) -> bool {
        self.staged.is_some()
    }

    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// Gives a complete new directory its name.
    pub(super) fn appear(&self, sync: Sync) -> Result<()> {
        let Some((parent, staged)) = &self.staged else { return Ok(()) };
        let name = self.path.file_name().unwrap_or_default();
        let renamed = rustix::fs::renameat_with(parent, staged, parent, name, RenameFlags::NOREPLACE);
        match renamed {
            Err(Errno::EXIST) => {
                let (found, expected) = ("something that was not there before", "nothing");
                return Err(Error::conflict("extract-exists", self.shown(), found, expected));
            }
            other => other.map_err(|errno| Error::os("rename", self.shown(), errno))?,
        }
        if sync == Sync::Now {
            rustix::fs::fsync(parent).map_err(|errno| Error::os("fsync", self.shown(), errno))?;
        }
        Ok(())
    }

    /// Removes what is left of a new directory, and returns the error with what could not be removed.
    pub(super) fn vanish(&self, mut left: Vec<String>, error: Error) -> Error {
        if let Some((parent, staged)) = &self.staged
            && rustix::fs::unlinkat(parent, staged, AtFlags::REMOVEDIR).is_err()
        {
            left.push(self.path.with_file_name(staged).display().to_string());
        }
        if left.is_empty() {
            return error;
        }
        leftover(&left, format!("{} paths after: {}", left.len(), error.explain()))
    }
}

/// What is still there and should not be.
pub(super) fn leftover(left: &[String], found: String) -> Error {
    /// So many are named.
    const SHOWN: usize = 20;
    let shown = left.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    Error::conflict("extract-leftover", shown, found, "nothing left behind")
}

/// A number that nobody can foresee.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Opens a directory in a directory: no link is followed.
pub(super) fn enter(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    sys::open_below(directory, name, flags, resolve)
}

/// Opens a directory below another, name by name.
pub(super) fn enter_all(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let mut at = root.try_clone_to_owned()?;
    for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        at = enter(at.as_fd(), name)?;
    }
    Ok(at)
}
