//! Keys and keyrings of the kernel: `add_key` and the commands of `keyctl`
#![allow(unsafe_code, reason = "keys are in no safe interface and are called by number")]

use std::ffi::{CStr, c_long};
use std::io;

use rustix::io::Errno;

/// The number of a key or keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct KeySerial(i32);

impl KeySerial {
    /// The keyring of this thread, which ends with it. Made where it is not there.
    pub const THREAD: Self = Self(-1);

    /// Takes a number as it is in `/proc/keys` and in what keyrings hold; it is above 0.
    #[must_use]
    pub const fn new(number: i32) -> Option<Self> {
        if number > 0 { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> i32 {
        self.0
    }
}

impl std::fmt::Display for KeySerial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

bitflags::bitflags! {
    /// What the holder, the owner, the group and all others may do with a key.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct KeyPermissions: u32 {
        /// Whoever holds it: see what it is.
        const HOLDER_VIEW = 0x0100_0000;
        /// Whoever holds it: read it.
        const HOLDER_READ = 0x0200_0000;
        /// Whoever holds it: write to it.
        const HOLDER_WRITE = 0x0400_0000;
        /// Whoever holds it: find and use it.
        const HOLDER_SEARCH = 0x0800_0000;
        /// Whoever holds it: put it into keyrings.
        const HOLDER_LINK = 0x1000_0000;
        /// Whoever holds it: change its permissions.
        const HOLDER_SETATTR = 0x2000_0000;
        /// Its owner: see what it is.
        const USER_VIEW = 0x0001_0000;
        /// Its owner: read it.
        const USER_READ = 0x0002_0000;
        /// Its owner: write to it.
        const USER_WRITE = 0x0004_0000;
        /// Its owner: find and use it.
        const USER_SEARCH = 0x0008_0000;
        /// Its owner: put it into keyrings.
        const USER_LINK = 0x0010_0000;
        /// Its owner: change its permissions.
        const USER_SETATTR = 0x0020_0000;
        /// Its group: write to it.
        const GROUP_WRITE = 0x0000_0400;
        /// Its group: change its permissions.
        const GROUP_SETATTR = 0x0000_2000;
        /// Everybody: write to it.
        const OTHER_WRITE = 0x0000_0004;
        /// Everybody: change its permissions.
        const OTHER_SETATTR = 0x0000_0020;
        /// The others.
        const _ = !0;
    }
}

/// What [`key_query`] tells of an asymmetric key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyAbilities {
    /// Whether it can check signatures.
    pub verifies: bool,
    /// How large it is.
    pub bits: u32,
}

// The commands of keyctl(2), as wide as a system call takes them.
const GET_KEYRING_ID: c_long = 0;
const REVOKE: c_long = 3;
const SETPERM: c_long = 5;
const DESCRIBE: c_long = 6;
const LINK: c_long = 8;
const UNLINK: c_long = 9;
const SEARCH: c_long = 10;
const READ: c_long = 11;
const SET_TIMEOUT: c_long = 15;
const INVALIDATE: c_long = 21;
const PKEY_QUERY: c_long = 24;
const PKEY_ENCRYPT: c_long = 25;
const PKEY_VERIFY: c_long = 28;
const RESTRICT_KEYRING: c_long = 29;

/// What `KEYCTL_PKEY_QUERY` writes.
#[repr(C)]
#[derive(Default)]
struct RawQuery {
    supported_ops: u32,
    key_size: u32,
    max_data_size: u16,
    max_sig_size: u16,
    max_enc_size: u16,
    max_dec_size: u16,
    spare: [u32; 10],
}

/// What the operations on asymmetric keys take.
#[repr(C)]
struct RawOperation {
    key_id: i32,
    in_len: u32,
    /// Of the second input, or of the output.
    other_len: u32,
    spare: [u32; 7],
}

const _: () = assert!(size_of::<RawQuery>() == 56 && size_of::<RawOperation>() == 40);

/// The key checks signatures.
const SUPPORTS_VERIFY: u32 = 8;
/// A description is at most a page, and what is said of a key comes before it.
const MOST_TEXT_BYTES: usize = 1 << 14;
/// What a keyring holds is at most this much.
const MOST_PAYLOAD_BYTES: usize = 1 << 20;

