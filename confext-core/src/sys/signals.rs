//! Interrupts: `sigaction` with a handler that only writes down that one came
#![allow(
    unsafe_code,
    reason = "a handler is a pointer to a function; the one here does what a handler may do"
)]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// `sigaction(SIGINT)`, `sigaction(SIGTERM)`: from now on these signals end nothing, and the function that is returned says
/// whether one came.
///
/// For programs, never for libraries: it is the whole process that is changed.
///
/// # Errors
///
/// As the kernel says; none is known.
pub fn interrupted() -> io::Result<fn() -> bool> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: all bytes zero is a valid structure: no flags, no mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        let handler: extern "C" fn(libc::c_int) = note;
        #[expect(clippy::as_conversions, reason = "there is no other way to a handler's address")]
        let address = handler as libc::sighandler_t;
        action.sa_sigaction = address;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the structure is initialised and lives across the call; the handler only stores to an atomic.
        if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(|| INTERRUPTED.load(Ordering::Relaxed))
}
