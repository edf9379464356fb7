//! The layer that writes go to: a directory of the host or of memory, with what an overlay needs beside it

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use confext_ddi::release::Class;
use confext_ddi::settings::Mutability;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::mutable::{DIRECTORY, Found, Target, component, read_only, same_file};
use super::overlay::copy_attributes;
use super::submounts;
use super::workdir::{self, Work};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::state::Mutable;
use crate::sys::{self, Depth, FsContext, Mode, MountAttrFlags, OFlags, Sharing};

/// What a hierarchy is made writable over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Over<'a> {
    pub(crate) host: &'a Host,
    pub(crate) class: Class,
    pub(crate) hierarchy: &'a str,
    /// The host's own directory; `None` where it has none.
    pub(crate) base: Option<BorrowedFd<'a>>,
    /// The work directory of the stack that is there now.
    pub(crate) occupied: Option<&'a Path>,
}

/// The layer that writes go to, with what an overlay needs beside it. What was made for it is removed when this is dropped,
/// unless it is kept.
#[derive(Debug)]
pub(crate) struct Upper {
    pub(crate) directory: OwnedFd,
    pub(crate) work: OwnedFd,
    /// A detached mount is gone with the descriptor it was made with, whatever else is open below it.
    _mount: OwnedFd,
    // In this order: what is beside a directory, then the directory.
    guard: Option<Work>,
    made: Vec<Made>,
}

impl Upper {
    /// The stack is in place: what was made for it stays, and what stacks before it left beside its work directory goes.
    ///
    /// # Errors
    ///
    /// `work-directory`, `os`: what could not be removed stays, until a later merge.
    pub(crate) fn keep(mut self, hierarchy: &str) -> Result<()> {
        self.made.iter_mut().for_each(|made| made.kept = true);
        self.guard.take().map_or(Ok(()), |work| work.keep_alone(hierarchy))
    }
}

/// A directory that was made on the way.
#[derive(Debug)]
struct Made {
    parent: OwnedFd,
    name: PathBuf,
    kept: bool,
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.kept {
            // It stays when somebody put something into it.
            let _ = rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
        }
    }
}

impl Target {
    /// Makes what is missing: the layer for writes, and what is written down about it.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check) for a directory that is made; `mutable-directory`, `work-directory`; `os`. Nothing is left
    /// behind.
    pub(crate) fn prepare(&self, over: &Over<'_>, mode: Mutability) -> Result<(Option<Upper>, Mutable)> {
        let planned = |target: &Self| target.planned(over.hierarchy, mode, over.occupied);
        Ok(match self {
            Self::Nothing | Self::Import(_) => (None, planned(self)),
            Self::Memory(_) => (Some(in_memory(over)?), planned(self)),
            Self::Directory(found) => {
                (Some(on_disk(over, found, found.fd.as_fd(), Vec::new())?), planned(self))
            }
            Self::Missing => {
                let (found, made) = make(over)?;
                let upper = on_disk(over, &found, found.fd.as_fd(), made)?;
                (Some(upper), planned(&Self::Directory(found)))
            }
            Self::Host(found) => {
                let base = over.base.unwrap_or(found.fd.as_fd());
                (Some(on_disk(over, found, base, Vec::new())?), planned(self))
            }
        })
    }
}

/// Opens the directory `expected`, and a new work directory beside it, below a private copy of the mount they are in.
fn on_disk(over: &Over<'_>, found: &Found, expected: BorrowedFd<'_>, made: Vec<Made>) -> Result<Upper> {
    let target = || over.host.display(&found.path);
    let failed = |error| Error::os("open", target(), error);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent =
        rustix::fs::openat(&found.fd, "..", flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let (outer, name) = (over.host.path_of(parent.as_fd()), found.path.file_name());
    let (Some(outer), Some(name)) = (outer, name) else { return Err(failed(Errno::STALE.into())) };
    let mount = sys::clone_tree(parent.as_fd(), c"", Depth::Single).map_err(failed)?;
    submounts::make_private(mount.as_fd()).map_err(failed)?;
    let directory =
        rustix::fs::openat(&mount, name, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    if !same_file(directory.as_fd(), expected).map_err(failed)? {
        let expected =
            "a directory on the file system of the one it is in: the work directory goes beside it";
        return Err(Error::conflict("mutable-directory", target(), "a mount of its own", expected));
    }
    let work = workdir::free(&outer, over.hierarchy, over.occupied);
    let name = work.file_name().unwrap_or_default().to_string_lossy();
    let guard = Work::make(mount.as_fd(), &name)?;
    Ok(Upper { directory, work: guard.open()?, _mount: mount, guard: Some(guard), made })
}

/// A directory in memory that looks like the hierarchy.
fn in_memory(over: &Over<'_>) -> Result<Upper> {
    let context = FsContext::open("tmpfs")?;
    context.set_string("source", over.class.as_str())?;
    context.set_string("mode", "0700")?;
    context.create(Sharing::Shared)?;
    let root = context.mount(MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    let failed = |error| Error::os("make", "a directory in memory", error);
    let make = |name: &str, mode| {
        rustix::fs::mkdirat(&root, name, Mode::from_raw_mode(mode))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&root, name, flags, Mode::empty())
    };
    let directory = make("upper", 0o755).map_err(|errno| failed(errno.into()))?;
    let work = make("work", 0o700).map_err(|errno| failed(errno.into()))?;
    if let Some(base) = over.base {
        copy_attributes(base, directory.as_fd()).map_err(failed)?;
    }
    Ok(Upper { directory, work, _mount: root, guard: None, made: Vec::new() })
}

/// Makes the directory of a hierarchy, with those on the way to it.
fn make(over: &Over<'_>) -> Result<(Found, Vec<Made>)> {
    let place = Path::new(DIRECTORY).join(component(over.hierarchy));
    let mut made = Vec::new();
    let (mut path, mut fd) = (PathBuf::new(), None);
    for name in &place {
        let outer = fd.take();
        path.push(name);
        let target = || over.host.display(&path);
        fd = Some(
            match over.host.open_path(&path, OFlags::DIRECTORY) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let parent = match outer {
                        Some(outer) => Ok(outer),
                        None => over.host.root().try_clone_to_owned(),
                    };
                    let parent = parent.map_err(|error| Error::os("open", target(), error))?;
                    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                        Ok(()) => {}
                        Err(Errno::EXIST) => {
                            let found = "a link to nothing";
                            return Err(Error::conflict("mutable-directory", target(), found, "a directory"));
                        }
                        Err(Errno::ROFS) => return Err(read_only(target())),
                        Err(errno) => return Err(Error::os("make", target(), errno)),
                    }
                    // The innermost first.
                    made.insert(0, Made { parent, name: PathBuf::from(name), kept: false });
                    over.host.open_path(&path, OFlags::DIRECTORY | OFlags::NOFOLLOW)
                }
                opened => opened,
            }
            .map_err(|error| Error::os("open", target(), error))?,
        );
    }
    let failed = |error| Error::os("make", over.host.display(&place), error);
    let fd = fd.ok_or_else(|| failed(Errno::NOENT.into()))?;
    if let Some(base) = over.base {
        copy_attributes(base, fd.as_fd()).map_err(failed)?;
    }
    let path = over.host.path_of(fd.as_fd()).ok_or_else(|| failed(Errno::STALE.into()))?;
    Ok((Found { fd, path }, made))
}
