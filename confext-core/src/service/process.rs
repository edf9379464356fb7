//! [`Process`]: a process with a mount namespace of its own, held by descriptors, so that it is never mistaken for another

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::{self, Mode, OFlags};

/// A process whose mount namespace is its own: neither the caller's nor the one of process 1.
///
/// Its number is used only to find it. Everything after that goes by descriptors, which do not lead to another process that
/// gets the number when this one is gone.
///
/// ```
/// use confext_core::service::Process;
///
/// // A service has a mount namespace of its own, so that others see nothing of its refresh. This process has none.
/// let error = Process::open(std::process::id()).unwrap_err();
/// assert_eq!(error.code(), "process-namespace");
/// ```
///
/// [`main_process`](super::main_process) finds that of a unit:
///
/// ```no_run
/// use std::time::Duration;
///
/// use confext_core::service;
/// use confext_ddi::Limits;
///
/// let nginx = service::main_process("nginx", Duration::from_secs(5))?;
/// // What its extensions have to be for is what its own root says.
/// assert_eq!(nginx.host()?.release(&Limits::default())?.os_release.get("ID"), Some("debian"));
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Process(Arc<Held>);

#[derive(Debug)]
struct Held {
    pid: u32,
    /// `/proc/PID`
    directory: OwnedFd,
    namespace: OwnedFd,
    root: OwnedFd,
    owner: Owner,
}

/// Whose user namespace a mount namespace belongs to.
#[derive(Debug)]
enum Owner {
    Caller,
    /// One inside the caller's: a container's.
    Below(OwnedFd),
    /// One that the caller has no rights in.
    Elsewhere,
}

impl Process {
    /// Opens a process by its number.
    ///
    /// # Errors
    ///
    /// `process-gone`; `process-namespace` when it shares its mount namespace with the caller or with process 1; `os`.
    ///
    /// # Needs
    ///
    /// The right to look into the process (`CAP_SYS_PTRACE`); `/proc`; Linux 5.3.
    pub fn open(pid: u32) -> Result<Self> {
        let found = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH);
        let opened = found.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
        match opened {
            Ok(pidfd) => Self::of_pidfd(pidfd.as_fd()),
            Err(Errno::SRCH) => Err(gone(pid)),
            // A thread that is not the first of its process.
            Err(errno) => Err(Error::os("open", name(pid), errno)),
        }
    }

    /// Takes the process of an open pidfd.
    ///
    /// # Errors
    ///
    /// As [`Process::open`].
    pub fn of_pidfd(pidfd: BorrowedFd<'_>) -> Result<Self> {
        let pid = number(pidfd)?;
        let directory = match open_path(&format!("/proc/{pid}")) {
            Err(error) if is_gone(&error) => return Err(gone(pid)),
            opened => opened.map_err(|error| Error::os("open", name(pid), error))?,
        };
        // It is still there, so what was opened is its directory, and stays so.
        if number(pidfd)? != pid {
            return Err(gone(pid));
        }
        let inside = |what: &'static str, flags: OFlags| {
            let opened = rustix::fs::openat(&directory, what, flags | OFlags::CLOEXEC, Mode::empty());
            opened.map_err(|errno| match errno {
                Errno::NOENT | Errno::SRCH => gone(pid),
                errno => Error::os("open the namespaces of", name(pid), errno),
            })
        };
        if pid == 1 {
            let found = "the mount namespace of process 1";
            return Err(Error::conflict("process-namespace", name(pid), found, "one of its own"));
        }
        let namespace = inside("ns/mnt", OFlags::RDONLY)?;
        refuse_shared(pid, directory.as_fd(), namespace.as_fd())?;
        let root = inside("root", OFlags::PATH | OFlags::DIRECTORY)?;
        let owner = owner(namespace.as_fd()).map_err(|error| Error::os("ask whose is", name(pid), error))?;
        Ok(Self(Arc::new(Held { pid, directory, namespace, root, owner })))
    }

    /// Its number, for messages.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Its root directory, as it sees it.
    #[must_use]
    pub fn root(&self) -> BorrowedFd<'_> {
        self.0.root.as_fd()
    }

    /// Its root directory as a host: what its extensions are matched with.
    ///
    /// # Errors
    ///
    /// `os`.
    pub fn host(&self) -> Result<Host> {
        let root = self.0.root.try_clone();
        let root = root.map_err(|error| Error::os("open the root of", name(self.0.pid), error))?;
        Host::of_root(root, format!("/proc/{}/root", self.0.pid))
    }

    /// Keeps others from changing its mounts at the same time, until what is returned is dropped. The lock is on the mount
    /// namespace itself, so that nothing is left of it; a service that takes it holds up only itself.
    ///
    /// # Errors
    ///
    /// `locked` when another writer holds it for longer than `wait`; `process-gone`; `os`.
    pub(super) fn lock(&self, wait: Duration) -> Result<File> {
        const PAUSE: Duration = Duration::from_millis(2);
        let failed = |errno| Error::os("lock the mount namespace of", name(self.0.pid), errno);
        // Opened again: the lock belongs to what was opened, which may be shared.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(&self.0.directory, "ns/mnt", flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::SRCH) => return Err(gone(self.0.pid)),
            opened => opened.map_err(failed)?,
        };
        let started = Instant::now();
        loop {
            match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(opened.into()),
                Err(Errno::AGAIN) if started.elapsed() < wait => std::thread::sleep(PAUSE),
                Err(Errno::AGAIN) => {
                    let found = "a lock held by another writer";
                    return Err(Error::conflict("locked", name(self.0.pid), found, "no writer"));
                }
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    /// Refuses a mount namespace in which the caller has no rights.
    ///
    /// # Errors
    ///
    /// `process-users`.
    pub(super) fn require_users(&self) -> Result<()> {
        if !matches!(self.0.owner, Owner::Elsewhere) {
            return Ok(());
        }
        let found = "a mount namespace of a user namespace above the caller's, or beside it";
        Err(Error::conflict(
            "process-users",
            name(self.0.pid),
            found,
            "one of the caller's, or one inside it",
        ))
    }

    /// The user namespace that its mount namespace belongs to, if it is one inside the caller's. The root of that one may change
    /// mounts.
    pub(super) fn own_users(&self) -> Option<BorrowedFd<'_>> {
        match &self.0.owner {
            Owner::Below(users) => Some(users.as_fd()),
            Owner::Caller | Owner::Elsewhere => None,
        }
    }

    /// The calling thread goes to its mount namespace, whose root is the thread's then.
    ///
    /// The thread must not share root and working directory with others.
    ///
    /// # Errors
    ///
    /// `process-gone`; `process-changed` when it went elsewhere; `os`.
    pub(super) fn enter(&self) -> Result<()> {
        let failed = |error| Error::os("enter the mount namespace of", name(self.0.pid), error);
        let there = match rustix::fs::readlinkat(&self.0.directory, "ns/mnt", Vec::new()) {
            Err(Errno::NOENT | Errno::SRCH) => return Err(gone(self.0.pid)),
            there => there.map_err(|errno| failed(errno.into()))?,
        };
        let stat = directory::statx(self.0.namespace.as_fd()).map_err(failed)?;
        if there.as_bytes() != format!("mnt:[{}]", stat.stx_ino).as_bytes() {
            let found = "another mount namespace";
            return Err(Error::conflict("process-changed", name(self.0.pid), found, "the one from before"));
        }
        sys::enter_namespace(self.0.namespace.as_fd(), sys::NamespaceKind::Mount).map_err(failed)
    }
}

