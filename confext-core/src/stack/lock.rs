//! One lock for everything that changes a stack below a root directory, both classes alike.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation};
use rustix::io::Errno;

use crate::directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::{Mode, OFlags};

/// Only the root user can reach the file, so nobody else can hold writers up; it is gone when nobody holds it.
const DIRECTORY: &str = "run/confext";
const FILE: &str = "lock";
/// Beside it, for each hierarchy whose directory is about to be made or removed, an empty file of this name and its own:
/// who takes the lock after a killed process knows by it that the directory is nobody's.
const NOTE: &str = "made-";
/// Between two attempts, at first and at most. The kernel could wake us, but not with a limit on the time.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The lock, held until it is dropped: `flock` on `<root>/run/confext/lock`.
#[derive(Debug)]
pub(crate) struct Lock {
    directory: OwnedFd,
    run: OwnedFd,
    /// The root, when it had no `run`: whoever made it removes it, if it is not in use by then.
    made_run: Option<OwnedFd>,
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting for at most `wait`.
    ///
    /// # Errors
    ///
    /// `locked` when another writer holds it; `os`.
    pub(crate) fn take(host: &Host, wait: Duration) -> Result<Self> {
        let failed =
            |source: io::Error| Error::os("lock", host.display(&Path::new(DIRECTORY).join(FILE)), source);
        let started = Instant::now();
        let mut pause = PAUSE;
        loop {
            match Self::attempt(host) {
                Ok(Some(lock)) => {
                    lock.clean_up(host).map_err(failed)?;
                    return Ok(lock);
                }
                // Somebody else removed the file or its directory between two of our calls.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => {
                    std::thread::sleep(pause);
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
                Ok(None) => {}
                Err(error) => return Err(failed(error)),
            }
            if started.elapsed() >= wait {
                let target = host.display(&Path::new(DIRECTORY).join(FILE));
                return Err(Error::conflict("locked", target, "a lock held by another writer", "no writer"));
            }
        }
    }

    /// `None` when the file was replaced while we waited for it.
    fn attempt(host: &Host) -> io::Result<Option<Self>> {
        let made_run = make_directory(host.root(), "run", 0o755)?;
        let run = host.open_path(Path::new("run"), OFlags::DIRECTORY)?;
        let attempt = Self::attempt_in(host, &run, made_run);
        if attempt.is_err() {
            // It may be there only for us. Somebody else's is not empty.
            let _ = rustix::fs::unlinkat(&run, "confext", AtFlags::REMOVEDIR);
            if made_run {
                let _ = rustix::fs::unlinkat(host.root(), "run", AtFlags::REMOVEDIR);
            }
        }
        attempt
    }

    fn attempt_in(host: &Host, run: &OwnedFd, made_run: bool) -> io::Result<Option<Self>> {
        let run = run.try_clone()?;
        make_directory(run.as_fd(), "confext", 0o700)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&run, "confext", flags, Mode::empty())?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&directory, FILE, flags, Mode::from_raw_mode(0o600))?);
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let held = directory::statx(file.as_fd())?;
        let named = rustix::fs::openat(
            &directory,
            FILE,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let named = directory::statx(named.as_fd())?;
        let same = (held.stx_ino, held.stx_dev_major, held.stx_dev_minor)
            == (named.stx_ino, named.stx_dev_major, named.stx_dev_minor);
        let made_run = if made_run { Some(host.root().try_clone_to_owned()?) } else { None };
        Ok(same.then_some(Self { directory, run, made_run, _file: file }))
    }

    /// Writes down that the directory of a hierarchy is there only for a stack: it is about to be made, or removed.
    ///
    /// # Errors
    ///
    /// `os`.
    pub(crate) fn note(&self, host: &Host, hierarchy: &str) -> Result<()> {
        let name = format!("{NOTE}{hierarchy}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, name.as_str(), flags, Mode::from_raw_mode(0o600))
            .map(drop)
            .map_err(|errno| Error::os("write", host.display(&Path::new(DIRECTORY).join(name)), errno))
    }

    /// The directory is gone, or the stack over it says itself that it was made.
    pub(crate) fn forget(&self, hierarchy: &str) {
        let _ = rustix::fs::unlinkat(&self.directory, format!("{NOTE}{hierarchy}"), AtFlags::empty());
    }

    /// Removes a directory that was made; it stays when somebody put something into it or over it. If it cannot be told,
    /// the next one tries again.
    pub(crate) fn unmake(&self, host: &Host, hierarchy: &str) {
        match rustix::fs::unlinkat(host.root(), hierarchy, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY | Errno::NOTDIR) => {
                self.forget(hierarchy);
            }
            Err(_) => {}
        }
    }

    /// Removes directories that a killed process made and put nothing over. One that is in use is not empty or busy.
    fn clean_up(&self, host: &Host) -> io::Result<()> {
        for name in directory::names(self.directory.as_fd())? {
            let Some(hierarchy) =
                name.strip_prefix(NOTE.as_bytes()).map(|name| String::from_utf8_lossy(name))
            else {
                continue;
            };
            self.unmake(host, &hierarchy);
        }
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held: whoever waits for the old file sees that it lost its name and starts again.
        let _ = rustix::fs::unlinkat(&self.directory, FILE, AtFlags::empty());
        let _ = rustix::fs::unlinkat(&self.run, "confext", AtFlags::REMOVEDIR);
        if let Some(root) = &self.made_run {
            let _ = rustix::fs::unlinkat(root, "run", AtFlags::REMOVEDIR);
        }
    }
}

/// Whether it had to be made.
fn make_directory(parent: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<bool> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_writer_at_a_time_and_nothing_left() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("run")).unwrap();
        let host = Host::open(root.path()).unwrap();
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let lock = Lock::take(&host, Duration::from_secs(60)).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(!root.path().join("run/confext").exists());
    }

    #[test]
    fn a_held_lock_is_a_conflict() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::open(root.path()).unwrap();
        let held = Lock::take(&host, Duration::ZERO).unwrap();
        assert_eq!(Lock::take(&host, Duration::ZERO).unwrap_err().code(), "locked");
        drop(held);
        drop(Lock::take(&host, Duration::ZERO).unwrap());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_made_is_removed_unless_it_is_used() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::open(root.path()).unwrap();
        for path in ["run/confext", "opt", "usr/kept"] {
            std::fs::create_dir_all(root.path().join(path)).unwrap();
        }
        for note in ["made-opt", "made-usr", "made-etc", "lock"] {
            std::fs::write(root.path().join("run/confext").join(note), b"").unwrap();
        }
        let lock = Lock::take(&host, Duration::ZERO).unwrap();
        lock.note(&host, "opt").unwrap();
        lock.forget("opt");
        drop(lock);
        assert!(!root.path().join("run/confext").exists());
        assert!(!root.path().join("opt").exists());
        assert!(root.path().join("usr/kept").exists());
    }
}
