//! A rehearsal in a process of its own: a user namespace with a tmpfs and an overlay in it, gone before anybody sees them
#![allow(
    unsafe_code,
    reason = "only a process with one thread can have a user namespace of its own: fork, and the end of the child"
)]

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountFlags};
use rustix::process::WaitOptions;
use rustix::thread::UnshareFlags;

/// How far a rehearsal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RehearsalStep {
    /// A user namespace and a mount namespace in it.
    Namespaces,
    /// The caller is root in there.
    Identity,
    /// A tmpfs of its own.
    Tmpfs,
    /// An overlay, read-only, that keeps its marks in `user.overlay.` attributes (`userxattr`).
    Overlay,
}

const STEPS: [RehearsalStep; 4] =
    [RehearsalStep::Namespaces, RehearsalStep::Identity, RehearsalStep::Tmpfs, RehearsalStep::Overlay];

/// What a rehearsal has to know before its process is there: nothing can be allocated in it.
struct Script {
    users: String,
    groups: String,
    last: RehearsalStep,
}

/// `fork`, and in the child `unshare(CLONE_NEWUSER | CLONE_NEWNS)`, its identity, `mount` of a tmpfs, `fsopen` of an overlay,
/// up to a step. Nothing of the calling process changes, and the child's mounts are seen by nobody else.
///
/// The overlay is only made, not mounted. To ask for it has the kernel load its module, where that is not there yet.
///
/// # Errors
///
/// The step that failed, and why.
pub fn rehearse(last: RehearsalStep) -> Result<(), (RehearsalStep, io::Error)> {
    let script = Script {
        users: format!("0 {} 1", rustix::process::geteuid().as_raw()),
        groups: format!("0 {} 1", rustix::process::getegid().as_raw()),
        last,
    };
    let failed = |error: Errno| (RehearsalStep::Namespaces, error.into());
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
    // SAFETY: the child calls the kernel and nothing else: it takes no lock, allocates nothing, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err((RehearsalStep::Namespaces, io::Error::last_os_error())),
        0 => act(&script, &writer),
        child => {
            drop(writer);
            let mut told = Vec::new();
            let read = std::fs::File::from(reader).read_to_end(&mut told);
            // Who has changed how children end cannot be helped: what it said is read already.
            let _ = rustix::process::waitpid(rustix::process::Pid::from_raw(child), WaitOptions::empty());
            read.map_err(|error| (RehearsalStep::Namespaces, error))?;
            understand(&told)
        }
    }
}

/// What the child said: the number of the step, and the errno; or that all went well.
fn understand(told: &[u8]) -> Result<(), (RehearsalStep, io::Error)> {
    let Some((step, errno)) = told.split_first() else {
        return Err((RehearsalStep::Namespaces, io::ErrorKind::BrokenPipe.into()));
    };
    let Ok(errno) = errno.try_into().map(i32::from_ne_bytes) else {
        return Err((RehearsalStep::Namespaces, io::ErrorKind::BrokenPipe.into()));
    };
    match STEPS.get(usize::from(*step)) {
        Some(step) if errno != 0 => Err((*step, io::Error::from_raw_os_error(errno))),
        _ => Ok(()),
    }
}

/// The child.
fn act(script: &Script, writer: &OwnedFd) -> ! {
    let mut message = [0; 5];
    for (number, step) in (0_u8..).zip(STEPS) {
        if step > script.last {
            break;
        }
        if let Err(errno) = take(step, script) {
            let [a, b, c, d] = errno.raw_os_error().to_ne_bytes();
            message = [number, a, b, c, d];
            break;
        }
    }
    let _ = rustix::io::write(writer, &message);
    // SAFETY: it ends this process at once; nothing of the parent's is run.
    unsafe { libc::_exit(0) }
}

fn take(step: RehearsalStep, script: &Script) -> rustix::io::Result<()> {
    match step {
        RehearsalStep::Namespaces => {
            // SAFETY: the contract is about UnshareFlags::FILES only, which is not among the flags.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
        }
        RehearsalStep::Identity => {
            write(c"/proc/self/setgroups", b"deny")?;
            write(c"/proc/self/uid_map", script.users.as_bytes())?;
            write(c"/proc/self/gid_map", script.groups.as_bytes())
        }
        RehearsalStep::Tmpfs => tmpfs(),
        RehearsalStep::Overlay => overlay(),
    }
}

fn write(path: &std::ffi::CStr, content: &[u8]) -> rustix::io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, content).map(drop)
}

/// Over a directory that every system has; the namespace is nobody else's.
fn tmpfs() -> rustix::io::Result<()> {
    rustix::mount::mount(c"tmpfs", c"/usr", c"tmpfs", MountFlags::empty(), None)?;
    rustix::fs::mkdir(c"/usr/a", Mode::RWXU)?;
    rustix::fs::mkdir(c"/usr/b", Mode::RWXU)
}

fn overlay() -> rustix::io::Result<()> {
    let context = rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_flag(&context, c"userxattr")?;
    rustix::mount::fsconfig_set_string(&context, c"lowerdir", c"/usr/a:/usr/b")?;
    rustix::mount::fsconfig_create(&context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_child_says_is_understood() {
        let errno = libc::EPERM.to_ne_bytes();
        let told = [&[2][..], &errno].concat();
        let (step, error) = understand(&told).unwrap_err();
        assert_eq!((step, error.raw_os_error()), (RehearsalStep::Tmpfs, Some(libc::EPERM)));
        assert!(understand(&[0; 5]).is_ok());
        for broken in [&[][..], &[1, 2], &[0; 6]] {
            assert_eq!(understand(broken).unwrap_err().0, RehearsalStep::Namespaces, "{broken:?}");
        }
    }

    /// Whatever it comes to here, nothing of this process is changed.
    #[test]
    fn nothing_of_this_process_changes() {
        let namespaces =
            || ["user", "mnt"].map(|kind| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap());
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
        let before = (namespaces(), mounts());
        for step in STEPS {
            if let Err((failed, error)) = rehearse(step) {
                assert!(failed <= step && error.raw_os_error().is_some(), "{failed:?}: {error}");
            }
        }
        assert_eq!((namespaces(), mounts()), before);
    }
}
