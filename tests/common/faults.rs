//! System calls of another process, one of which is answered with an error, or is its last.
//!
//! The worker installs a seccomp filter that hands the calls that matter to its parent (`SECCOMP_RET_USER_NOTIF`), which lets
//! each pass, fails it, or kills the process before it is made. The product knows nothing of it.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This call fails.
    Once,
    /// This call and all after it fail.
    Always,
    /// The process is killed before the call is made.
    Kill,
    /// Something else happens before the call is made.
    Meanwhile,
    /// Every loop device is in use: each call that asks for a free one is told so.
    NoLoopDevice,
}

/// How the worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It said this: `ok`, or `error` and a code.
    Said(String),
    /// It was killed.
    Killed,
}

/// The calls that are handed over, by their numbers, in the order they were made.
pub type Calls = Vec<i64>;

/// Which calls matter: those that ask, open, make, mount, change or remove something. Without memory, time and waiting,
/// and without `close`, which cannot fail in a way that matters.
const WATCHED: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_statx,
    STATMOUNT,
    LISTMOUNT,
    libc::SYS_ioctl,
    libc::SYS_flock,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_unshare,
    libc::SYS_memfd_create,
    libc::SYS_fcntl,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_getxattr,
    libc::SYS_listxattr,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_fstatfs,
    libc::SYS_clone3,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_fsync,
    libc::SYS_copy_file_range,
    libc::SYS_mknodat,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
];

/// Calls that put, take away or make something: each of them is always tried.
const CHANGING: &[i64] = &[
    libc::SYS_move_mount,
    libc::SYS_umount2,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_flock,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_fsync,
    libc::SYS_copy_file_range,
];

/// The call of `ioctl` that asks for a free loop device.
const LOOP_CTL_GET_FREE: u64 = 0x4C82;

const STATMOUNT: i64 = 457;
const LISTMOUNT: i64 = 458;

/// An error that the call really has.
fn errno(call: i64) -> i32 {
    match call {
        libc::SYS_openat
        | libc::SYS_openat2
        | libc::SYS_fsopen
        | libc::SYS_fsmount
        | libc::SYS_open_tree
        | libc::SYS_memfd_create => libc::EMFILE,
        libc::SYS_mkdirat
        | libc::SYS_write
        | libc::SYS_pwrite64
        | libc::SYS_ftruncate
        | libc::SYS_fallocate
        | libc::SYS_linkat
        | libc::SYS_symlinkat
        | libc::SYS_copy_file_range
        | libc::SYS_setxattr => libc::ENOSPC,
        libc::SYS_move_mount
        | libc::SYS_umount2
        | libc::SYS_mount
        | libc::SYS_mount_setattr
        | libc::SYS_unshare => libc::EPERM,
        libc::SYS_fsconfig | STATMOUNT | LISTMOUNT => libc::ENOMEM,
        libc::SYS_clone3 => libc::EAGAIN,
        _ => libc::EIO,
    }
}

/// Whether a point is to be tried when only one in `stride` is.
#[must_use]
pub fn is_chosen(calls: &[i64], at: usize, stride: usize) -> bool {
    at.is_multiple_of(stride) || CHANGING.contains(&calls[at])
}

/// In the worker: hands its calls to the parent from now on, through a pipe on standard output.
pub fn hand_over_calls() {
    let mut program = vec![filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    let count = WATCHED.len();
    for (at, call) in WATCHED.iter().enumerate() {
        let to_notify = u8::try_from(count - at).unwrap();
        let number = u32::try_from(*call).unwrap();
        program.push(filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to_notify, 0, number));
    }
    program.push(filter(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    program.push(filter(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    let program =
        libc::sock_fprog { len: u16::try_from(program.len()).unwrap(), filter: program.as_mut_ptr() };
    // SAFETY: the filter and its length belong together and live across the call; no pointer is kept.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    assert!(listener >= 0, "seccomp: {}", io::Error::last_os_error());
    say(&listener.to_string());
}

fn filter(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k }
}

/// In the worker: one line to the parent, by a call that is not handed over.
pub fn say(text: &str) {
    let line = format!("{text}\n");
    let part = libc::iovec { iov_base: line.as_ptr().cast_mut().cast(), iov_len: line.len() };
    // SAFETY: the one part is readable for its length.
    let written = unsafe { libc::writev(1, &raw const part, 1) };
    assert!(written > 0, "writev: {}", io::Error::last_os_error());
}

/// Runs a worker; at its call number `at`, from 0, there is a fault. Returns how it ended and the calls it made before.
#[must_use]
pub fn run(command: Command, at: Option<usize>, fault: Fault) -> (End, Calls) {
    run_beside(command, at, fault, || {})
}

/// The same, where `meanwhile` is what happens with [`Fault::Meanwhile`].
#[must_use]
pub fn run_beside(
    mut command: Command,
    at: Option<usize>,
    fault: Fault,
    meanwhile: impl FnOnce(),
) -> (End, Calls) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let listener = take_descriptor(&child, line.trim().parse().expect("the worker's descriptor"));
    let calls = answer(&listener, &mut child, (at, fault), meanwhile);
    // What others still ask for, like a command that it has started, is not waited for.
    drop(listener);
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(libc::SIGKILL);
    if killed {
        return (End::Killed, calls);
    }
    assert!(status.success(), "the worker: {status}, after {} calls, {said}", calls.len());
    (End::Said(said.trim().to_owned()), calls)
}

fn take_descriptor(child: &Child, number: i32) -> OwnedFd {
    // SAFETY: plain calls with numbers; what comes back is ours.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, child.id(), 0);
        assert!(process >= 0, "pidfd_open: {}", io::Error::last_os_error());
        let process = OwnedFd::from_raw_fd(i32::try_from(process).unwrap());
        let listener = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        assert!(listener >= 0, "pidfd_getfd: {}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(i32::try_from(listener).unwrap())
    }
}

/// Answers calls until the worker has gone.
fn answer(
    listener: &OwnedFd,
    child: &mut Child,
    (at, fault): (Option<usize>, Fault),
    meanwhile: impl FnOnce(),
) -> Calls {
    let mut meanwhile = Some(meanwhile);
    let mut calls = Calls::new();
    loop {
        let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, writable.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 60_000) };
        assert!(ready == 1, "the worker hangs after {} calls", calls.len());
        if poll.revents & libc::POLLIN == 0 {
            return calls;
        }
        // SAFETY: all bytes zero is what the call asks for.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel fills one structure of this size.
        let received =
            unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) };
        if received != 0 {
            // A thread of the worker ended meanwhile.
            continue;
        }
        let (number, here) = (i64::from(call.data.nr), calls.len());
        calls.push(number);
        let wants_loop = number == libc::SYS_ioctl && call.data.args[1] == LOOP_CTL_GET_FREE;
        let hit = at.is_some_and(|at| here == at || (here > at && fault == Fault::Always))
            || (wants_loop && fault == Fault::NoLoopDevice);
        if hit && fault == Fault::Kill {
            child.kill().unwrap();
            return calls;
        }
        let hit = hit && fault != Fault::Meanwhile || {
            if hit && let Some(meanwhile) = meanwhile.take() {
                meanwhile();
            }
            false
        };
        let mut reply = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: match hit {
                true if wants_loop => -libc::ENOSPC,
                true => -errno(number),
                false => 0,
            },
            flags: if hit { 0 } else { u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap() },
        };
        // SAFETY: the kernel reads one structure of this size.
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut reply) };
    }
}
