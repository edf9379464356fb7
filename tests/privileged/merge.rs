//! Merge, refresh and unmerge below a root directory, with the kernel's overlay.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use confext_core::admission::{OnBad, Options, Replace};
use confext_core::stack::{Change, Outcome, Report};
use confext_core::state::HierarchyState;
use confext_core::{Error, Host, merge, refresh, status, unmerge};
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_tests::sweep::isolated;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// A root directory of its own, with an `os-release`.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::Builder::new().prefix("confext-test-").tempdir().unwrap());
        root.file("usr/lib/os-release", "ID=test\nVERSION_ID=1\n").file("etc/base", "base");
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn file(&self, path: &str, content: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// A directory extension with a release file and one more file.
    fn confext(&self, name: &str, path: &str, content: &str) -> &Self {
        let tree = format!("var/lib/confexts/{name}");
        self.file(&format!("{tree}/etc/extension-release.d/extension-release.{name}"), "ID=_any\n");
        self.file(&format!("{tree}/{path}"), content)
    }

    fn sysext(&self, name: &str, path: &str, content: &str) -> &Self {
        let tree = format!("var/lib/extensions/{name}");
        self.file(&format!("{tree}/usr/lib/extension-release.d/extension-release.{name}"), "ID=_any\n");
        self.file(&format!("{tree}/{path}"), content)
    }

    fn host(&self) -> Host {
        Host::open(self.0.path()).unwrap()
    }

    fn merge(&self, class: Class) -> Result<Report, Error> {
        merge(&self.host(), class, &unprotected())
    }

    fn refresh(&self, class: Class) -> Result<Report, Error> {
        refresh(&self.host(), class, &unprotected())
    }

    fn unmerge(&self, class: Class) -> Report {
        unmerge(&self.host(), class, &unprotected()).unwrap()
    }

    fn mounts(&self) -> Vec<String> {
        let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let root = self.0.path().to_str().unwrap().to_owned();
        text.lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter_map(|point| point.strip_prefix(&root))
            .map(str::to_owned)
            .collect()
    }
}

/// Directories have no protection: they are used by explicit choice only.
fn unprotected() -> Options {
    let mut options = Options::default();
    options.policy = Policy::unprotected();
    options
}

fn tmpfs(at: &Path) {
    rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), None).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_confext_is_merged_and_unmerged() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/new", "a").confext("a", "etc/base", "over").file("etc/sub/kept", "kept");
        fs::set_permissions(root.path("etc"), fs::Permissions::from_mode(0o751)).unwrap();
        std::os::unix::fs::chown(root.path("etc"), Some(7), Some(8)).unwrap();

        let report = root.merge(Class::Confext).unwrap();
        assert_eq!((report.outcome, report.hierarchies), (Outcome::Merged, vec!["etc".to_owned()]));
        assert_eq!(root.read("etc/new").as_deref(), Some("a"));
        assert_eq!(root.read("etc/base").as_deref(), Some("over"));
        assert_eq!(root.read("etc/sub/kept").as_deref(), Some("kept"));
        let etc = fs::metadata(root.path("etc")).unwrap();
        assert_eq!((etc.mode() & 0o7777, etc.uid(), etc.gid()), (0o751, 7, 8));
        assert_eq!(
            fs::write(root.path("etc/new"), "x").unwrap_err().kind(),
            std::io::ErrorKind::ReadOnlyFilesystem
        );
        let flags = rustix::fs::statvfs(root.path("etc")).unwrap().f_flag;
        use rustix::fs::StatVfsMountFlags as F;
        assert!(flags.contains(F::RDONLY | F::NODEV | F::NOSUID | F::NOEXEC), "{flags:?}");
        assert_eq!(root.mounts(), ["/etc"]);

        assert_eq!(root.unmerge(Class::Confext).outcome, Outcome::Unmerged);
        assert_eq!(root.read("etc/new"), None);
        assert_eq!(root.read("etc/base").as_deref(), Some("base"));
        assert_eq!(root.mounts(), [""; 0]);
        assert_eq!(root.unmerge(Class::Confext).outcome, Outcome::Nothing);
        assert!(!root.path("run").exists(), "the lock left something");
    });
}

