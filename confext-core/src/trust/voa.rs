//! Certificates in the file hierarchy for the verification of OS artifacts (VOA): by system, purpose, context, technology

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use confext_ddi::limits::Limits;
use confext_ddi::signature::{Certificates, Time};
use rustix::fs::FileType;

use super::{Trust, TrustFile, TrustState, masks};
use crate::directory;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::OFlags;

/// Where the hierarchy is, inside the root; of two files of one name the first one counts.
pub const VOA_DIRECTORIES: [&str; 4] = ["/etc/voa", "/run/voa", "/usr/local/share/voa", "/usr/share/voa"];
/// The one that is gone at the next boot: links in it do not count.
const EPHEMERAL: &str = "/run/voa";
const PURPOSE: &str = "image";
const TECHNOLOGY: &str = "x509";
/// What the name of a system is made of, in this order.
const PARTS: [&str; 5] = ["ID", "VERSION_ID", "VARIANT_ID", "IMAGE_ID", "IMAGE_VERSION"];

impl Trust {
    /// Reads the certificates for images in the VOA hierarchy: `SYSTEM/image/CONTEXT/x509/*.crt` and `*.pem`, where the system is
    /// named as in `os-release`, with all that it says and with less (`debian:13`, `debian`). One certificate in PEM form each.
    ///
    /// A link to `/dev/null` masks its name in all directories of a system. Other links count only where they lead to a file or
    /// directory of the same name in the same directory or in one after it. Trust anchors are not used: each certificate
    /// counts for itself.
    ///
    /// # Errors
    ///
    /// `voa-context` for what is no context; as [`Host::release`] when the system does not say what it is; `os` when a
    /// directory is there and cannot be listed.
    ///
    /// # Spec
    ///
    /// File Hierarchy for the Verification of OS Artifacts, which leaves it open yet how X.509 certificates lie there.
    pub fn read_voa(host: &Host, context: &str, now: impl Into<Time>) -> Result<Self> {
        if !is_identifier(context) || context.is_empty() {
            let expected = "letters from a to z, digits and . _ -";
            return Err(Error::conflict("voa-context", context, format!("{context:?}"), expected));
        }
        let mut trust = Self { certificates: Certificates::new(now.into()), files: Vec::new() };
        for system in systems(host)? {
            trust.read_system(host, &Path::new(&system).join(PURPOSE).join(context).join(TECHNOLOGY))?;
        }
        Ok(trust)
    }

    fn read_system(&mut self, host: &Host, inner: &Path) -> Result<()> {
        let mut found = Vec::new();
        for (at, top) in VOA_DIRECTORIES.iter().enumerate() {
            let directory = Path::new(top).join(inner);
            let failed = |error| Error::os("list", host.display(&directory), error);
            let place = match host.open_path(&directory, OFlags::DIRECTORY) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                place => place.map_err(failed)?,
            };
            let real = host.path_of(place.as_fd()).map(|real| Path::new("/").join(real));
            if !may_lead_to(at, &directory, real.as_deref()) {
                let state = refused_link(&directory, real.as_deref());
                self.files.push(TrustFile { path: directory, state });
                continue;
            }
            let names = directory::names(place.as_fd()).map_err(|errno| failed(errno.into()))?;
            let is_certificate = |name: &Vec<u8>| name.ends_with(b".crt") || name.ends_with(b".pem");
            found.extend(names.into_iter().filter(is_certificate).map(|name| (at, directory.clone(), name)));
        }
        let path_of = |directory: &Path, name: &[u8]| directory.join(OsStr::from_bytes(name));
        let masked: BTreeSet<Vec<u8>> = found
            .iter()
            .filter(|(_, directory, name)| masks(host, &path_of(directory, name)))
            .map(|(_, _, name)| name.clone())
            .collect();
        let mut taken = BTreeSet::new();
        for (at, directory, name) in found {
            let path = path_of(&directory, &name);
            let state = if masks(host, &path) {
                TrustState::Masks
            } else if masked.contains(&name) || taken.contains(&name) {
                TrustState::Shadowed
            } else {
                let state = self.add_linked(host, at, &path);
                taken.insert(name);
                state
            };
            self.files.push(TrustFile { path, state });
        }
        Ok(())
    }

    /// Adds a file, or what a link that counts leads to.
    fn add_linked(&mut self, host: &Host, at: usize, path: &Path) -> TrustState {
        let real = host.open_path(path, OFlags::empty()).ok().and_then(|place| {
            let stat = directory::statx(place.as_fd()).ok()?;
            let is_file = FileType::from_raw_mode(u32::from(stat.stx_mode)) == FileType::RegularFile;
            let real = host.path_of(place.as_fd())?;
            is_file.then(|| Path::new("/").join(real))
        });
        if !may_lead_to(at, path, real.as_deref()) {
            return refused_link(path, real.as_deref());
        }
        self.add(host, path)
    }
}

