//! Starting a command in other namespaces: what is done between `fork` and `exec`.
#![allow(unsafe_code, reason = "what runs between fork and exec must make system calls only")]

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use rustix::io::Errno;
use rustix::thread::LinkNameSpaceType;

/// Where a command starts.
#[derive(Debug)]
pub struct Entry {
    /// Its user namespace.
    pub user: OwnedFd,
    /// Its mount namespace.
    pub mounts: OwnedFd,
    /// The directory that is to be its root, unless the namespace's is.
    pub root: Option<OwnedFd>,
    /// Its working directory, inside.
    pub directory: StartIn,
}

/// The working directory of a command.
#[derive(Debug)]
pub enum StartIn {
    /// This one, or it does not start.
    Named(CString),
    /// This one, or the root where that cannot be reached.
    OrRoot(CString),
}

/// Starts `command` there. It has no capability, and none that it could get: in a user namespace of its own it could
/// otherwise take apart what was mounted for it.
///
/// # Errors
///
/// As [`Command::spawn`]; as `setns(2)` says.
pub fn spawn_inside(mut command: Command, entry: Entry) -> io::Result<Child> {
    // SAFETY: the closure makes system calls only: nothing is allocated and no lock is taken.
    unsafe { command.pre_exec(move || enter(&entry)) };
    command.spawn()
}

fn enter(entry: &Entry) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(fd(&entry.user), Some(LinkNameSpaceType::User))?;
    rustix::thread::move_into_link_name_space(fd(&entry.mounts), Some(LinkNameSpaceType::Mount))?;
    if let Some(root) = &entry.root {
        rustix::process::fchdir(root)?;
        rustix::process::chroot(c".")?;
    }
    match &entry.directory {
        StartIn::Named(path) => rustix::process::chdir(path.as_c_str())?,
        StartIn::OrRoot(path) => {
            rustix::process::chdir(path.as_c_str()).or_else(|_| rustix::process::chdir(c"/"))?;
        }
    }
    drop_capabilities()
}

fn fd(fd: &OwnedFd) -> std::os::fd::BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(fd)
}

/// An ordinary user loses them at `exec` anyway; root, in a container without them, would have all of the namespace.
fn drop_capabilities() -> io::Result<()> {
    /// More than any kernel has.
    const MOST: libc::c_ulong = 64;
    for capability in 0..MOST {
        // SAFETY: takes numbers only.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if dropped != 0 {
            let error = io::Error::last_os_error();
            // One behind the last.
            if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) {
                break;
            }
            return Err(error);
        }
    }
    match rustix::thread::clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
