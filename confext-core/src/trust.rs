//! Whose signatures count: certificates of the host's `verity.d` directories, keyrings of the kernel

mod report;
mod sources;
mod voa;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use confext_ddi::signature::{Certificate, Certificates, Time, TrustSource};
use serde::Serialize;

use crate::directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::OFlags;

pub use report::{
    Answer, ImageReport, Kernel, KeyringReport, KeyringState, Parameter, Presence, Report, SignatureReport,
    Verdict, report,
};
pub use sources::{Opened, Source, Sources};
pub use voa::VOA_DIRECTORIES;

/// Where certificates are looked for, inside the root; of two files of one name the first one counts.
pub const DIRECTORIES: [&str; 4] =
    ["/etc/verity.d", "/run/verity.d", "/usr/local/lib/verity.d", "/usr/lib/verity.d"];

/// A certificate is a few kilobytes.
const MOST_BYTES: u64 = 1 << 20;

/// The certificates found on a host, and what was found that is none.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::trust::Trust;
///
/// let trust = Trust::read(&host, std::time::SystemTime::now())?;
/// let subjects: Vec<_> = trust.certificates.iter().map(|certificate| certificate.subject()).collect();
/// assert_eq!(subjects, ["CN=vendor"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Trust {
    /// Those that count.
    pub certificates: Certificates,
    /// Each file that was looked at.
    pub files: Vec<TrustFile>,
}

/// A file in a `verity.d` directory, or in the VOA hierarchy.
///
/// ```
/// # let (root, host) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/signed.in"));
/// use confext_core::trust::{Trust, TrustFile, TrustState};
///
/// let trust = Trust::read(&host, std::time::SystemTime::now())?;
/// let file: &TrustFile = &trust.files[0];
/// assert_eq!(file.path, std::path::Path::new("/etc/verity.d/vendor.crt"));
/// assert_eq!(file.state, TrustState::Used);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TrustFile {
    /// Where it is, inside the root.
    #[serde(serialize_with = "crate::discover::lossy")]
    pub path: PathBuf,
    /// What came of it.
    #[serde(flatten)]
    pub state: TrustState,
}

/// What came of a file in a `verity.d` directory.
///
/// ```
/// # let (root, host, mut options) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/root.in"));
/// use confext_core::trust::{Trust, TrustState};
///
/// std::fs::create_dir(root.path().join("etc/verity.d"))?;
/// std::fs::write(root.path().join("etc/verity.d/vendor.crt"), "no certificate")?;
/// let trust = Trust::read(&host, std::time::SystemTime::now())?;
/// let TrustState::Refused { code, message } = &trust.files[0].state else { panic!("it counts") };
/// println!("[{code}] {message}");
/// assert!(trust.certificates.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum TrustState {
    /// Its certificate counts.
    Used,
    /// An earlier directory has a file of this name.
    Shadowed,
    /// It is empty or a link to `/dev/null`: it takes the name and has no certificate.
    Masks,
    /// It cannot be used.
    Refused {
        /// The stable code.
        code: &'static str,
        /// What was found and what was expected.
        message: String,
    },
}