/// Whether what is at `path`, below the hierarchy number `at`, may lead to `real`.
fn may_lead_to(at: usize, path: &Path, real: Option<&Path>) -> bool {
    let Some(real) = real else { return false };
    if real == path {
        return true;
    }
    let tops = VOA_DIRECTORIES.get(at..).unwrap_or_default();
    let same_name = real.file_name() == path.file_name();
    same_name && tops.first() != Some(&EPHEMERAL) && tops.iter().any(|top| real.starts_with(top))
}

fn refused_link(path: &Path, real: Option<&Path>) -> TrustState {
    let found = real.map_or_else(
        || "what is no file, or a link to nothing".to_owned(),
        |real| format!("a link to {}", real.display()),
    );
    let expected = "a file, or a link to one of its name in this hierarchy or one after it";
    let error = Error::conflict("voa-link", path.display().to_string(), found, expected);
    TrustState::Refused { code: error.code(), message: error.explain() }
}

/// The names of a system, from all that it says to its `ID`.
fn systems(host: &Host) -> Result<Vec<String>> {
    let release = host.os_release(&Limits::default())?;
    let parts = PARTS.map(|key| release.get_filled(key).unwrap_or_default());
    let mut systems: Vec<String> = Vec::new();
    for count in (1..=PARTS.len()).rev() {
        let some = parts.get(..count).unwrap_or_default();
        let name = some.join(":");
        let name = name.trim_end_matches(':');
        let fits = !name.starts_with(':') && some.iter().all(|part| is_identifier(part));
        if fits && !name.is_empty() && !systems.iter().any(|known| known == name) {
            systems.push(name.to_owned());
        }
    }
    Ok(systems)
}

