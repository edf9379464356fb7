//! What makes a new version durable: locked, copied beside the others, on disk before it has its name, the name as well

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;

use crate::directory;
use crate::error::{Error, Result};
use crate::sys::{Mode, OFlags};
use std::os::fd::AsFd as _;

/// What a copy ends in that has no name yet: no image, and hidden.
const SUFFIX: &str = ".publish";
/// How often another writer is asked for.
const PAUSE: Duration = Duration::from_millis(5);

/// The directory, locked against other writers for as long as this is there.
#[derive(Debug)]
pub(super) struct Lock {
    _directory: OwnedFd,
}

impl Lock {
    pub(super) fn take(directory: &OwnedFd, path: &Path, wait: Duration) -> Result<Self> {
        let failed = |operation| move |errno: Errno| Error::os(operation, path.display().to_string(), errno);
        // Locks belong to what was opened: one of its own for each writer, also of one process.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = rustix::fs::openat(directory, c".", flags, Mode::empty()).map_err(failed("open"))?;
        let started = Instant::now();
        loop {
            match rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _directory: own }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if started.elapsed() < wait => {
                    std::thread::sleep(PAUSE);
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    let target = path.display().to_string();
                    let found = "a lock held by another writer";
                    return Err(Error::conflict("locked", target, found, "no writer"));
                }
                Err(errno) => return Err(failed("lock")(errno)),
            }
        }
    }
}

/// Removes what writers left that were killed. The lock is held: nobody is at it.
pub(super) fn clean_up(directory: &OwnedFd, path: &Path) -> Result<()> {
    let names = directory::names(directory.as_fd())
        .map_err(|errno| Error::os("list", path.display().to_string(), errno))?;
    for name in names.iter().filter(|name| name.starts_with(b".#") && name.ends_with(SUFFIX.as_bytes())) {
        rustix::fs::unlinkat(directory, &name[..], AtFlags::empty())
            .map_err(|errno| Error::os("remove what is left in", path.display().to_string(), errno))?;
    }
    Ok(())
}

/// Has the names of a directory written to disk.
pub(super) fn sync(directory: &OwnedFd, path: &Path) -> Result<()> {
    rustix::fs::fsync(directory).map_err(|errno| Error::os("sync", path.display().to_string(), errno))
}

/// Gives a file another name, which nothing has.
pub(super) fn rename(directory: &OwnedFd, path: &Path, from: &[u8], to: &[u8]) -> Result<()> {
    let target = || path.join(String::from_utf8_lossy(to).as_ref()).display().to_string();
    move_new(directory, from, to).map_err(|errno| named(&target(), errno))?;
    sync(directory, path)
}

fn named(target: &str, errno: Errno) -> Error {
    match errno {
        Errno::EXIST => Error::conflict("version-exists", target, "an entry of this name", "none"),
        errno => Error::os("rename to", target, errno),
    }
}

fn move_new(directory: &OwnedFd, from: &[u8], to: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        // A file system that cannot do that in one step.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::linkat(directory, from, directory, to, AtFlags::empty())?;
            rustix::fs::unlinkat(directory, from, AtFlags::empty())
        }
        done => done,
    }
}

/// Whether two files have the same bytes.
pub(super) fn same_bytes(mut a: &File, mut b: &File) -> io::Result<bool> {
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    a.rewind()?;
    b.rewind()?;
    let (mut a, mut b) = (io::BufReader::with_capacity(1 << 20, a), io::BufReader::with_capacity(1 << 20, b));
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = a.read(&mut left)?;
        let (left, right) =
            (left.get(..count).unwrap_or_default(), right.get_mut(..count).unwrap_or_default());
        match b.read_exact(right) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if count == 0 || left != right {
            return Ok(count == 0);
        }
    }
}

/// A copy that has no name that counts yet; dropped, it is gone.
#[derive(Debug)]
pub(super) struct Partial<'a> {
    file: File,
    directory: &'a OwnedFd,
    path: &'a Path,
    /// The name it has; `None` where the file system can do without.
    hidden: Option<String>,
}

impl<'a> Partial<'a> {
    /// Copies a file from its start, with its permissions.
    pub(super) fn copy(directory: &'a OwnedFd, path: &'a Path, source: &File) -> Result<Self> {
        let failed =
            |operation| move |source: io::Error| Error::os(operation, path.display().to_string(), source);
        let mut partial = Self::create(directory, path).map_err(failed("make"))?;
        let mut source = source;
        source.rewind().map_err(failed("copy to"))?;
        io::copy(&mut source, &mut partial.file).map_err(failed("copy to"))?;
        let permissions = source.metadata().map_err(failed("copy to"))?.permissions();
        partial.file.set_permissions(permissions).map_err(failed("copy to"))?;
        Ok(partial)
    }

    fn create(directory: &'a OwnedFd, path: &'a Path) -> io::Result<Self> {
        let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
        match rustix::fs::openat(directory, c".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(Self { file: file.into(), directory, path, hidden: None }),
            // The file system, or the kernel, has no files without a name.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let hidden = format!(".#{name}{SUFFIX}");
                let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let file = rustix::fs::openat(directory, hidden.as_str(), flags, mode)?;
                Ok(Self { file: file.into(), directory, path, hidden: Some(hidden) })
            }
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Puts it on disk, and then under its name, which nothing has; the name is on disk when this returns.
    pub(super) fn publish(mut self) -> Result<()> {
        let target = self.path.display().to_string();
        self.file.sync_all().map_err(|error| Error::os("sync", target.as_str(), error))?;
        let name = self.path.file_name().unwrap_or_default();
        let given = match &self.hidden {
            Some(hidden) => {
                use std::os::unix::ffi::OsStrExt as _;
                move_new(self.directory, hidden.as_bytes(), name.as_bytes())
            }
            None => link(&self.file, self.directory, name),
        };
        given.map_err(|errno| named(&target, errno))?;
        self.hidden = None;
        sync(self.directory, self.path).inspect_err(|_| {
            // Whether it would be there after a loss of power is not known: then it is not published.
            let _ = rustix::fs::unlinkat(self.directory, name, AtFlags::empty());
        })
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            // The next writer removes it otherwise.
            let _ = rustix::fs::unlinkat(self.directory, hidden.as_str(), AtFlags::empty());
        }
    }
}

/// Gives a file its first name.
fn link(file: &File, directory: &OwnedFd, name: &std::ffi::OsStr) -> rustix::io::Result<()> {
    match rustix::fs::linkat(file, c"", directory, name, AtFlags::EMPTY_PATH) {
        // Before Linux 6.10 that was for root only; everybody may go through /proc.
        Err(Errno::NOENT | Errno::PERM) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, path, directory, name, AtFlags::SYMLINK_FOLLOW)
        }
        done => done,
    }
}
