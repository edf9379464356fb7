//! [`run`]: a command in its own mount namespace, with detached mounts in place that nobody else sees.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{AtFlags, StatxFlags};

use crate::error::{Error, Result};
use crate::sys::{self, Depth, OFlags, Place, Propagation, ResolveFlags};

/// A detached mount and where it goes.
#[derive(Debug)]
pub struct Placement {
    /// The directory it covers, below the root: `etc`.
    pub hierarchy: PathBuf,
    /// The mount, from `fsmount` or a detached copy.
    pub tree: OwnedFd,
}

/// The file tree a command sees.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Root {
    /// The host's own, with the mounts below `/`.
    Host,
    /// The mounts are put below this directory and the command sees it as `/`.
    Directory(PathBuf),
}

/// Runs a command with `placements` in place, waits for it and returns its exit status, with its output where the
/// command was told to pipe it.
///
/// The command gets a mount namespace of its own: mounts made on the host still reach it, nothing it or this function
/// mounts reaches the host, and everything is gone with its last process. Nothing of the calling thread changes.
///
/// # Errors
///
/// `os` when a mount or the command's start fails; `root-changed` when `root` was replaced while the namespace was made.
///
/// # Needs
///
/// `CAP_SYS_ADMIN`, and `CAP_SYS_CHROOT` for [`Root::Directory`]; Linux 5.2.
pub fn run(root: &Root, placements: Vec<Placement>, command: Command) -> Result<Output> {
    // A namespace belongs to a thread, and a child starts in that of the thread that started it: no fork is needed in
    // between, and the caller's threads stay where they are.
    let run = move || in_namespace(root, &placements, command);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("confext-exec".to_owned()).spawn_scoped(scope, run);
        let thread = thread.map_err(|source| Error::os("start", "a thread", source))?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn in_namespace(root: &Root, placements: &[Placement], mut command: Command) -> Result<Output> {
    let path = root.path();
    let before = open_root(path)?;
    sys::unshare_mounts().map_err(|source| Error::os("unshare", "the mount namespace", source))?;
    // Slave: what the host mounts later still arrives, what is mounted here stays.
    sys::set_propagation(Path::new("/"), Propagation::Slave, Depth::Recursive)
        .map_err(|source| Error::os("make slave", "/", source))?;
    // The descriptor from before is in the other namespace, where nothing can be mounted from here.
    let after = open_root(path)?;
    check_same(path, before.as_fd(), after.as_fd())?;
    for placement in placements {
        place(after.as_fd(), path, placement)?;
    }
    if let Root::Directory(path) = root {
        let os = |operation| {
            move |source: rustix::io::Errno| Error::os(operation, path.display().to_string(), source)
        };
        rustix::process::fchdir(after.as_fd()).map_err(os("change into"))?;
        rustix::process::chroot(c".").map_err(os("change root to"))?;
    }
    drop((before, after));
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|source| Error::os("start", name.as_str(), source))?;
    child.wait_with_output().map_err(|source| Error::os("wait for", name.as_str(), source))
}

fn place(root: BorrowedFd<'_>, root_path: &Path, placement: &Placement) -> Result<()> {
    let hierarchy = &placement.hierarchy;
    let os = |operation| {
        move |source| Error::os(operation, root_path.join(hierarchy).display().to_string(), source)
    };
    let target = sys::open_path(root, hierarchy.as_path(), OFlags::DIRECTORY, ResolveFlags::NO_MAGICLINKS)
        .map_err(os("open"))?;
    sys::move_mount(placement.tree.as_fd(), target.as_fd(), c"", Place::OnTop).map_err(os("mount on"))
}

fn open_root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, sys::Mode::empty())
        .map_err(|source| Error::os("open", path.display().to_string(), source))
}

/// The root is opened twice by its path: it has to be the same directory.
fn check_same(path: &Path, before: BorrowedFd<'_>, after: BorrowedFd<'_>) -> Result<()> {
    let identity = |fd| {
        sys::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::INO)
            .map(|stat| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
            .map_err(|source| Error::os("stat", path.display().to_string(), source))
    };
    let (expected, found) = (identity(before)?, identity(after)?);
    if expected == found {
        return Ok(());
    }
    Err(Error::conflict(
        "root-changed",
        path.display().to_string(),
        format!("{}:{} inode {}", found.0, found.1, found.2),
        format!("{}:{} inode {}", expected.0, expected.1, expected.2),
    ))
}

impl Root {
    fn path(&self) -> &Path {
        match self {
            Self::Host => Path::new("/"),
            Self::Directory(path) => path,
        }
    }
}
