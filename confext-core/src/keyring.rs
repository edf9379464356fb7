//! [`Keyring`]: keys of the kernel: found, listed, loaded, sealed; and signatures that the kernel checks with them

mod kernel;
mod listing;
mod private;

use std::ffi::CString;
use std::io;

use confext_ddi::signature::Certificate;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::sys::{self, KeyPermissions, KeySerial};

pub use kernel::KernelKeyring;
pub use private::PrivateKeyring;

/// The keyrings that the kernel makes, and that it trusts for one thing or another.
pub const TRUSTED: [&str; 5] =
    [".builtin_trusted_keys", ".secondary_trusted_keys", ".machine", ".platform", DM_VERITY];
/// The keyring that is only for dm-verity: since Linux 7.0, and ignored by the kernel until it is sealed.
pub const DM_VERITY: &str = ".dm-verity";
/// The keyring with what must not be trusted.
pub(crate) const BLACKLIST: &str = ".blacklist";
/// A description may have a page.
const MOST_DESCRIPTION_BYTES: usize = 4095;
/// Where the keys are listed that this process may see.
const LIST: &str = "/proc/keys";

/// A keyring of the kernel.
///
/// ```
/// # use std::time::SystemTime;
/// # use confext_ddi::signature::KeyPair;
/// use confext_core::keyring::{Keyring, PrivateKeyring};
///
/// # let vendor = KeyPair::generate("vendor", SystemTime::now().into(), 30)?;
/// let private = PrivateKeyring::new()?;
/// // By its number, or by its description: `%:.secondary_trusted_keys` names one of the kernel's own.
/// let keyring = Keyring::find(&private.serial().to_string())?;
/// let key = keyring.add(vendor.certificate())?;
/// assert_eq!(keyring.keys()?[0].serial, key);
/// assert_eq!(Keyring::find("%:no such").unwrap_err().code(), "keyring-missing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Keyring {
    serial: KeySerial,
    description: String,
    uid: u32,
    gid: u32,
    #[serde(skip)]
    permissions: KeyPermissions,
}

/// Whether a keyring takes further keys.
///
/// ```
/// # use std::time::SystemTime;
/// # use confext_ddi::signature::KeyPair;
/// use confext_core::keyring::{PrivateKeyring, Sealing};
///
/// # let vendor = KeyPair::generate("vendor", SystemTime::now().into(), 30)?;
/// let private = PrivateKeyring::new()?;
/// let keyring = private.keyring()?;
/// assert_eq!(keyring.sealing()?, Sealing::Open);
/// keyring.seal()?;
/// assert_eq!(keyring.sealing()?, Sealing::Sealed);
/// assert_eq!(keyring.add(vendor.certificate()).unwrap_err().code(), "keyring-restricted");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sealing {
    /// It takes none.
    Sealed,
    /// It takes some: those that another key vouches for.
    Restricted,
    /// It takes any.
    Open,
    /// Who asks may not write to it.
    Unknown,
}

/// A key in a keyring, as far as the kernel tells of it. What it was made of, it does not tell.
///
/// ```
/// # use std::time::SystemTime;
/// # use confext_ddi::signature::KeyPair;
/// # use confext_core::keyring::PrivateKeyring;
/// # let vendor = KeyPair::generate("vendor", SystemTime::now().into(), 30)?;
/// # let private = PrivateKeyring::new()?;
/// # let keyring = private.keyring()?;
/// keyring.add(vendor.certificate())?;
/// let keys = keyring.keys()?;
/// let key = keys.first().ok_or("the key of the certificate")?;
/// assert_eq!(key.kind.as_deref(), Some("asymmetric"));
/// // What the kernel keeps of the certificate, beside its public key.
/// assert_eq!((key.subject.as_deref(), key.algorithm.as_deref()), (Some("vendor"), Some("rsa")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Key {
    /// Its number.
    pub serial: KeySerial,
    /// Its kind, like `asymmetric`; `None` when it may not be seen.
    pub kind: Option<String>,
    /// Its description: for a certificate `SUBJECT: KEYID`, unless whoever loaded it gave another one.
    pub description: Option<String>,
    /// The subject as the kernel shortens it, where the description has it.
    pub subject: Option<String>,
    /// The subject key identifier, in hex, where the description has it; of a certificate without one, the serial number.
    pub key_id: Option<String>,
    /// The algorithm, like `rsa` or `ecdsa-nist-p256`.
    pub algorithm: Option<String>,
    /// Whether it counts.
    pub state: KeyState,
}

