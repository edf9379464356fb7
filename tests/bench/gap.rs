//! Refreshes with a change each, while a busy reader on every processor looks for files that are missing for a moment
//!
//! `confext-bench-gap REFRESHES [SETTING…]`: needs root. A setting is one of those of [`SETTINGS`], all by default. Prints
//! for each how long a refresh takes in this process when nobody else reads (median of 9), then how often files
//! were read during the refreshes, how often one was missing, and how long a refresh took then. With 0 refreshes, only the first.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use confext_core::stack::{Outcome, Verb};
use confext_core::sys::{self, Depth, Propagation};
use confext_core::{Host, apply};
use confext_ddi::release::Class;
use confext_tests::root::{Root, unprotected};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::mount::{MountFlags, UnmountFlags};

/// A host to measure on.
struct Setting {
    name: &'static str,
    /// How many directory extensions of each class.
    directories: usize,
    /// How many images.
    images: usize,
    classes: &'static [Class],
    /// Whether there are mounts below `/etc`, one in the other.
    submounts: bool,
    /// Whether mounts propagate, as on most hosts.
    shared: bool,
}

const ONE: &[Class] = &[Class::Confext];
const BOTH: &[Class] = &[Class::Sysext, Class::Confext];

const SETTINGS: [Setting; 6] = [
    Setting { name: "20", directories: 20, images: 0, classes: ONE, submounts: false, shared: false },
    Setting { name: "100", directories: 100, images: 0, classes: ONE, submounts: false, shared: false },
    Setting { name: "both", directories: 20, images: 0, classes: BOTH, submounts: false, shared: false },
    Setting { name: "submounts", directories: 20, images: 0, classes: BOTH, submounts: true, shared: false },
    Setting { name: "shared", directories: 20, images: 0, classes: BOTH, submounts: true, shared: true },
    Setting { name: "images", directories: 0, images: 20, classes: ONE, submounts: false, shared: false },
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let refreshes =
        arguments.next().and_then(|text| text.parse().ok()).expect("arguments: REFRESHES [SETTING…]");
    let wanted: Vec<String> = arguments.collect();
    let unknown = wanted.iter().find(|name| !SETTINGS.iter().any(|setting| setting.name == **name));
    assert!(unknown.is_none(), "no such setting: {unknown:?}");
    sys::unshare_mounts().expect("needs root");
    sys::set_propagation(Path::new("/"), Propagation::Private, Depth::Recursive).unwrap();
    for setting in SETTINGS {
        if wanted.is_empty() || wanted.iter().any(|name| name == setting.name) {
            setting.measure(refreshes);
        }
    }
}

impl Setting {
    fn measure(&self, refreshes: u32) {
        let root = Root::new();
        let at = root.path("");
        rustix::mount::mount_bind(&at, &at).unwrap();
        let kind = if self.shared { Propagation::Shared } else { Propagation::Private };
        sys::set_propagation(&at, kind, Depth::Single).unwrap();
        let (files, changing) = self.set_up(&root);
        let (host, options) = (Host::open(&at).unwrap(), unprotected());
        let classes: Vec<_> = self.classes.iter().map(|class| (*class, &options)).collect();
        apply(&host, Verb::Merge, &classes).unwrap();
        let refresh = || {
            for path in &changing {
                let aside = root.path("aside").join(path.replace('/', "-"));
                renameat_with(CWD, root.path(path), CWD, aside, RenameFlags::EXCHANGE).unwrap();
            }
            let start = Instant::now();
            let reports = apply(&host, Verb::Refresh, &classes).unwrap();
            let time = start.elapsed();
            let real = reports.iter().all(|report| matches!(report.outcome, Outcome::Refreshed { .. }));
            assert!(real, "nothing was refreshed");
            time
        };
        let alone = median((0..9).map(|_| refresh()).collect());
        let (done, reads, misses) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let beside = std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| poll(&files, &done, &reads, &misses));
            }
            let times = (0..refreshes).map(|_| refresh()).collect();
            done.store(true, Ordering::Relaxed);
            median(times)
        });
        let (reads, misses) = (reads.into_inner(), misses.into_inner());
        println!(
            "{:<10} {} us alone; {refreshes} refreshes, {reads} reads, {misses} misses, {} us",
            self.name,
            alone.as_micros(),
            beside.as_micros()
        );
        apply(&host, Verb::Unmerge, &classes).unwrap();
        let mounts = if self.submounts { &["etc/sub", ""][..] } else { &[""] };
        for mount in mounts {
            rustix::mount::unmount(root.path(mount), UnmountFlags::DETACH).unwrap();
        }
    }

    /// Makes the extensions; returns files that must be there always, and what is exchanged before each refresh.
    fn set_up(&self, root: &Root) -> (Vec<PathBuf>, Vec<String>) {
        root.file("run/x", "").file("aside/x", "").file("etc/sub/in/x", "");
        let (mut files, mut changing) = (vec![root.path("etc/base")], Vec::new());
        for (class, directory, hierarchy) in
            [(Class::Confext, "confexts", "etc"), (Class::Sysext, "extensions", "usr")]
        {
            if !self.classes.contains(&class) {
                continue;
            }
            let make = |name: &str, content: &str| match class {
                Class::Confext => root.confext(name, &format!("etc/app/{name}"), content),
                Class::Sysext => root.sysext(name, &format!("usr/app/{name}"), content),
            };
            for at in 0..self.directories {
                make(&format!("extension-{at:03}"), "1");
            }
            for at in 0..self.images {
                let path = format!("var/lib/{directory}/extension-{at:03}.raw");
                root.image(class, &path, &[(&format!("{hierarchy}/app/extension-{at:03}"), "1")], None);
            }
            // In the middle of the stack; the others stay as they are.
            let count = self.directories.max(self.images);
            let (first, middle) = (format!("extension-{:03}", 0), format!("extension-{:03}", count / 2));
            let suffix = if self.images > 0 { ".raw" } else { "" };
            let path = format!("var/lib/{directory}/{middle}{suffix}");
            let aside = root.path("aside").join(path.replace('/', "-"));
            fs::rename(root.path(&path), &aside).unwrap();
            if self.images > 0 {
                root.image(class, &path, &[(&format!("{hierarchy}/app/{middle}"), "2")], None);
            } else {
                make(&middle, "2");
            }
            changing.push(path);
            files.extend([first, middle].map(|name| root.path(&format!("{hierarchy}/app/{name}"))));
        }
        if self.submounts {
            for path in ["etc/sub", "etc/sub/in"] {
                rustix::mount::mount("tmpfs", root.path(path), "tmpfs", MountFlags::empty(), None).unwrap();
                files.push(root.path(&format!("{path}/file")));
                root.file(&format!("{path}/file"), "").file("etc/sub/in/x", "");
            }
        }
        (files, changing)
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or(Duration::ZERO)
}

fn poll(files: &[PathBuf], done: &AtomicBool, reads: &AtomicU64, misses: &AtomicU64) {
    while !done.load(Ordering::Relaxed) {
        for file in files {
            if fs::read(file).is_err() {
                misses.fetch_add(1, Ordering::Relaxed);
            }
        }
        reads.fetch_add(files.len() as u64, Ordering::Relaxed);
    }
}
