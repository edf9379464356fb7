//! A host with extensions of both classes and of several kinds that exists in versions, and what can be seen of them.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use confext_core::settings::Mutability;
use confext_core::stack::{Report, Verb};
use confext_core::{Error, Options, apply};
use confext_ddi::release::Class;

use crate::root::{Root, unprotected};

/// The files that show which version is merged, by hierarchy.
pub const FILES: [(&str, &[&str]); 3] = [
    ("usr", &["usr/app/s", "usr/app/t"]),
    ("opt", &["opt/app/s"]),
    ("etc", &["etc/app/c", "etc/app/d", "etc/app/i", "etc/app/j"]),
];

/// A host whose extensions have versions.
pub struct Scene {
    /// The host.
    pub root: Root,
    /// Whether what is merged can be written to.
    pub mode: Mutability,
    replaced: Mutex<VecDeque<Root>>,
}

/// How many versions of the extensions stay readable after they were replaced.
const KEPT: usize = 300;

/// What can be seen of a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// Nothing of the extensions.
    Bare,
    /// One version, all of it.
    Version(String),
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// A host without `/opt`, with a mount below `/etc`.
    #[must_use]
    pub fn new() -> Self {
        let root = Root::new();
        root.file("run/x", "").file("etc/sub/x", "").file("usr/kept", "kept");
        Self { root, mode: Mutability::No, replaced: Mutex::default() }
    }

    /// The same, where what is merged can be written to, and something was written to each hierarchy.
    #[must_use]
    pub fn writable() -> Self {
        let scene = Self { mode: Mutability::Yes, ..Self::new() };
        scene.put("version");
        scene.apply(Verb::Merge).unwrap();
        scene.write("written", "before");
        scene.apply(Verb::Unmerge).unwrap();
        scene
    }

    /// Writes a file of this name to each hierarchy that is merged.
    pub fn write(&self, name: &str, text: &str) {
        for (hierarchy, _) in FILES {
            fs::write(self.root.path(&format!("{hierarchy}/{name}")), text).unwrap();
        }
    }

    /// What each hierarchy keeps of a file that was written to it, and whether it is seen there.
    #[must_use]
    pub fn written(&self, name: &str) -> [(Option<String>, bool); 3] {
        FILES.map(|(hierarchy, _)| {
            let path = format!("{hierarchy}/{name}");
            let kept = self.root.read(&format!("var/lib/extensions.mutable/{path}"));
            (kept, self.root.path(&path).exists())
        })
    }

    /// The work directories that there are.
    #[must_use]
    pub fn work_directories(&self) -> usize {
        let all = fs::read_dir(self.root.path("var/lib/extensions.mutable")).into_iter().flatten();
        all.filter(|entry| entry.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b".systemd-"))
            .count()
    }

    /// How a stack is made here.
    #[must_use]
    pub fn options(mode: Mutability) -> Options {
        let mut options = unprotected();
        options.mutability = mode;
        options.busy_wait = Duration::ZERO;
        options
    }

    /// Replaces all extensions by those of another version: directories and images, each by a rename.
    pub fn put(&self, version: &str) {
        let new = Root::new();
        new.confext("c", "etc/app/c", version).confext("c", "etc/app/d", version);
        new.sysext("s", "usr/app/s", version).sysext("s", "usr/app/t", version);
        new.sysext("s", "opt/app/s", version);
        let files = [("etc/app/i", version), ("etc/app/j", version)];
        new.image(Class::Confext, "var/lib/confexts/i.raw", &files, None);
        for (directory, name) in [("confexts", "c"), ("confexts", "i.raw"), ("extensions", "s")] {
            let path = format!("var/lib/{directory}/{name}");
            fs::create_dir_all(self.root.path(&format!("var/lib/{directory}"))).unwrap();
            exchange(&new.path(&path), &self.root.path(&path));
        }
        // What is merged reads a directory where it is: those that were replaced are kept for a while.
        let mut kept = self.replaced.lock().unwrap();
        kept.push_back(new);
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }

    /// Changes both classes in this process.
    ///
    /// # Errors
    ///
    /// As [`apply`].
    pub fn apply(&self, verb: Verb) -> Result<Vec<Report>, Error> {
        let options = Self::options(self.mode);
        apply(&self.root.host(), verb, &[(Class::Sysext, &options), (Class::Confext, &options)])
    }

    /// What is seen of each hierarchy: usr, opt, etc. Every file of the host must be there and readable, too.
    #[must_use]
    pub fn views(&self) -> [View; 3] {
        for (path, content) in [("usr/kept", "kept"), ("etc/base", "base"), ("etc/sub/below", "below")] {
            assert_eq!(self.root.read(path).as_deref(), Some(content), "{path}");
        }
        FILES.map(|(hierarchy, files)| {
            let found: BTreeSet<Option<String>> = files.iter().map(|path| self.root.read(path)).collect();
            assert_eq!(found.len(), 1, "half of {hierarchy}: {found:?}");
            match found.into_iter().next().flatten() {
                Some(version) => View::Version(version),
                None => View::Bare,
            }
        })
    }

    /// The mounts that there are, sorted.
    #[must_use]
    pub fn mounts(&self) -> Vec<String> {
        let mut mounts = self.root.mounts();
        mounts.sort();
        mounts
    }
}

/// Puts `new` where `old` is, if it is; what was there takes the other place.
fn exchange(new: &Path, old: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let flags = if old.exists() { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
    renameat_with(CWD, new, CWD, old, flags).unwrap();
}