fn is_identifier(text: &str) -> bool {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    text.bytes().all(fits) && text != "." && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use confext_ddi::signature::KeyPair;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    struct Scene(tempfile::TempDir);

    impl Scene {
        fn new(os_release: &str) -> Self {
            let scene = Self(tempfile::tempdir().unwrap());
            scene.put("etc/os-release", os_release.as_bytes());
            scene
        }

        fn put(&self, path: &str, bytes: &[u8]) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }

        fn certificate(&self, path: &str) {
            let now = Time::from(SystemTime::now());
            self.put(path, &KeyPair::generate("voa", now, 1).unwrap().certificate_pem().unwrap());
        }

        fn link(&self, path: &str, target: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        }

        fn read(&self, context: &str) -> Result<Vec<(String, &'static str)>> {
            let trust = Trust::read_voa(&Host::open(self.0.path()).unwrap(), context, SystemTime::now())?;
            let found = trust.files.iter().map(|file| {
                let state = match &file.state {
                    TrustState::Used => "used",
                    TrustState::Shadowed => "shadowed",
                    TrustState::Masks => "masks",
                    TrustState::Refused { code, .. } => code,
                };
                (file.path.to_str().unwrap().to_owned(), state)
            });
            let found: Vec<_> = found.collect();
            let used = found.iter().filter(|(_, state)| *state == "used").count();
            assert_eq!(trust.certificates.len(), used);
            Ok(found)
        }
    }

    #[test]
    fn certificates_are_those_of_the_system_its_purpose_and_context() {
        let scene = Scene::new("ID=debian\nVERSION_ID=13\nVARIANT_ID=server\n");
        for path in [
            "etc/voa/debian:13:server/image/default/x509/a.crt",
            "usr/share/voa/debian:13/image/default/x509/b.pem",
            "usr/share/voa/debian/image/default/x509/c.crt",
            "etc/voa/debian/image/default/x509/c.crt",
            "usr/share/voa/debian/image/virtual-machine/x509/other-context.crt",
            "usr/share/voa/debian/package/default/x509/other-purpose.crt",
            "usr/share/voa/debian/image/default/openpgp/other-technology.crt",
            "usr/share/voa/debian:12/image/default/x509/other-system.crt",
        ] {
            scene.certificate(path);
        }
        scene.put("usr/share/voa/debian/image/default/x509/d.crt", b"junk");
        scene.put("usr/share/voa/debian/image/default/x509/readme", b"");
        let expected = [
            ("/etc/voa/debian:13:server/image/default/x509/a.crt", "used"),
            ("/usr/share/voa/debian:13/image/default/x509/b.pem", "used"),
            ("/etc/voa/debian/image/default/x509/c.crt", "used"),
            ("/usr/share/voa/debian/image/default/x509/c.crt", "shadowed"),
            ("/usr/share/voa/debian/image/default/x509/d.crt", "certificate-pem"),
        ];
        assert_eq!(scene.read("default").unwrap(), expected.map(|(path, state)| (path.to_owned(), state)));
        assert_eq!(scene.read("virtual-machine").unwrap().len(), 1);
        assert_eq!(scene.read("../default").unwrap_err().code(), "voa-context");
        assert_eq!(scene.read("").unwrap_err().code(), "voa-context");
    }

    #[test]
    fn links_stay_in_the_hierarchy_and_keep_their_name() {
        let scene = Scene::new("ID=debian\n");
        let place = "voa/debian/image/default/x509";
        for name in ["a.crt", "b.crt", "masked.crt"] {
            scene.certificate(&format!("usr/share/{place}/{name}"));
        }
        scene.certificate("etc/elsewhere/c.crt");
        scene.link(&format!("etc/{place}/a.crt"), "/usr/share/voa/debian/image/default/x509/a.crt");
        scene.link(&format!("etc/{place}/renamed.crt"), "/usr/share/voa/debian/image/default/x509/b.crt");
        scene.link(&format!("etc/{place}/c.crt"), "../../../../../elsewhere/c.crt");
        scene.link(&format!("etc/{place}/dangling.crt"), "/usr/share/nothing");
        scene.link(&format!("etc/{place}/masked.crt"), "/dev/null");
        scene.link(&format!("run/{place}/b.crt"), "/usr/share/voa/debian/image/default/x509/b.crt");
        let expected = [
            ("/etc/voa/debian/image/default/x509/a.crt", "used"),
            ("/etc/voa/debian/image/default/x509/c.crt", "voa-link"),
            ("/etc/voa/debian/image/default/x509/dangling.crt", "voa-link"),
            ("/etc/voa/debian/image/default/x509/masked.crt", "masks"),
            ("/etc/voa/debian/image/default/x509/renamed.crt", "voa-link"),
            ("/run/voa/debian/image/default/x509/b.crt", "voa-link"),
            ("/usr/share/voa/debian/image/default/x509/a.crt", "shadowed"),
            ("/usr/share/voa/debian/image/default/x509/b.crt", "shadowed"),
            ("/usr/share/voa/debian/image/default/x509/masked.crt", "shadowed"),
        ];
        assert_eq!(scene.read("default").unwrap(), expected.map(|(path, state)| (path.to_owned(), state)));
    }

    #[test]
    fn a_directory_may_be_a_link_to_one_with_less_precedence() {
        let scene = Scene::new("ID=debian\n");
        scene.certificate("usr/share/voa/debian/image/default/x509/a.crt");
        scene.link("etc/voa/debian/image", "/usr/share/voa/debian/image");
        let used = ("/etc/voa/debian/image/default/x509/a.crt".to_owned(), "used");
        assert_eq!(scene.read("default").unwrap()[0], used);
        scene.certificate("elsewhere/image/other/x509/b.crt");
        scene.link("usr/local/share/voa/debian/image", "/elsewhere/image");
        let refused = ("/usr/local/share/voa/debian/image/other/x509".to_owned(), "voa-link");
        assert_eq!(scene.read("other").unwrap(), [refused]);
    }

    #[test]
    fn a_system_has_names_from_long_to_short() {
        let names = |text: &str| systems(&Host::open(Scene::new(text).0.path()).unwrap()).unwrap();
        let all = "ID=a\nVERSION_ID=1\nVARIANT_ID=b\nIMAGE_ID=c\nIMAGE_VERSION=2\n";
        assert_eq!(names(all), ["a:1:b:c:2", "a:1:b:c", "a:1:b", "a:1", "a"]);
        assert_eq!(names("ID=arch\nIMAGE_ID=till\n"), ["arch:::till", "arch"]);
        assert_eq!(names("ID=arch\nVERSION_ID=\"1 b\"\n"), ["arch"]);
    }
}
