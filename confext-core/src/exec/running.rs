//! [`Running`]: a command that runs with a stack: waited for, sent signals, and given another stack.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::namespace::Namespace;
use super::place::{Here, Identity, Mounts, Placed, Root as Opened};
use super::{Placement, Root};
use crate::error::{Error, Result};
use crate::sys::{self, Depth, Entry, NamespaceKind, Propagation, Signal, StartIn};

/// A command that was started with mounts in place. Dropped, it goes on.
///
/// ```no_run
/// use std::process::{Command, Stdio};
///
/// use confext_core::{Host, Options, Stack, exec::{Root, Running}};
/// use confext_ddi::release::Class;
///
/// let stack = Stack::assemble(&Host::open("/")?, Class::Confext, &Options::default())?;
/// let mut command = Command::new("cat");
/// command.arg("/etc/app.conf").stdout(Stdio::piped());
/// let running = Running::start(&Root::Host, stack.into_placements(), command)?;
/// assert_eq!(running.wait_with_output()?.stdout, b"answer = 42\n");
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    process: OwnedFd,
    root: Root,
    identity: Identity,
    place: Where,
    placed: Vec<Placed>,
}

/// Where its mounts are.
#[derive(Debug)]
enum Where {
    /// In a mount namespace that this process may enter; `None` without `/proc`.
    Mounts(Option<OwnedFd>),
    /// In a namespace of the user's.
    User(Arc<Namespace>),
}

/// What came of starting.
type Started = (Child, Where, Vec<Placed>);

impl Running {
    /// Starts a command with `placements` in place.
    ///
    /// The command gets a mount namespace of its own: mounts made on the host still reach it, nothing it or this function
    /// mounts reaches the host, and everything is gone with its last process. Nothing of the calling thread changes.
    ///
    /// Where the placements were made in a user namespace, the command is in there, too: with the same user and group, and
    /// without capabilities. It starts in the directory that the command names, looked up inside, else in the caller's, or in
    /// `/` where that cannot be reached.
    ///
    /// # Errors
    ///
    /// `os` when a mount or the command's start fails; `root-changed` when `root` was replaced while the namespace was
    /// made.
    ///
    /// # Needs
    ///
    /// `CAP_SYS_ADMIN`, and `CAP_SYS_CHROOT` for [`Root::Directory`], unless the placements bring a namespace; Linux 5.3.
    pub fn start(root: &Root, placements: Vec<Placement>, command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let identity = Identity::at(root.path())?;
        let namespace = placements.iter().find_map(|placement| placement.namespace.clone());
        let (child, place, placed) = match namespace {
            Some(namespace) => in_user_namespace(root, identity, (namespace, placements), command)?,
            None => on_a_thread(|| in_namespace(root, identity, placements, command))?,
        };
        let process = sys::open_child(child.id()).map_err(|error| Error::os("open", name.as_str(), error))?;
        Ok(Self { name, child, process, root: root.clone(), identity, place, placed })
    }