fn number(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn key(result: c_long) -> io::Result<KeySerial> {
    let serial = i32::try_from(number(result)?).ok().and_then(KeySerial::new);
    serial.ok_or_else(|| Errno::NOKEY.into())
}

fn nothing(result: c_long) -> io::Result<()> {
    number(result).map(|_| ())
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| Errno::TOOBIG.into())
}

/// `add_key(kind, description, payload, size, keyring)`
///
/// # Errors
///
/// `EDQUOT`; `EPERM`, `ENOKEY` and `EKEYREJECTED` when the keyring is restricted; `EBADMSG` when the payload is none of this
/// kind, `ENOENT` or `ENOPKG` when the kernel does not know its algorithm; `ENODEV` when it does not know the kind.
pub fn add_key(kind: &CStr, description: &CStr, payload: &[u8], keyring: KeySerial) -> io::Result<KeySerial> {
    let (bytes, size) =
        if payload.is_empty() { (std::ptr::null(), 0) } else { (payload.as_ptr(), payload.len()) };
    // SAFETY: add_key(2) reads two strings that end with NUL, which `CStr` upholds, and `size` bytes, which `payload` has.
    key(unsafe {
        libc::syscall(
            libc::SYS_add_key,
            kind.as_ptr(),
            description.as_ptr(),
            bytes,
            size,
            c_long::from(keyring.0),
        )
    })
}

/// `keyctl(KEYCTL_GET_KEYRING_ID, keyring, 1)`: the number behind one of the special ones.
///
/// # Errors
///
/// `ENOKEY`, `EDQUOT`, `EACCES`.
pub fn keyring_number(keyring: KeySerial) -> io::Result<KeySerial> {
    let command = GET_KEYRING_ID;
    // SAFETY: keyctl(2) KEYCTL_GET_KEYRING_ID takes numbers only.
    key(unsafe { libc::syscall(libc::SYS_keyctl, command, c_long::from(keyring.0), c_long::from(1)) })
}

/// Calls a command that fills a buffer and says how much there is, until all of it fits.
fn filled(most: usize, mut call: impl FnMut(&mut [u8]) -> c_long) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    loop {
        let size = usize::try_from(number(call(&mut buffer))?).map_err(|_| Errno::INVAL)?;
        if size <= buffer.len() {
            buffer.truncate(size);
            return Ok(buffer);
        }
        if size > most {
            return Err(Errno::TOOBIG.into());
        }
        buffer.resize(size, 0);
    }
}

/// `keyctl(KEYCTL_DESCRIBE, key, buffer, size)`: `KIND;UID;GID;PERMISSIONS;DESCRIPTION`, without the NUL at its end
///
/// # Errors
///
/// `EACCES`, `ENOKEY`, `EKEYREVOKED`, `EKEYEXPIRED`.
pub fn key_describe(key: KeySerial) -> io::Result<Vec<u8>> {
    let command = DESCRIBE;
    let mut text = filled(MOST_TEXT_BYTES, |buffer| {
        let (bytes, size) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: keyctl(2) KEYCTL_DESCRIBE writes at most `size` bytes, which `buffer` has.
        unsafe { libc::syscall(libc::SYS_keyctl, command, c_long::from(key.0), bytes, size) }
    })?;
    text.pop_if(|last| *last == 0);
    Ok(text)
}

/// `keyctl(KEYCTL_READ, keyring, buffer, size)`: what the keyring holds
///
/// # Errors
///
/// `EACCES`, `ENOKEY`, `EKEYREVOKED`, `EKEYEXPIRED`; `EINVAL` when it is no keyring.
pub fn keyring_read(keyring: KeySerial) -> io::Result<Vec<KeySerial>> {
    let command = READ;
    let bytes = filled(MOST_PAYLOAD_BYTES, |buffer| {
        let (bytes, size) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: keyctl(2) KEYCTL_READ writes at most `size` bytes, which `buffer` has.
        unsafe { libc::syscall(libc::SYS_keyctl, command, c_long::from(keyring.0), bytes, size) }
    })?;
    let (numbers, []) = bytes.as_chunks::<4>() else { return Err(Errno::INVAL.into()) };
    Ok(numbers.iter().filter_map(|number| KeySerial::new(i32::from_ne_bytes(*number))).collect())
}

