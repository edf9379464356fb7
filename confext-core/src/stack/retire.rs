//! A stack that can be written to goes: first nobody writes to it any more, last its work directory is removed.
//!
//! Two overlays must never write to one directory. So the *file system* of the old one is made read-only before a new one
//! is assembled, not only the mount: copies of the mount in other namespaces, those of services for example, are of the
//! same file system. They stay, and stay read-only.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use confext_ddi::release::Class;
use rustix::io::Errno;

use super::workdir::{self, Work};
use super::writers;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::state::{self, Merged, Writes};
use crate::sys::{ContextError, FsContext, OFlags};

/// Between two attempts. The kernel does not tell when the last writer closes its file.
const PAUSE: Duration = Duration::from_millis(20);

/// A stack that nobody can write to any more; when this is dropped, they can again.
#[derive(Debug)]
pub(crate) struct Retired {
    top: Option<OwnedFd>,
    /// The directory of its work directory, and the names that have to go.
    parent: Option<OwnedFd>,
    hierarchy: String,
    path: PathBuf,
}

impl Retired {
    /// Ends writing to a stack; `None` when it writes to no directory of the host.
    ///
    /// # Errors
    ///
    /// `work-directory` when what is written down is not the stack's work directory; `stack-busy` when files are still open
    /// for writing after `wait`; `os`. The stack is as it was then.
    pub(crate) fn begin(
        host: &Host,
        class: Class,
        hierarchy: &str,
        merged: &Merged,
        wait: Duration,
    ) -> Result<Option<Self>> {
        let Some(path) = work_path(host, class, hierarchy, merged)? else { return Ok(None) };
        let target = || host.display(Path::new(hierarchy));
        let top = merged.top.try_clone().map_err(|error| Error::os("hold", target(), error))?;
        let retired =
            |parent| Self { top: None, parent, hierarchy: hierarchy.to_owned(), path: path.clone() };
        let parent = path.parent().unwrap_or(Path::new(""));
        let mut retired = match host.open_path(parent, OFlags::DIRECTORY) {
            Ok(parent) => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                Work::existing(parent.as_fd(), &name.unwrap_or_default())?;
                retired(Some(parent))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => retired(None),
            Err(error) => return Err(Error::os("open", host.display(parent), error)),
        };
        freeze(top.as_fd(), &target(), wait)?;
        retired.top = Some(top);
        Ok(Some(retired))
    }

    /// The work directory it has, inside the root.
    pub(crate) fn work_path(&self) -> &Path {
        &self.path
    }

    /// The stack is gone and another one is in its place: removes its work directory.
    ///
    /// # Errors
    ///
    /// `os`: the directory stays where it is until a later merge.
    pub(crate) fn replaced(mut self) -> Result<()> {
        self.top = None;
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        self.remove(&name.unwrap_or_default())
    }

    /// The stack is gone: removes its work directory, and what a refresh that was interrupted left beside it.
    ///
    /// # Errors
    ///
    /// As [`replaced`](Self::replaced).
    pub(crate) fn gone(mut self) -> Result<()> {
        self.top = None;
        workdir::names(&self.hierarchy).iter().try_for_each(|name| self.remove(name))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let Some(parent) = &self.parent else { return Ok(()) };
        let Some(work) = Work::existing(parent.as_fd(), name)? else { return Ok(()) };
        work.remove().map_err(|error| Error::os("remove the work directory", name, error))
    }
}

impl Drop for Retired {
    fn drop(&mut self) {
        if let Some(top) = &self.top {
            // Where even this fails the next refresh sees that the stack is read-only, and replaces it.
            let _ = set(top.as_fd(), "rw");
        }
    }
}

/// Removes what an interrupted change left beside the work directory of a stack that stays.
///
/// # Errors
///
/// `work-directory`; `os`.
pub(super) fn tidy(host: &Host, class: Class, hierarchy: &str, merged: &Merged) -> Result<()> {
    let Some(path) = work_path(host, class, hierarchy, merged)? else { return Ok(()) };
    let parent = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parent = host.open_path(parent, OFlags::DIRECTORY);
    let parent = parent.map_err(|error| Error::os("open", host.display(&path), error))?;
    workdir::remove_beside(parent.as_fd(), hierarchy, &name)
}