/// Whether a key counts.
///
/// ```
/// # use std::time::SystemTime;
/// # use confext_ddi::signature::KeyPair;
/// # use confext_core::keyring::PrivateKeyring;
/// use confext_core::{keyring::KeyState, sys};
///
/// # let vendor = KeyPair::generate("vendor", SystemTime::now().into(), 30)?;
/// # let private = PrivateKeyring::new()?;
/// # let keyring = private.keyring()?;
/// let key = keyring.add(vendor.certificate())?;
/// assert_eq!(keyring.keys()?[0].state, KeyState::Valid);
/// // It stays in the keyring, and counts no more.
/// sys::key_revoke(key)?;
/// assert_eq!(keyring.keys()?[0].state, KeyState::Revoked);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// It does.
    Valid,
    /// It was revoked.
    Revoked,
    /// Its time has passed. That is the key's time, and not the validity of its certificate, which the kernel ignores.
    Expired,
    /// It is in the keyring, but this process may not see it.
    Hidden,
}

/// By what a key is found.
///
/// ```
/// # use std::time::SystemTime;
/// # use confext_core::keyring::PrivateKeyring;
/// use confext_core::keyring::KeyName;
/// use confext_ddi::RootHash;
/// use confext_ddi::signature::{KeyPair, Sign as _, SignedData};
///
/// # let vendor = KeyPair::generate("vendor", SystemTime::now().into(), 30)?;
/// # let private = PrivateKeyring::new()?;
/// # let keyring = private.keyring()?;
/// let key = keyring.add(vendor.certificate())?;
/// // Has the keyring the key that this signature was made with?
/// let signature = vendor.sign(&RootHash::from_bytes([0; 32]))?;
/// let name = KeyName::IssuerAndSerial(SignedData::parse(&signature)?.key_id());
/// assert_eq!(keyring.key(&name)?, Some(key));
/// assert_eq!(keyring.key(&KeyName::KeyIdentifier(vec![0; 20]))?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyName {
    /// The serial number and issuer of its certificate, as [`SignedData::key_id`](confext_ddi::signature::SignedData::key_id)
    /// puts them together.
    IssuerAndSerial(Vec<u8>),
    /// The subject key identifier of its certificate.
    KeyIdentifier(Vec<u8>),
}

impl KeyName {
    /// What the kernel is asked for; `None` when that is longer than it reads. `ex:` is the whole identifier; `id:` would do
    /// with the end of one.
    fn search_text(&self) -> Option<CString> {
        let (Self::IssuerAndSerial(id) | Self::KeyIdentifier(id)) = self;
        let text = format!("ex:{}", const_hex::encode(id));
        (!id.is_empty() && text.len() <= MOST_DESCRIPTION_BYTES).then_some(())?;
        CString::new(text).ok()
    }
}

/// What came of looking for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is there and can be used.
    Key(KeySerial),
    /// It is there, and nobody but the kernel may use it.
    Forbidden,
    Revoked,
    Expired,
    Nothing,
}

impl Keyring {
    /// The keyring with this description that is visible to this process.
    ///
    /// Any user may make a keyring of any description, except that a `.` at its start is the kernel's. One that somebody else
    /// can write to is not used.
    ///
    /// # Errors
    ///
    /// `keyring-missing`, `keyring-ambiguous`, `keyring-owner`, `os`.
    pub fn named(name: &str) -> Result<Self> {
        let mut found: Vec<Self> = Vec::new();
        for line in listing::parse(&list()?).into_iter().filter(|line| line.kind == "keyring") {
            // The line may be made up, and the key may be gone. What the key says of itself counts.
            let Ok(keyring) = Self::with_serial(line.serial) else { continue };
            if keyring.description == name {
                found.push(keyring);
            }
        }
        match (found.pop(), found.len()) {
            (Some(keyring), 0) => keyring.checked(),
            (None, _) => Err(Error::conflict("keyring-missing", name, "none that can be seen", "a keyring")),
            (Some(_), others) => {
                let count = others.saturating_add(1).to_string();
                Err(Error::conflict("keyring-ambiguous", name, format!("{count} keyrings"), "exactly one"))
            }
        }
    }

    /// The keyring with this number.
    ///
    /// # Errors
    ///
    /// `keyring-missing` when the number is that of another key; `os`.
    pub fn with_serial(serial: KeySerial) -> Result<Self> {
        let target = || format!("key {serial}");
        let bytes = sys::key_describe(serial).map_err(|error| Error::os("describe", target(), error))?;
        let missing = |found: &str| Error::conflict("keyring-missing", target(), found, "a keyring");
        let described = listing::parse_description(&bytes).ok_or_else(|| missing("what cannot be read"))?;
        if described.kind != "keyring" {
            return Err(missing(&format!("a key of type {}", described.kind)));
        }
        let listing::Described { uid, gid, permissions, description, .. } = described;
        Ok(Self { serial, description, uid, gid, permissions })
    }

