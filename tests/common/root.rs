//! A root directory of its own: a small host to merge extensions over.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use confext_core::admission::{Exchange, Layers};
use confext_core::stack::Report;
use confext_core::sys::MountSource;
use confext_core::{Error, Host, Options, merge, refresh, unmerge};
use confext_ddi::build::{Builder, Built, Meta, ReleaseFields, Tree};
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_ddi::signature::{KeyPair, Sign, Time};

/// A root directory of its own, with an `os-release`.
pub struct Root(tempfile::TempDir);

impl Default for Root {
    fn default() -> Self {
        Self::new()
    }
}

impl Root {
    /// A root with an `os-release` and one file in `/etc`.
    pub fn new() -> Self {
        let root = Self(tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap());
        root.file("usr/lib/os-release", "ID=test\nVERSION_ID=1\n").file("etc/base", "base");
        root
    }

    /// A path below the root.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Writes a file, with the directories on the way.
    pub fn file(&self, path: &str, content: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Reads a file; `None` when it cannot be read.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// A directory extension with a release file and one more file.
    pub fn confext(&self, name: &str, path: &str, content: &str) -> &Self {
        let tree = format!("var/lib/confexts/{name}");
        self.file(&format!("{tree}/etc/extension-release.d/extension-release.{name}"), "ID=_any\n");
        self.file(&format!("{tree}/{path}"), content)
    }

    /// A directory extension with a release file and one more file.
    pub fn sysext(&self, name: &str, path: &str, content: &str) -> &Self {
        let tree = format!("var/lib/extensions/{name}");
        self.file(&format!("{tree}/usr/lib/extension-release.d/extension-release.{name}"), "ID=_any\n");
        self.file(&format!("{tree}/{path}"), content)
    }

    /// Builds an image and puts it at `path`: signed with a key, or with a hash tree only.
    pub fn image(&self, class: Class, path: &str, files: &[(&str, &str)], signer: Option<&KeyPair>) -> Built {
        let mut tree = Tree::new();
        for (path, content) in files {
            tree.add_file(path, *content, Meta::new(0o644)).unwrap();
        }
        self.image_of(class, path, tree, signer)
    }

    /// The same, of any tree.
    pub fn image_of(&self, class: Class, path: &str, tree: Tree, signer: Option<&KeyPair>) -> Built {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file_name = path.file_name().unwrap().to_str().unwrap();
        let name = file_name.strip_suffix(".raw").unwrap().split('_').next().unwrap();
        let builder = Builder::new(class, name).tree(tree).release(ReleaseFields::any());
        // Extensions that a host must refuse have to be built first.
        let builder = builder.allow(confext_ddi::lint::Code::ALL.iter().copied());
        let builder = if signer.is_some() { builder } else { builder.unsigned() };
        builder.replace_file().build_file(&path, signer.map(|key| -> &dyn Sign { key })).unwrap()
    }

    /// Makes signatures of a key count on this host.
    pub fn trust(&self, key: &KeyPair) -> &Self {
        let pem = key.certificate_pem().unwrap();
        self.file("etc/verity.d/test.crt", std::str::from_utf8(&pem).unwrap())
    }

    /// The root as a host.
    pub fn host(&self) -> Host {
        Host::open(self.0.path()).unwrap()
    }

    /// Merges what there is, also without protection.
    pub fn merge(&self, class: Class) -> Result<Report, Error> {
        merge(&self.host(), class, &unprotected())
    }

    /// Refreshes, also without protection.
    pub fn refresh(&self, class: Class) -> Result<Report, Error> {
        refresh(&self.host(), class, &unprotected())
    }

    /// Unmerges.
    pub fn unmerge(&self, class: Class) -> Report {
        unmerge(&self.host(), class, &unprotected()).unwrap()
    }

    /// The mount points below the root, in the order they were mounted.
    pub fn mounts(&self) -> Vec<String> {
        let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let root = self.0.path().to_str().unwrap().to_owned();
        text.lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter_map(|point| point.strip_prefix(&root))
            .map(str::to_owned)
            .collect()
    }
}

/// A key of its own, valid from now on.
pub fn key(subject: &str) -> KeyPair {
    KeyPair::generate(subject, Time::from(SystemTime::now()), 1).unwrap()
}

/// Directories have no protection: they are used by explicit choice only.
///
/// With `CONFEXT_TEST_OLD_KERNEL=1` nothing is used that the kernel of Debian 12 does not have.
pub fn unprotected() -> Options {
    let mut options = Options::default();
    options.policy = Policy::unprotected();
    if std::env::var_os("CONFEXT_TEST_OLD_KERNEL").is_some() {
        options.layers = Layers::Staged;
        options.exchange = Exchange::Propagated;
        MountSource::Table.choose();
    }
    options
}