/// The work directory that is written down, if the stack has one; checked as far as text can be.
///
/// # Errors
///
/// `work-directory`; `os`.
pub(super) fn work_path(
    host: &Host,
    class: Class,
    hierarchy: &str,
    merged: &Merged,
) -> Result<Option<PathBuf>> {
    let (path, beside) = match merged.record.as_ref().map(|record| &record.mutable.writes) {
        Some(Writes::Nowhere | Writes::Memory) => return Ok(None),
        Some(Writes::Directory { path, work }) => (PathBuf::from(work), Some(PathBuf::from(path))),
        Some(Writes::Host { work }) => (PathBuf::from(work), None),
        None => {
            let Some(line) = read(host, class, (hierarchy, "work_dir"), merged)? else { return Ok(None) };
            (workdir::from_line(&line)?, directory(host, class, hierarchy, merged)?)
        }
    };
    let named = workdir::names(hierarchy).iter().any(|name| path.file_name() == Some(name.as_ref()));
    let placed = beside.as_ref().is_none_or(|directory| directory.parent() == path.parent());
    if !workdir::is_normalized(&path) || !named || !placed {
        let expected = match &beside {
            Some(directory) => format!("a work directory beside {}", directory.display()),
            None => "a work directory".to_owned(),
        };
        let target = host.display(Path::new(hierarchy));
        return Err(Error::conflict("work-directory", target, path.display().to_string(), expected));
    }
    Ok(Some(path))
}

/// The directory of the host that a stack writes to, if that is another one than the hierarchy itself.
///
/// # Errors
///
/// `os`.
pub(super) fn directory(
    host: &Host,
    class: Class,
    hierarchy: &str,
    merged: &Merged,
) -> Result<Option<PathBuf>> {
    match merged.record.as_ref().map(|record| &record.mutable.writes) {
        Some(Writes::Directory { path, .. }) => return Ok(Some(PathBuf::from(path))),
        Some(_) => return Ok(None),
        None => {}
    }
    // systemd writes it down for itself, from version 260 on; where it writes to none there is no work directory either.
    if read(host, class, (hierarchy, "work_dir"), merged)?.is_none() {
        return Ok(None);
    }
    let origin = read(host, class, (hierarchy, "origin"), merged)?.unwrap_or_default();
    let origin: serde_json::Value = serde_json::from_slice(&origin).unwrap_or_default();
    let all = origin.get("mutable").and_then(|mutable| mutable.get("mutableDirs"));
    let path = all.and_then(|all| all.get(format!("/{hierarchy}"))?.as_str());
    Ok(path.map(|path| PathBuf::from(path.trim_start_matches('/'))))
}

fn read(
    host: &Host,
    class: Class,
    (hierarchy, name): (&str, &str),
    merged: &Merged,
) -> Result<Option<Vec<u8>>> {
    state::read(merged.top.as_fd(), class, name)
        .map_err(|error| Error::os("read the metadata of", host.display(Path::new(hierarchy)), error))
}

/// Makes the file system of a stack read-only, wherever it is mounted.
fn freeze(top: BorrowedFd<'_>, target: &str, wait: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        match set(top, "ro") {
            Err(error) if error.source.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                if started.elapsed() >= wait {
                    let found = writers::first(top);
                    let found = found.unwrap_or_else(|| "files that are open for writing".to_owned());
                    return Err(Error::conflict("stack-busy", target, found, "none, for a moment"));
                }
                std::thread::sleep(PAUSE);
            }
            done => return Ok(done?),
        }
    }
}

fn set(top: BorrowedFd<'_>, flag: &str) -> Result<(), ContextError> {
    let context = FsContext::pick(top)?;
    context.set_flag(flag)?;
    context.reconfigure()
}