/// `keyctl(KEYCTL_SEARCH, keyring, kind, description, 0)`: a key in a keyring, or in a keyring in it
///
/// # Errors
///
/// `ENOKEY` when there is none; `EACCES` when there is one that may not be used, or the keyring may not be searched;
/// `EKEYREVOKED`, `EKEYEXPIRED`; `EINVAL` for a description above a page.
pub fn key_search(keyring: KeySerial, kind: &CStr, description: &CStr) -> io::Result<KeySerial> {
    let command = SEARCH;
    let (kind, description) = (kind.as_ptr(), description.as_ptr());
    let (keyring, nowhere) = (c_long::from(keyring.0), c_long::from(0));
    // SAFETY: keyctl(2) KEYCTL_SEARCH reads two strings that end with NUL, which `CStr` upholds.
    key(unsafe { libc::syscall(libc::SYS_keyctl, command, keyring, kind, description, nowhere) })
}

/// `keyctl(KEYCTL_LINK, key, keyring)`
///
/// # Errors
///
/// `EACCES`, `ENOKEY`, `EDQUOT`; `EPERM` and others when the keyring is restricted.
pub fn key_link(key: KeySerial, keyring: KeySerial) -> io::Result<()> {
    let command = LINK;
    let (key, keyring) = (c_long::from(key.0), c_long::from(keyring.0));
    // SAFETY: keyctl(2) KEYCTL_LINK takes numbers only.
    nothing(unsafe { libc::syscall(libc::SYS_keyctl, command, key, keyring) })
}

/// `keyctl(KEYCTL_UNLINK, key, keyring)`
///
/// # Errors
///
/// `EACCES`, `ENOKEY`; `ENOENT` when the keyring does not hold it.
pub fn key_unlink(key: KeySerial, keyring: KeySerial) -> io::Result<()> {
    let command = UNLINK;
    let (key, keyring) = (c_long::from(key.0), c_long::from(keyring.0));
    // SAFETY: keyctl(2) KEYCTL_UNLINK takes numbers only.
    nothing(unsafe { libc::syscall(libc::SYS_keyctl, command, key, keyring) })
}

/// `keyctl(KEYCTL_RESTRICT_KEYRING, keyring, "asymmetric", restriction)`: from now on it takes only such keys
///
/// # Errors
///
/// `EACCES`; `EEXIST` when it is restricted; `EINVAL` for a restriction that is not known; `ENOKEY` when it names no key.
pub fn keyring_restrict(keyring: KeySerial, restriction: &CStr) -> io::Result<()> {
    let (command, keyring) = (RESTRICT_KEYRING, c_long::from(keyring.0));
    let (kind, restriction) = (c"asymmetric".as_ptr(), restriction.as_ptr());
    // SAFETY: keyctl(2) KEYCTL_RESTRICT_KEYRING reads two strings that end with NUL, which `CStr` upholds.
    nothing(unsafe { libc::syscall(libc::SYS_keyctl, command, keyring, kind, restriction) })
}

/// `keyctl(KEYCTL_RESTRICT_KEYRING, keyring, NULL, NULL)`: from now on it takes no keys
///
/// # Errors
///
/// `EACCES`; `EEXIST` when it is restricted.
pub fn keyring_seal(keyring: KeySerial) -> io::Result<()> {
    let (command, keyring) = (RESTRICT_KEYRING, c_long::from(keyring.0));
    let none = std::ptr::null::<u8>();
    // SAFETY: keyctl(2) KEYCTL_RESTRICT_KEYRING reads nothing where both strings are NULL.
    nothing(unsafe { libc::syscall(libc::SYS_keyctl, command, keyring, none, none) })
}

/// `keyctl(KEYCTL_REVOKE, key)`
///
/// # Errors
///
/// `EACCES`, `ENOKEY`.
pub fn key_revoke(key: KeySerial) -> io::Result<()> {
    let command = REVOKE;
    // SAFETY: keyctl(2) KEYCTL_REVOKE takes numbers only.
    nothing(unsafe { libc::syscall(libc::SYS_keyctl, command, c_long::from(key.0)) })
}