/// How it is called in messages.
pub(super) fn name(pid: u32) -> String {
    format!("process {pid}")
}

fn gone(pid: u32) -> Error {
    Error::conflict("process-gone", name(pid), "no such process", "one that is running")
}

fn is_gone(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::SRCH].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The number of a pidfd's process, as this `/proc` has it.
fn number(pidfd: BorrowedFd<'_>) -> Result<u32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(|error| Error::os("read", path.as_str(), error))?;
    let Some(pid) = text.lines().find_map(|line| line.strip_prefix("Pid:")) else {
        return Err(Error::os("ask for the process of", "a descriptor", Errno::BADF));
    };
    match pid.trim().parse() {
        // -1: it was waited for. 0: it is not in the process namespace of this `/proc`.
        Ok(0) | Err(_) => {
            let found = "one that is gone, or that this /proc does not show";
            Err(Error::conflict("process-gone", "the process", found, "one that is running"))
        }
        Ok(pid) => Ok(pid),
    }
}

fn refuse_shared(pid: u32, directory: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> Result<()> {
    let failed = |error| Error::os("compare the mount namespace of", name(pid), error);
    let shared = |whose| Err(Error::conflict("process-namespace", name(pid), whose, "one of its own"));
    let own = sys::current_mount_namespace().map_err(failed)?;
    if same(namespace, own.as_fd()).map_err(failed)? {
        return shared("the mount namespace of the caller");
    }
    // The namespace of process 1 cannot always be opened, its mounts can always be listed; and no mount is in two namespaces.
    let mounts = |process| sys::mounts_of(process).map_err(failed);
    let first = open_path("/proc/1").map_err(failed)?;
    let (first, found) = (mounts(first.as_fd())?, mounts(directory)?);
    if found.iter().any(|mount| first.iter().any(|other| other.id == mount.id)) {
        return shared("the mount namespace of process 1");
    }
    Ok(())
}

fn owner(namespace: BorrowedFd<'_>) -> io::Result<Owner> {
    let own = rustix::fs::open("/proc/thread-self/ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    match sys::owner_of(namespace) {
        Ok(owner) if same(owner.as_fd(), own.as_fd())? => Ok(Owner::Caller),
        Ok(owner) => Ok(Owner::Below(owner)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Owner::Elsewhere),
        Err(error) => Err(error),
    }
}

/// Whether two descriptors are of one file.
fn same(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> io::Result<bool> {
    let id = |fd| directory::statx(fd).map(|stat| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino));
    Ok(id(a)? == id(b)?)
}

fn open_path(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