impl Trust {
    /// Reads the `*.crt` files of the host: one certificate in PEM form each. `now` is the moment at which
    /// certificates have to be valid. A file that is no certificate only lacks in the set.
    ///
    /// # Errors
    ///
    /// `os` when a directory is there and cannot be listed: which files it masks is unknown then.
    pub fn read(host: &Host, now: impl Into<Time>) -> Result<Self> {
        let mut trust = Self { certificates: Certificates::new(now.into()), files: Vec::new() };
        let mut taken = BTreeSet::new();
        for directory in DIRECTORIES.map(Path::new) {
            let failed = |error| Error::os("list", host.display(directory), error);
            let place = match host.open_path(directory, OFlags::DIRECTORY) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                place => place.map_err(failed)?,
            };
            let names = directory::names(place.as_fd()).map_err(|errno| failed(errno.into()))?;
            for name in names.into_iter().filter(|name| name.ends_with(b".crt")) {
                let path = directory.join(OsString::from_vec(name.clone()));
                let state = if taken.insert(name) { trust.add(host, &path) } else { TrustState::Shadowed };
                trust.files.push(TrustFile { path, state });
            }
        }
        Ok(trust)
    }

    fn add(&mut self, host: &Host, path: &Path) -> TrustState {
        if masks(host, path) {
            return TrustState::Masks;
        }
        let added = match host.read(path, "certificate file", MOST_BYTES) {
            Ok(pem) if pem.is_empty() => return TrustState::Masks,
            Ok(pem) => Certificate::from_pem(&pem).map_err(Error::from).map(|certificate| {
                let source = TrustSource::File { path: path.to_string_lossy().into_owned() };
                self.certificates.add_from(certificate, source);
            }),
            Err(error) => Err(error),
        };
        match added {
            Ok(()) => TrustState::Used,
            Err(error) => TrustState::Refused { code: error.code(), message: error.explain() },
        }
    }
}

/// Inside another root there may be no `/dev/null`, so that the link says it, not what it leads to.
pub(crate) fn masks(host: &Host, path: &Path) -> bool {
    let place = host.open_path(path, OFlags::NOFOLLOW);
    let target = place.and_then(|place| Ok(rustix::fs::readlinkat(place, c"", Vec::new())?));
    target.is_ok_and(|target| target.as_bytes() == Path::new("/dev/null").as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use confext_ddi::signature::KeyPair;
    use std::fs;
    use std::time::SystemTime;

    #[test]
    fn certificates_come_from_the_root_and_the_first_name_wins() {
        let root = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let pem = |subject: &str| {
            KeyPair::generate(subject, Time::from(now), 1).unwrap().certificate_pem().unwrap()
        };
        for directory in DIRECTORIES {
            fs::create_dir_all(root.path().join(&directory[1..])).unwrap();
        }
        let file = |path: &str, bytes: &[u8]| fs::write(root.path().join(path), bytes).unwrap();
        file("etc/verity.d/a.crt", &pem("a"));
        file("usr/lib/verity.d/a.crt", &pem("other"));
        file("usr/lib/verity.d/b.crt", &pem("b"));
        file("usr/lib/verity.d/masked.crt", &pem("masked"));
        std::os::unix::fs::symlink("/dev/null", root.path().join("run/verity.d/masked.crt")).unwrap();
        file("usr/lib/verity.d/empty.crt", b"");
        file("usr/lib/verity.d/junk.crt", b"junk");
        file("usr/lib/verity.d/readme", b"no certificate");

        let trust = Trust::read(&Host::open(root.path()).unwrap(), now).unwrap();
        let sources: Vec<_> = trust
            .certificates
            .iter()
            .filter_map(|certificate| trust.certificates.source(&certificate.fingerprint()))
            .map(ToString::to_string)
            .collect();
        assert_eq!(sources, ["file /etc/verity.d/a.crt", "file /usr/lib/verity.d/b.crt"]);
        let found: Vec<_> = trust
            .files
            .iter()
            .map(|file| (file.path.to_str().unwrap(), serde_json::to_value(file).unwrap()["state"].clone()))
            .collect();
        assert_eq!(
            found,
            [
                ("/etc/verity.d/a.crt", "used".into()),
                ("/run/verity.d/masked.crt", "masks".into()),
                ("/usr/lib/verity.d/a.crt", "shadowed".into()),
                ("/usr/lib/verity.d/b.crt", "used".into()),
                ("/usr/lib/verity.d/empty.crt", "masks".into()),
                ("/usr/lib/verity.d/junk.crt", "refused".into()),
                ("/usr/lib/verity.d/masked.crt", "shadowed".into()),
            ]
        );
    }

    #[test]
    fn no_directory_is_no_certificate() {
        let root = tempfile::tempdir().unwrap();
        let trust = Trust::read(&Host::open(root.path()).unwrap(), SystemTime::now()).unwrap();
        assert!(trust.certificates.is_empty() && trust.files.is_empty());
    }
}