/// `keyctl(KEYCTL_INVALIDATE, key)`: it is gone at once, wherever it was
///
/// # Errors
///
/// `EACCES`, `ENOKEY`.
pub fn key_invalidate(key: KeySerial) -> io::Result<()> {
    let command = INVALIDATE;
    // SAFETY: keyctl(2) KEYCTL_INVALIDATE takes numbers only.
    nothing(unsafe { libc::syscall(libc::SYS_keyctl, command, c_long::from(key.0)) })
}

/// `keyctl(KEYCTL_SET_TIMEOUT, key, seconds)`: 0 is no timeout
///
/// # Errors
///
/// `EACCES`, `ENOKEY`.
pub fn key_set_timeout(key: KeySerial, seconds: u32) -> io::Result<()> {
    let (command, key) = (SET_TIMEOUT, c_long::from(key.0));
    // SAFETY: keyctl(2) KEYCTL_SET_TIMEOUT takes numbers only.
    nothing(unsafe { libc::syscall(libc::SYS_keyctl, command, key, seconds) })
}

/// `keyctl(KEYCTL_SETPERM, key, permissions)`
///
/// # Errors
///
/// `EACCES`, `ENOKEY`.
pub fn key_set_permissions(key: KeySerial, permissions: KeyPermissions) -> io::Result<()> {
    let (command, key) = (SETPERM, c_long::from(key.0));
    // SAFETY: keyctl(2) KEYCTL_SETPERM takes numbers only.
    nothing(unsafe { libc::syscall(libc::SYS_keyctl, command, key, permissions.bits()) })
}

/// `keyctl(KEYCTL_PKEY_QUERY, key, 0, information, result)`: since Linux 4.20
///
/// # Errors
///
/// `EACCES`, `ENOKEY`, `EKEYREVOKED`, `EKEYEXPIRED`; `EOPNOTSUPP` when it is no asymmetric key.
pub fn key_query(key: KeySerial, information: &CStr) -> io::Result<KeyAbilities> {
    let (command, key) = (PKEY_QUERY, c_long::from(key.0));
    let mut query = RawQuery::default();
    let (none, information, result) = (c_long::from(0), information.as_ptr(), &raw mut query);
    // SAFETY: keyctl(2) KEYCTL_PKEY_QUERY reads a string that ends with NUL and writes a structure of this layout.
    nothing(unsafe { libc::syscall(libc::SYS_keyctl, command, key, none, information, result) })?;
    Ok(KeyAbilities { verifies: query.supported_ops & SUPPORTS_VERIFY != 0, bits: query.key_size })
}

/// `keyctl(KEYCTL_PKEY_VERIFY, {key}, information, digest, signature)`: since Linux 4.20
///
/// # Errors
///
/// `EKEYREJECTED` when the key did not sign the digest; `EACCES`, `ENOKEY`, `EKEYREVOKED`, `EKEYEXPIRED`; `ENOPKG`, `ENOENT`
/// and `EINVAL` when the kernel does not know the algorithm or the key is for another one.
pub fn key_verify(key: KeySerial, information: &CStr, digest: &[u8], signature: &[u8]) -> io::Result<()> {
    let command = PKEY_VERIFY;
    let (in_len, other_len) = (length(digest)?, length(signature)?);
    let operation = RawOperation { key_id: key.0, in_len, other_len, spare: [0; 7] };
    let (operation, information) = (&raw const operation, information.as_ptr());
    let (digest, signature) = (digest.as_ptr(), signature.as_ptr());
    // SAFETY: keyctl(2) KEYCTL_PKEY_VERIFY reads a structure of this layout, a string that ends with NUL, and of both inputs
    // as many bytes as the structure says, which the slices have.
    nothing(unsafe { libc::syscall(libc::SYS_keyctl, command, operation, information, digest, signature) })
}

