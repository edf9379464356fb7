//! Signals that come to a descriptor instead of a handler: `pthread_sigmask` and `signalfd`.
#![allow(unsafe_code, reason = "signal masks and signalfd are in no safe interface")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

/// Signals that come to a descriptor and do nothing else. Dropped, they are as before.
///
/// Only the calling thread, and threads that it starts afterwards, leave them alone.
pub struct Signals {
    before: libc::sigset_t,
    descriptor: OwnedFd,
}

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Which one.
    pub signal: Signal,
    /// Whether the kernel sent it: a key was pressed on the terminal, which all processes there are told of.
    pub by_kernel: bool,
}

/// `SI_KERNEL`
const BY_KERNEL: i32 = 0x80;

impl Signals {
    /// Takes these signals.
    ///
    /// # Errors
    ///
    /// As the kernel says: too many descriptors are open.
    pub fn take(signals: &[Signal]) -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: makes an empty set where there is room for one.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        for signal in signals {
            // SAFETY: the set was made above, and the number is one of a signal.
            unsafe { libc::sigaddset(set.as_mut_ptr(), signal.as_raw()) };
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set is valid; a new descriptor is made.
        let descriptor = unsafe { libc::signalfd(-1, set.as_ptr(), flags) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just opened it, and nobody else knows of it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let mut before = MaybeUninit::uninit();
        // SAFETY: the set is valid, and there is room for the one from before; so this cannot fail.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: it was written.
        let before = unsafe { before.assume_init() };
        Ok(Self { before, descriptor })
    }

    /// Has a command start with the signals as they were before.
    pub fn spare(&self, command: &mut Command) {
        let before = self.before;
        let restore = move || {
            // SAFETY: the set is the one from before, and nothing is written.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
            Ok(())
        };
        // SAFETY: the closure makes one system call.
        unsafe { command.pre_exec(restore) };
    }

    /// Whether one has come that was not read yet.
    #[must_use]
    pub fn has_next(&self) -> bool {
        let mut wanted = [PollFd::new(&self.descriptor, PollFlags::IN)];
        rustix::event::poll(&mut wanted, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// The next one that has come; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As the kernel says.
    pub fn next(&self) -> io::Result<Option<Arrived>> {
        // `struct signalfd_siginfo`: number, error number, code.
        let mut bytes = [0_u8; 128];
        match rustix::io::read(&self.descriptor, &mut bytes) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) | Ok(0) => Ok(None),
            Err(errno) => Err(errno.into()),
            Ok(_) => {
                let word = |at: usize| {
                    let bytes = bytes.get(at..at.saturating_add(4));
                    bytes.and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes)
                };
                let signal = word(0).and_then(Signal::from_named_raw);
                Ok(signal.map(|signal| Arrived { signal, by_kernel: word(8) == Some(BY_KERNEL) }))
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // SAFETY: the set is the one from before, and nothing is written.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signals").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}
