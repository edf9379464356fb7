//! [`Namespace`]: what lets an ordinary user mount, for one command: a user namespace and a mount namespace of it.
//!
//! One user and one group are mapped, each to itself, so the command has the rights it had before and no more. Nobody in
//! there has a capability: mounts are made by a short-lived [`Helper`], which only the user outside can send in.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use rustix::thread::CapabilitySet;

use crate::error::{Error, Result};
use crate::sys::{Helper, Inside};

/// A user namespace and a mount namespace. They are there as long as this value, a process in them, or a mount made there.
///
/// ```no_run
/// use confext_core::{Host, Options, Stack, exec};
/// use confext_ddi::release::Class;
///
/// let stack = Stack::assemble(&Host::open("/")?, Class::Confext, &Options::default())?;
/// for placement in stack.into_placements() {
///     // Who may not mount gets the mounts in a namespace, and the command goes there.
///     assert_eq!(placement.namespace.is_none(), exec::may_mount());
/// }
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Namespace {
    user: OwnedFd,
    mounts: OwnedFd,
}

/// How messages call it.
const WHAT: &str = "a user namespace";
/// `PROC_USER_INIT_INO`: the number of the user namespace that the machine started with.
const INITIAL: u64 = 0xEFFF_FFFD;

/// Whether this process may mount images itself; else it takes a [`Namespace`].
#[must_use]
pub fn may_mount() -> bool {
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    // Root of a user namespace mounts file systems in memory and overlays, but no image.
    let is_initial = std::fs::metadata("/proc/self/ns/user").map_or(true, |meta| meta.ino() == INITIAL);
    capable && is_initial
}

impl Namespace {
    /// Makes it, and a helper in it.
    ///
    /// # Errors
    ///
    /// `missing-capability` where there are no user namespaces for this process, with what forbids it.
    pub(crate) fn make() -> Result<(Self, Helper)> {
        let helper = Helper::start(Inside::New).map_err(|error| missing(&error))?;
        map(&helper).map_err(|error| missing(&error))?;
        let open = |kind| {
            let failed = |error| Error::os("open", format!("the {kind} namespace of a helper"), error);
            helper.namespace(kind).map_err(failed)
        };
        let namespace = Self { user: open("user")?, mounts: open("mnt")? };
        Ok((namespace, helper))
    }

    /// A helper in it.
    ///
    /// # Errors
    ///
    /// `os` when this process is no longer the user's who made it.
    pub(crate) fn helper(&self) -> Result<Helper> {
        Helper::start(Inside::Of { user: self.user.as_fd(), mounts: self.mounts.as_fd() })
            .map_err(|error| Error::os("enter", WHAT, error))
    }

    /// Both, for a command that starts in them.
    pub(crate) fn descriptors(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        Ok((self.user.try_clone()?, self.mounts.try_clone()?))
    }
}

/// Maps this process's user and group to themselves.
fn map(helper: &Helper) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let write = |name: &str, text: String| std::fs::write(format!("/proc/{}/{name}", helper.pid()), text);
    // Without it, leaving a group could give rights that the group was to take away.
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{uid} {uid} 1"))?;
    write("gid_map", format!("{gid} {gid} 1"))
}

/// What is missing, from what the kernel says and from the settings that are known to forbid it.
pub(crate) fn missing(error: &io::Error) -> Error {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let is = |path: &str, value: &str| read(path).is_some_and(|found| found == value);
    let reason = if is("/proc/sys/user/max_user_namespaces", "0") {
        "the setting user.max_user_namespaces is 0: set it higher (sysctl)"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "the setting kernel.unprivileged_userns_clone is 0: set it to 1 (sysctl)"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "the setting kernel.apparmor_restrict_unprivileged_userns is 1: give the program an AppArmor profile with `userns`, or set it to 0 (sysctl)"
    } else {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                "something forbids it: a seccomp filter or security module of a container, or a change of root directory; allow the container user namespaces"
            }
            Some(libc::ENOSPC | libc::EUSERS) => "too many are there, or inside each other",
            Some(libc::EINVAL | libc::ENOSYS) => "the kernel has none (CONFIG_USER_NS)",
            Some(libc::ENOENT) => "/proc is not mounted",
            _ => "the kernel makes none",
        }
    };
    Error::Missing { what: WHAT, why: format!("{reason}, or run as root ({error})") }
}