    /// Its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its process as a descriptor, which can be waited for with `poll`.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// Its standard input, where the command was told to pipe it; once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, where the command was told to pipe it; once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its standard error, where the command was told to pipe it; once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// `os`.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let name = self.name.as_str();
        let status = self.child.wait().map_err(|source| Error::os("wait for", name, source))?;
        self.let_go();
        Ok(status)
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    ///
    /// `os`.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        let name = self.name.as_str();
        let status = self.child.try_wait().map_err(|source| Error::os("wait for", name, source))?;
        if status.is_some() {
            self.let_go();
        }
        Ok(status)
    }

    /// Whoever still has this value keeps no mount and no device.
    fn let_go(&mut self) {
        self.placed.clear();
        self.place = Where::Mounts(None);
    }

    /// Waits for its end, but not longer than this; `None` when it still runs.
    ///
    /// # Errors
    ///
    /// `os`.
    pub fn wait_for(&mut self, most: Duration) -> Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            let left = most.saturating_sub(start.elapsed());
            let limit = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
            let mut wanted = [PollFd::new(&self.process, PollFlags::IN)];
            match rustix::event::poll(&mut wanted, Some(&limit)) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::os("wait for", self.name.as_str(), errno)),
                Ok(_) => return self.try_wait(),
            }
        }
    }

    /// Waits for its end and collects what it prints to pipes.
    ///
    /// # Errors
    ///
    /// `os`.
    pub fn wait_with_output(self) -> Result<Output> {
        let Self { name, child, .. } = self;
        child.wait_with_output().map_err(|source| Error::os("wait for", name, source))
    }

    /// Sends it a signal. A process that has its number later is never meant.
    ///
    /// # Errors
    ///
    /// `os`; none when it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match rustix::process::pidfd_send_signal(&self.process, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(Error::os("send a signal to", self.name.as_str(), errno)),
        }
    }

    /// Ends it at once, by `SIGKILL`.
    ///
    /// # Errors
    ///
    /// `os`; none when it has ended.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Puts other mounts in the place of those it was started with, while it runs; what it opens afterwards is of the new
    /// ones. At no moment is a file of both missing. A hierarchy that is not among the new ones is the host's again.
    ///
    /// They may come from another namespace of the same user.
    ///
    /// # Errors
    ///
    /// `not-running` when it has ended; `stack-covered` when something was mounted over a stack; `root-changed`; `os`.
    /// The command keeps what it had; `rollback` when that failed.
    ///
    /// # Needs
    ///
    /// Linux 6.5 where a mount takes the place of another.
    pub fn refresh(&mut self, placements: Vec<Placement>) -> Result<()> {
        if let Some(status) = self.try_wait()? {
            let target = format!("{} ({})", self.name, self.id());
            return Err(Error::conflict("not-running", target, status.to_string(), "a command that runs"));
        }
        let (path, identity, placed) = (self.root.path(), self.identity, &self.placed);
        let exchange =
            |mounts: &dyn Mounts, new| Opened::open(mounts, path, identity)?.exchange(mounts, placed, new);
        self.placed = match &self.place {
            Where::User(namespace) => exchange(&namespace.helper()?, placements)?,
            Where::Mounts(Some(mounts)) => on_a_thread(|| {
                let failed = |error| Error::os("enter", "the command's mount namespace", error);
                sys::unshare_directories().map_err(failed)?;
                sys::enter_namespace(mounts.as_fd(), NamespaceKind::Mount).map_err(failed)?;
                exchange(&Here, placements)
            })?,
            Where::Mounts(None) => {
                let why = "/proc was not mounted when it was started".to_owned();
                return Err(Error::Missing { what: "the command's mount namespace", why });
            }
        };
        Ok(())
    }
}

impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd()
    }
}

/// A namespace belongs to a thread, and a child starts in that of the thread that started it: no fork is needed in
/// between, and the caller's threads stay where they are.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("confext-exec".to_owned()).spawn_scoped(scope, work);
        match thread.map_err(|source| Error::os("start", "a thread", source))?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn in_namespace(
    root: &Root,
    identity: Identity,
    placements: Vec<Placement>,
    mut command: Command,
) -> Result<Started> {
    sys::unshare_mounts().map_err(|source| Error::os("unshare", "the mount namespace", source))?;
    // Slave: what the host mounts later still arrives, what is mounted here stays.
    sys::set_propagation(Path::new("/"), Propagation::Slave, Depth::Recursive)
        .map_err(|source| Error::os("make slave", "/", source))?;
    let mounts = sys::current_mount_namespace().ok();
    // The descriptor from before is in the other namespace, where nothing can be mounted from here.
    let opened = Opened::open(&Here, root.path(), identity)?;
    let placed = opened.place(&Here, placements)?;
    if let Root::Directory(path) = root {
        let os = |operation| move |source: Errno| Error::os(operation, path.display().to_string(), source);
        rustix::process::fchdir(opened.fd.as_fd()).map_err(os("change into"))?;
        rustix::process::chroot(c".").map_err(os("change root to"))?;
    }
    drop(opened);
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|source| Error::os("start", name, source))?;
    Ok((child, Where::Mounts(mounts), placed))
}

fn in_user_namespace(
    root: &Root,
    identity: Identity,
    (namespace, placements): (Arc<Namespace>, Vec<Placement>),
    mut command: Command,
) -> Result<Started> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |operation| {
        let name = name.clone();
        move |source| Error::os(operation, name, source)
    };
    let helper = namespace.helper()?;
    let opened = Opened::open(&helper, root.path(), identity)?;
    let placed = opened.place(&helper, placements)?;
    let named = command.get_current_dir().map(Path::to_path_buf);
    let text = |path: PathBuf| {
        CString::new(path.as_os_str().as_bytes()).map_err(|_| failed("start")(Errno::INVAL.into()))
    };
    let (root, here) = match root {
        Root::Host => (None, std::env::current_dir().ok()),
        Root::Directory(_) => (Some(opened.fd), None),
    };
    let directory = match named {
        Some(path) => StartIn::Named(text(path)?),
        None => StartIn::OrRoot(text(here.unwrap_or_else(|| PathBuf::from("/")))?),
    };
    // It goes there when it is inside; until then it has to be somewhere.
    command.current_dir("/");
    let (user, mounts) = namespace.descriptors().map_err(failed("start"))?;
    let child =
        sys::spawn_inside(command, Entry { user, mounts, root, directory }).map_err(failed("start"))?;
    Ok((child, Where::User(namespace), placed))
}
