//! [`PrivateKeyring`]: a keyring that only this thread has, and that goes away with its value.

use std::ffi::CString;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Keyring;
use crate::error::{Error, Result};
use crate::sys::{self, KeySerial};

/// Distinguishes the keyrings of one thread: of two with one description, the second would take the place of the first.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A keyring of this thread. What is in it is there for this thread only, and until it is dropped.
///
/// ```
/// use confext_core::keyring::{Keyring, PrivateKeyring};
///
/// // For a program that trusts certificates of its own, and wants the kernel to check with them.
/// let private = PrivateKeyring::new()?;
/// let serial = private.serial();
/// assert_eq!(private.keyring()?.serial(), serial);
/// assert!(private.keyring()?.keys()?.is_empty());
/// drop(private);
/// # Ok::<(), confext_core::Error>(())
/// ```
#[derive(Debug)]
pub struct PrivateKeyring {
    serial: KeySerial,
    /// Another thread has another keyring, and would not hold this one.
    thread: PhantomData<*const ()>,
}

impl PrivateKeyring {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// `os`: `EDQUOT` when this user has too many keys; `missing-capability` on kernels without keyrings.
    pub fn new() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("confext-{}-{number}", std::process::id());
        let description = CString::new(name).unwrap_or_default();
        match sys::add_key(c"keyring", &description, b"", KeySerial::THREAD) {
            Ok(serial) => Ok(Self { serial, thread: PhantomData }),
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                Err(Error::Missing { what: "keyrings", why: "the kernel has no keys (CONFIG_KEYS)".into() })
            }
            Err(error) => Err(Error::os("add_key", "a keyring of this thread", error)),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn serial(&self) -> KeySerial {
        self.serial
    }

    /// It as any other keyring.
    ///
    /// # Errors
    ///
    /// As [`Keyring::with_serial`].
    pub fn keyring(&self) -> Result<Keyring> {
        Keyring::with_serial(self.serial)
    }
}

impl Drop for PrivateKeyring {
    fn drop(&mut self) {
        // Nobody else holds it: with this it and what is only in it are gone. There is nobody to tell of a failure, and the
        // end of the thread does the same.
        let _ = sys::key_unlink(self.serial, KeySerial::THREAD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_keyrings_are_gone_when_they_are_dropped() {
        let (first, second) = (PrivateKeyring::new().unwrap(), PrivateKeyring::new().unwrap());
        let of_thread = || sys::keyring_read(sys::keyring_number(KeySerial::THREAD).unwrap()).unwrap();
        assert_ne!(first.serial(), second.serial());
        assert!(of_thread().contains(&first.serial()) && of_thread().contains(&second.serial()));
        let key = sys::add_key(c"user", c"confext-test-private", b"x", first.serial()).unwrap();
        sys::key_describe(key).unwrap();
        let serial = first.serial();
        drop(first);
        assert!(!of_thread().contains(&serial));
        assert!(of_thread().contains(&second.serial()));
    }
}