#[test]
#[ignore = "needs root"]
fn the_metadata_is_what_systemd_writes() {
    isolated(|| {
        let root = Root::new();
        root.confext("b", "etc/b", "b").confext("a", "etc/a", "a");
        root.merge(Class::Confext).unwrap();
        assert_eq!(root.read("etc/.systemd-confext/confexts").as_deref(), Some("a\nb\n"));
        let dev = fs::metadata(root.path("etc")).unwrap().dev();
        let dev = format!("{}:{}\n", rustix::fs::major(dev), rustix::fs::minor(dev));
        assert_eq!(root.read("etc/.systemd-confext/dev"), Some(dev));
        let mode = |path: &str| fs::metadata(root.path(path)).unwrap().mode() & 0o7777;
        assert_eq!(mode("etc/.systemd-confext"), 0o755);
        for file in ["dev", "confexts", "origin", "provenance.json"] {
            assert_eq!(mode(&format!("etc/.systemd-confext/{file}")), 0o644, "{file}");
        }
        let found = &status(&root.host(), Class::Confext).unwrap()[0];
        let HierarchyState::Merged { extensions, since, record, doubts } = &found.state else {
            panic!("{found:?}")
        };
        assert_eq!((extensions.join(" ").as_str(), doubts.len()), ("a b", 0), "{doubts:?}");
        assert!(*since > 1_700_000_000);
        let record = record.as_ref().unwrap();
        assert_eq!((record.layers.len(), record.policy.clone()), (2, Policy::unprotected().to_string()));
        assert_eq!(status(&root.host(), Class::Sysext).unwrap()[1].state, HierarchyState::Missing);
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn the_highest_name_is_on_top() {
    isolated(|| {
        let root = Root::new();
        for name in ["B", "a~", "a1", "a2", "a10", "b_1"] {
            root.confext(name, "etc/f", name);
        }
        let report = root.merge(Class::Confext).unwrap();
        let names: Vec<_> = report.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["B", "a~", "a1", "a2", "a10", "b_1"]);
        assert_eq!(root.read("etc/f").as_deref(), Some("b_1"));
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn a_second_merge_is_a_conflict() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/a", "a");
        root.merge(Class::Confext).unwrap();
        let error = root.merge(Class::Confext).unwrap_err();
        assert_eq!(error.code(), "already-merged");
        assert!(error.to_string().contains("a stack of a"), "{error}");
        assert_eq!(root.mounts(), ["/etc"]);
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn a_refresh_says_what_it_did_and_why() {
    isolated(|| {
        let root = Root::new();
        assert_eq!(root.refresh(Class::Confext).unwrap().outcome, Outcome::Nothing);
        root.confext("a", "etc/a", "1");
        assert_eq!(root.refresh(Class::Confext).unwrap().outcome, Outcome::Merged);
        let Outcome::Unchanged { decided_by } = root.refresh(Class::Confext).unwrap().outcome else {
            panic!()
        };
        assert_eq!((decided_by[0].name.as_str(), decided_by[0].test), ("a", "directory"));

        root.confext("b", "etc/b", "2");
        let outcome = root.refresh(Class::Confext).unwrap().outcome;
        assert_eq!(outcome, Outcome::Refreshed { because: vec![Change::Added { name: "b".into() }] });
        assert_eq!(root.read("etc/b").as_deref(), Some("2"));

        // A change deep inside a directory is seen.
        root.file("var/lib/confexts/a/etc/deep/down", "x");
        let outcome = root.refresh(Class::Confext).unwrap().outcome;
        let change = Change::Replaced { name: "a".into(), test: "directory" };
        assert_eq!(outcome, Outcome::Refreshed { because: vec![change] });
        assert_eq!(root.read("etc/deep/down").as_deref(), Some("x"));

        let mut options = unprotected();
        options.replace = Replace::Always;
        let outcome = refresh(&root.host(), Class::Confext, &options).unwrap().outcome;
        assert_eq!(outcome, Outcome::Refreshed { because: vec![Change::Asked] });
        assert_eq!(root.mounts(), ["/etc"]);

        fs::remove_dir_all(root.path("var/lib/confexts")).unwrap();
        assert_eq!(root.refresh(Class::Confext).unwrap().outcome, Outcome::Unmerged);
        assert_eq!(root.mounts(), [""; 0]);
    });
}

#[test]
#[ignore = "needs root"]
fn a_polling_reader_never_misses() {
    isolated(|| {
        use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
        let root = Root::new();
        root.confext("a", "etc/dir/f", "a");
        root.merge(Class::Confext).unwrap();
        let mut options = unprotected();
        options.replace = Replace::Always;
        let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let path = root.path("etc/dir/f");
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(fs::read_to_string(&path).unwrap(), "a");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
            let host = root.host();
            let swaps = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in 0..2000 {
                    refresh(&host, Class::Confext, &options).unwrap();
                }
            }));
            done.store(true, Ordering::Relaxed);
            swaps.unwrap();
        });
        assert!(reads.load(Ordering::Relaxed) > 2000);
        assert_eq!(root.mounts(), ["/etc"]);
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn both_hierarchies_of_a_sysext_are_merged() {
    isolated(|| {
        let root = Root::new();
        root.sysext("s", "usr/bin/tool", "t").sysext("s", "opt/app/x", "x");
        let report = root.merge(Class::Sysext).unwrap();
        assert_eq!(report.hierarchies, ["usr", "opt"]);
        assert_eq!(root.read("usr/bin/tool").as_deref(), Some("t"));
        assert_eq!(root.read("opt/app/x").as_deref(), Some("x"));
        assert!(root.read("usr/lib/os-release").is_some());

        // Without files in /opt, the stack of /opt goes and the rest is refreshed.
        fs::remove_dir_all(root.path("var/lib/extensions/s/opt")).unwrap();
        assert_eq!(root.refresh(Class::Sysext).unwrap().hierarchies, ["usr"]);
        assert!(!root.path("opt").exists(), "the mount point that was made is left behind");
        assert_eq!(root.mounts(), ["/usr"]);
        root.unmerge(Class::Sysext);
    });
}

#[test]
#[ignore = "needs root"]
fn mounts_below_survive() {
    isolated(|| {
        for shared in [false, true] {
            let root = Root::new();
            root.confext("a", "etc/a", "a").file("etc/sub/inner/hidden", "").file("etc/late/x", "");
            tmpfs(root.0.path());
            rustix::mount::unmount(root.0.path(), UnmountFlags::empty()).unwrap();
            if shared {
                let kind = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
                rustix::mount::mount_change("/", kind).unwrap();
            }
            tmpfs(&root.path("etc/sub"));
            root.file("etc/sub/outer", "outer").file("etc/sub/inner/x", "");
            tmpfs(&root.path("etc/sub/inner"));
            root.file("etc/sub/inner/deep", "deep");

            root.merge(Class::Confext).unwrap();
            let check = |when: &str| {
                assert_eq!(root.read("etc/sub/outer").as_deref(), Some("outer"), "{when}");
                assert_eq!(root.read("etc/sub/inner/deep").as_deref(), Some("deep"), "{when}");
            };
            check("merged");
            root.file("etc/sub/written", "while merged");
            root.confext("b", "etc/b", "b");
            root.refresh(Class::Confext).unwrap();
            check("refreshed");
            // One mount comes while the stack is there, one goes.
            tmpfs(&root.path("etc/late"));
            root.file("etc/late/new", "new");
            root.unmerge(Class::Confext);
            check("unmerged");
            assert_eq!(root.read("etc/sub/written").as_deref(), Some("while merged"));
            assert_eq!(root.read("etc/late/new").as_deref(), Some("new"));

            root.merge(Class::Confext).unwrap();
            rustix::mount::unmount(root.path("etc/sub/inner"), UnmountFlags::empty()).unwrap();
            root.unmerge(Class::Confext);
            assert_eq!(root.read("etc/sub/inner/deep"), None);
            assert_eq!(root.read("etc/sub/outer").as_deref(), Some("outer"));

            for path in ["etc/late", "etc/sub"] {
                rustix::mount::unmount(root.path(path), UnmountFlags::DETACH).unwrap();
            }
            assert_eq!(root.mounts(), [""; 0]);
            let kind = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", kind).unwrap();
        }
    });
}

#[test]
#[ignore = "needs root"]
fn links_and_copies_do_not_confuse() {
    isolated(|| {
        let root = Root::new();
        fs::rename(root.path("etc"), root.path("real-etc")).unwrap();
        symlink("/real-etc", root.path("etc")).unwrap();
        root.confext("a", "etc/a", "a");
        root.merge(Class::Confext).unwrap();
        assert_eq!(root.mounts(), ["/real-etc"]);
        assert_eq!(root.read("real-etc/a").as_deref(), Some("a"));
        root.refresh(Class::Confext).unwrap();
        root.unmerge(Class::Confext);
        assert_eq!(root.mounts(), [""; 0]);
    });
}

#[test]
#[ignore = "needs root"]
fn one_bad_extension_stops_all_or_is_skipped() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/a", "a").file("var/lib/confexts/bad.raw", "");
        let error = root.merge(Class::Confext).unwrap_err();
        assert!(error.to_string().contains("bad.raw"), "{error}");
        assert_eq!(root.mounts(), [""; 0]);

        let mut options = unprotected();
        options.on_bad = OnBad::Skip;
        let report = merge(&root.host(), Class::Confext, &options).unwrap();
        assert_eq!(report.layers.len(), 1);
        assert_eq!(report.refused[0].name.as_deref(), Some("bad"));
        assert_eq!(report.refused[0].code, error.code());
        // Now a refresh that fails leaves what is there.
        assert_eq!(root.refresh(Class::Confext).unwrap_err().code(), error.code());
        assert_eq!(root.read("etc/a").as_deref(), Some("a"));
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn an_extension_for_another_host_is_left_out() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/a", "a").confext("b", "etc/b", "b");
        root.file("var/lib/confexts/b/etc/extension-release.d/extension-release.b", "ID=other\n");
        let report = root.merge(Class::Confext).unwrap();
        assert_eq!(report.layers.len(), 1);
        assert_eq!(report.refused.len(), 1);
        assert_eq!(report.refused[0].severity, confext_core::discover::Severity::Ignored);
        assert!(report.refused[0].message.contains("other"), "{:?}", report.refused[0]);
        assert_eq!(root.read("etc/b"), None);
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn directories_need_an_explicit_policy() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/a", "a");
        let error = merge(&root.host(), Class::Confext, &Options::default()).unwrap_err();
        assert_eq!(error.code(), "policy");
        assert!(!error.hint().is_empty());
        assert_eq!(root.mounts(), [""; 0]);
    });
}

#[test]
#[ignore = "needs root"]
fn parallel_refreshes_leave_one_stack() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/a", "a");
        let namespace = confext_core::sys::current_mount_namespace().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut options = unprotected();
                    options.replace = Replace::Always;
                    for _ in 0..10 {
                        refresh(&root.host(), Class::Confext, &options).unwrap();
                    }
                });
            }
        });
        drop(namespace);
        assert_eq!(root.mounts(), ["/etc"]);
        root.unmerge(Class::Confext);
        assert_eq!(root.mounts(), [""; 0]);
    });
}