    /// A keyring that somebody names: by its number, decimal or with `0x`, or by its description, with `%:` before it or not.
    ///
    /// # Errors
    ///
    /// As [`Keyring::named`] and [`Keyring::with_serial`].
    pub fn find(text: &str) -> Result<Self> {
        let number = match text.strip_prefix("0x") {
            Some(digits) => i32::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        match number.and_then(KeySerial::new) {
            Some(serial) => Self::with_serial(serial)?.checked(),
            None => Self::named(text.strip_prefix("%:").unwrap_or(text)),
        }
    }

    /// Refuses a keyring that somebody else can put keys into.
    fn checked(self) -> Result<Self> {
        let others = KeyPermissions::OTHER_WRITE | KeyPermissions::OTHER_SETATTR;
        let group = KeyPermissions::GROUP_WRITE | KeyPermissions::GROUP_SETATTR;
        let me = rustix::process::geteuid().as_raw();
        let found = if self.uid != 0 && self.uid != me {
            format!("one of user {}", self.uid)
        } else if self.permissions.intersects(others) {
            "one that everybody can write to".to_owned()
        } else if self.permissions.intersects(group) && self.gid != 0 {
            format!("one that group {} can write to", self.gid)
        } else {
            return Ok(self);
        };
        let expected = "one that only root and the caller can write to";
        Err(Error::conflict("keyring-owner", self.description, found, expected))
    }

    /// Its number.
    #[must_use]
    pub const fn serial(&self) -> KeySerial {
        self.serial
    }

    /// Its description, like `.secondary_trusted_keys`.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The keys in it, and those of keyrings in it, each once.
    ///
    /// # Errors
    ///
    /// `os` when it may not be read.
    pub fn keys(&self) -> Result<Vec<Key>> {
        let lines = listing::parse(&list()?);
        let failed = |error| Error::os("read", format!("keyring {}", self.description), error);
        let mut serials = sys::keyring_read(self.serial).map_err(failed)?;
        let (mut keys, mut at): (Vec<Key>, usize) = (Vec::new(), 0);
        while let Some(serial) = serials.get(at).copied() {
            at = at.saturating_add(1);
            let key = describe(serial, &lines);
            if key.kind.as_deref() == Some("keyring") {
                for inner in sys::keyring_read(serial).unwrap_or_default() {
                    if !serials.contains(&inner) && inner != self.serial {
                        serials.push(inner);
                    }
                }
            } else {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// The key with this name; `None` when there is none.
    ///
    /// # Errors
    ///
    /// `os`: `EACCES` when it is there and may not be used, `EKEYREVOKED`, `EKEYEXPIRED`.
    pub fn key(&self, name: &KeyName) -> Result<Option<KeySerial>> {
        let failed = |errno| {
            let error = io::Error::from_raw_os_error(errno);
            Err(Error::os("search", format!("keyring {}", self.description), error))
        };
        match self.search(name)? {
            Found::Key(serial) => Ok(Some(serial)),
            Found::Nothing => Ok(None),
            Found::Forbidden => failed(libc::EACCES),
            Found::Revoked => failed(libc::EKEYREVOKED),
            Found::Expired => failed(libc::EKEYEXPIRED),
        }
    }

    pub(crate) fn search(&self, name: &KeyName) -> Result<Found> {
        let target = || format!("keyring {}", self.description);
        let Some(text) = name.search_text() else {
            return Err(Error::os("search", target(), io::Error::from_raw_os_error(libc::ENAMETOOLONG)));
        };
        let error = match sys::key_search(self.serial, c"asymmetric", &text) {
            Ok(serial) => return Ok(Found::Key(serial)),
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::ENOKEY) => Ok(Found::Nothing),
            Some(libc::EKEYREVOKED) => Ok(Found::Revoked),
            Some(libc::EKEYEXPIRED) => Ok(Found::Expired),
            // Where the keyring itself may not be searched, nothing is known of what is in it.
            Some(libc::EACCES) if self.is_searchable() => Ok(Found::Forbidden),
            _ => Err(Error::os("search", target(), error)),
        }
    }

    /// Whether it may be searched: for what is not there, the answer is that it is not there.
    fn is_searchable(&self) -> bool {
        let found = sys::key_search(self.serial, c"asymmetric", c"confext: no key has such a description");
        found.is_err_and(|error| error.raw_os_error() == Some(libc::ENOKEY))
    }

    /// Loads a certificate. The kernel takes its public key, and looks at nothing else of it.
    ///
    /// # Errors
    ///
    /// `keyring-restricted` when the keyring does not take it; `keyring-certificate` when the kernel cannot use it; `os`.
    pub fn add(&self, certificate: &Certificate) -> Result<KeySerial> {
        let der = certificate.to_der()?;
        let error = match sys::add_key(c"asymmetric", c"", &der, self.serial) {
            Ok(serial) => return Ok(serial),
            Err(error) => error,
        };
        let subject = certificate.subject();
        let target = format!("certificate {subject} in keyring {}", self.description);
        match error.raw_os_error() {
            Some(libc::EPERM) => {
                Err(Error::conflict("keyring-restricted", target, "a sealed keyring", "one that takes keys"))
            }
            Some(libc::ENOKEY | libc::EKEYREJECTED) => {
                let found = "a certificate that none of the keys signed that the keyring is restricted by";
                Err(Error::conflict("keyring-restricted", target, found, "one that one of them signed"))
            }
            Some(libc::EBADMSG | libc::ENOPKG | libc::ENOENT | libc::EINVAL) => {
                let found = format!("what the kernel cannot use ({error})");
                let expected = "a certificate with an algorithm that the kernel has";
                Err(Error::conflict("keyring-certificate", target, found, expected))
            }
            _ => Err(Error::os("add_key", target, error)),
        }
    }

    /// From now on the keyring takes only certificates that a key of `other` signed, or, with [`Keyring::seal`], none.
    ///
    /// # Errors
    ///
    /// `keyring-restricted` when it is restricted; `os`.
    pub fn restrict_by(&self, other: &Self) -> Result<()> {
        let restriction = CString::new(format!("key_or_keyring:{}", other.serial)).unwrap_or_default();
        self.restricted(sys::keyring_restrict(self.serial, &restriction))
    }

    /// From now on the keyring takes no keys. Of the keyring `.dm-verity`, the kernel uses the keys from now on.
    ///
    /// # Errors
    ///
    /// `keyring-restricted` when it is restricted; `os`.
    pub fn seal(&self) -> Result<()> {
        self.restricted(sys::keyring_seal(self.serial))
    }

    fn restricted(&self, result: io::Result<()>) -> Result<()> {
        let target = || format!("keyring {}", self.description);
        result.map_err(|error| match error.raw_os_error() {
            Some(libc::EEXIST) => {
                Error::conflict("keyring-restricted", target(), "a restriction", "none so far")
            }
            _ => Error::os("restrict", target(), error),
        })
    }

    /// Whether the keyring takes further keys. Nothing is put into it to find out.
    ///
    /// The kernel is asked to put a keyring into it that is nested too deeply to be put anywhere: whether it refuses for that
    /// reason or for another one tells.
    ///
    /// # Errors
    ///
    /// As [`PrivateKeyring::new`].
    pub fn sealing(&self) -> Result<Sealing> {
        let private = PrivateKeyring::new()?;
        let failed = |error| Error::os("nest", "keyrings of this thread", error);
        let mut outer = private.serial();
        for depth in 0..=DEEPEST {
            let description = CString::new(format!("confext-nested-{depth}")).unwrap_or_default();
            let next = sys::add_key(c"keyring", &description, b"", private.serial()).map_err(failed)?;
            if depth > 0 {
                sys::key_link(outer, next).map_err(failed)?;
            }
            outer = next;
        }
        Ok(match sys::key_link(outer, self.serial).map_err(|error| error.raw_os_error()) {
            Err(Some(libc::EPERM)) => Sealing::Sealed,
            Err(Some(libc::EOPNOTSUPP | libc::ENOKEY)) => Sealing::Restricted,
            Err(Some(libc::ELOOP)) => Sealing::Open,
            // A kernel on which keyrings nest more deeply.
            Ok(()) => {
                sys::key_unlink(outer, self.serial).map_err(failed)?;
                Sealing::Open
            }
            Err(_) => Sealing::Unknown,
        })
    }
}

/// The nesting that a keyring can have, but cannot be put into another one with.
const DEEPEST: usize = 7;

/// What is said of a key, by itself and by the list.
fn describe(serial: KeySerial, lines: &[listing::Line]) -> Key {
    let line = lines.iter().find(|line| line.serial == serial);
    let (described, state) = match sys::key_describe(serial) {
        Ok(bytes) => (listing::parse_description(&bytes), KeyState::Valid),
        Err(error) => match error.raw_os_error() {
            Some(libc::EKEYREVOKED) => (None, KeyState::Revoked),
            Some(libc::EKEYEXPIRED) => (None, KeyState::Expired),
            _ => (None, KeyState::Hidden),
        },
    };
    let (kind, description) = described.map(|found| (found.kind, found.description)).unzip();
    let named = description.as_deref().and_then(listing::subject_and_id);
    let (subject, key_id) = named.map(|(subject, id)| (subject.to_owned(), id.to_owned())).unzip();
    let algorithm =
        line.zip(description.as_deref()).and_then(|(line, text)| listing::algorithm(&line.text, text));
    Key { serial, kind, description, subject, key_id, algorithm, state }
}

fn list() -> Result<String> {
    let bytes = std::fs::read(LIST).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::Missing { what: "keyrings", why: format!("there is no {LIST} (CONFIG_KEYS, or no /proc)") }
        }
        _ => Error::os("read", LIST, error),
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