/// `keyctl(KEYCTL_PKEY_ENCRYPT, {key}, information, data, result)`: since Linux 4.20
///
/// # Errors
///
/// As of [`key_verify`]; `EINVAL` when the data are not as long as the key asks for.
pub fn key_encrypt(
    key: KeySerial,
    information: &CStr,
    data: &[u8],
    result_bytes: usize,
) -> io::Result<Vec<u8>> {
    let command = PKEY_ENCRYPT;
    let mut result = vec![0; result_bytes];
    let (in_len, other_len) = (length(data)?, length(&result)?);
    let operation = RawOperation { key_id: key.0, in_len, other_len, spare: [0; 7] };
    let (operation, information) = (&raw const operation, information.as_ptr());
    let (data, into) = (data.as_ptr(), result.as_mut_ptr());
    // SAFETY: keyctl(2) KEYCTL_PKEY_ENCRYPT reads a structure of this layout, a string that ends with NUL and as many bytes of
    // the input as the structure says, and writes at most as many of the output as it says, which the buffers have.
    let written =
        number(unsafe { libc::syscall(libc::SYS_keyctl, command, operation, information, data, into) })?;
    result.truncate(usize::try_from(written).unwrap_or(0));
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Errno {
        Errno::from_io_error(&result.unwrap_err()).unwrap()
    }

    /// Any user may have keyrings; nothing here needs root.
    #[test]
    fn a_keyring_of_a_thread_holds_what_is_put_into_it_until_it_is_taken_out() {
        let thread = keyring_number(KeySerial::THREAD).unwrap();
        let ring = add_key(c"keyring", c"confext-test-holds", b"", thread).unwrap();
        assert!(keyring_read(thread).unwrap().contains(&ring));
        let text = key_describe(ring).unwrap();
        assert!(text.starts_with(b"keyring;") && text.ends_with(b";confext-test-holds"), "{text:?}");
        let key = add_key(c"user", c"confext-test-user", b"payload", ring).unwrap();
        assert_eq!(keyring_read(ring).unwrap(), [key]);
        assert_eq!(key_search(ring, c"user", c"confext-test-user").unwrap(), key);
        assert_eq!(errno(key_search(ring, c"user", c"confext-test-other")), Errno::NOKEY);
        let second = add_key(c"keyring", c"confext-test-second", b"", thread).unwrap();
        key_link(key, second).unwrap();
        key_unlink(key, ring).unwrap();
        assert_eq!(keyring_read(ring).unwrap(), []);
        keyring_seal(second).unwrap();
        assert_eq!(errno(add_key(c"user", c"confext-test-more", b"payload", second)), Errno::PERM);
        assert_eq!(errno(keyring_seal(second)), Errno::EXIST);
        key_set_permissions(key, KeyPermissions::HOLDER_VIEW).unwrap();
        assert_eq!(errno(key_search(second, c"user", c"confext-test-user")), Errno::ACCESS);
        key_unlink(second, thread).unwrap();
        key_invalidate(ring).unwrap();
        assert!(!keyring_read(thread).unwrap().contains(&second));
        assert_eq!(errno(key_describe(ring)), Errno::NOKEY);
    }

    #[test]
    fn a_revoked_key_says_so() {
        let thread = keyring_number(KeySerial::THREAD).unwrap();
        let key = add_key(c"user", c"confext-test-revoked", b"payload", thread).unwrap();
        key_set_timeout(key, 3600).unwrap();
        key_revoke(key).unwrap();
        assert_eq!(errno(key_describe(key)), Errno::KEYREVOKED);
        assert_eq!(errno(key_search(thread, c"user", c"confext-test-revoked")), Errno::KEYREVOKED);
        assert_eq!(errno(key_query(key, c"")), Errno::KEYREVOKED);
        key_unlink(key, thread).unwrap();
    }

    #[test]
    fn what_is_no_asymmetric_key_does_not_check_signatures() {
        let thread = keyring_number(KeySerial::THREAD).unwrap();
        let key = add_key(c"user", c"confext-test-symmetric", b"payload", thread).unwrap();
        for failed in [
            key_query(key, c"").map(|_| ()),
            key_verify(key, c"enc=pkcs1 hash=sha256", &[0; 32], &[0; 256]),
            key_encrypt(key, c"enc=raw", &[0; 256], 256).map(|_| ()),
        ] {
            assert_eq!(errno(failed), Errno::OPNOTSUPP);
        }
        assert_eq!(errno(keyring_read(key).map(|_| ())), Errno::INVAL);
        key_invalidate(key).unwrap();
    }
}
