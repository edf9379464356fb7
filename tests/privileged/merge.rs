//! Merge, refresh and unmerge below a root directory, with the kernel's overlay.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use confext_core::admission::{Exchange, OnBad, Options, Replace};
use confext_core::plan::{Fate, Plan, VetoKind};
use confext_core::stack::{Change, Merged, Outcome};
use confext_core::state::HierarchyState;
use confext_core::{list, merge, plan, refresh, status};
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_tests::root::{Root, unprotected};
use confext_tests::sweep::isolated;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

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
fn who_wrote_a_record_knows_what_others_read() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/systemd/system/a.service", "[Service]\n").confext("b", "etc/sub/b", "b");
        let host = root.host();
        merge(&host, Class::Confext, &unprotected()).unwrap();
        let own = status(&host, Class::Confext).unwrap();
        assert_eq!(own, status(&root.host(), Class::Confext).unwrap());
        let HierarchyState::Merged { record, .. } = &own[0].state else { panic!("{own:?}") };
        assert!(record.as_ref().unwrap().heard.as_ref().unwrap().consumed.is_some());
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
fn d12_a_polling_reader_never_misses() {
    isolated(|| {
        use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
        let root = Root::new();
        root.confext("a", "etc/dir/f", "a");
        root.merge(Class::Confext).unwrap();
        let mut options = unprotected();
        options.replace = Replace::Always;
        // Where a stack arrives by propagation the kernel takes some fifty times as long.
        let refreshes = if options.exchange == Exchange::Propagated { 100 } else { 2000 };
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
                for _ in 0..refreshes {
                    refresh(&host, Class::Confext, &options).unwrap();
                }
            }));
            done.store(true, Ordering::Relaxed);
            swaps.unwrap();
        });
        assert!(reads.load(Ordering::Relaxed) > refreshes);
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
            tmpfs(&root.path(""));
            rustix::mount::unmount(root.path(""), UnmountFlags::empty()).unwrap();
            if shared {
                let kind = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
                rustix::mount::mount_change("/", kind).unwrap();
            }
            tmpfs(&root.path("etc/sub"));
            root.file("etc/sub/outer", "outer").file("etc/sub/inner/x", "");
            tmpfs(&root.path("etc/sub/inner"));
            root.file("etc/sub/inner/deep", "deep").file("bound", "bound");
            rustix::mount::mount_bind(root.path("bound"), root.path("etc/base")).unwrap();

            root.merge(Class::Confext).unwrap();
            let check = |when: &str| {
                assert_eq!(root.read("etc/sub/outer").as_deref(), Some("outer"), "{when}");
                assert_eq!(root.read("etc/sub/inner/deep").as_deref(), Some("deep"), "{when}");
                assert_eq!(root.read("etc/base").as_deref(), Some("bound"), "{when}");
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

            for path in ["etc/late", "etc/sub", "etc/base"] {
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
fn d14_parallel_refreshes_leave_one_stack() {
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

#[test]
#[ignore = "needs root"]
fn an_objection_stops_all_or_leaves_one_out() {
    isolated(|| {
        let root = Root::new();
        root.file("usr/bin/tool", "host").sysext("good", "usr/bin/more", "x");
        symlink("bin", root.path("usr/sbin")).unwrap();
        root.sysext("bad", "usr/sbin/daemon", "x");
        let found = plan(&root.host(), Class::Sysext, &unprotected()).unwrap();
        let veto = found.objection(&[]).unwrap();
        assert_eq!((veto.layer.as_str(), veto.kind), ("bad", VetoKind::TypeChange));
        assert_eq!(root.mounts(), [""; 0], "a plan changed something");

        let error = root.merge(Class::Sysext).unwrap_err();
        assert_eq!(error.code(), "type-change");
        assert_eq!(error.to_string(), "bad: usr/sbin: found directory, expected symbolic link");
        assert_eq!(root.mounts(), [""; 0]);

        let mut options = unprotected();
        options.on_bad = OnBad::Skip;
        let report = merge(&root.host(), Class::Sysext, &options).unwrap();
        assert_eq!(report.layers.len(), 1);
        assert_eq!(report.refused.last().unwrap().code, "type-change");
        root.unmerge(Class::Sysext);

        let mut options = unprotected();
        options.allow.push(VetoKind::TypeChange.into());
        assert_eq!(merge(&root.host(), Class::Sysext, &options).unwrap().layers.len(), 2);
        assert_eq!(root.read("usr/sbin/daemon").as_deref(), Some("x"));
        root.unmerge(Class::Sysext);
    });
}

#[test]
#[ignore = "needs root"]
fn a_plan_is_the_same_before_and_after_the_merge() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/base", "a").confext("b", "etc/new/x", "b");
        let before = plan(&root.host(), Class::Confext, &unprotected()).unwrap();
        assert_eq!(before.hierarchies[0].layers, ["a", "b"]);
        assert_eq!(before.objection(&[]), None);
        let fates = |plan: &Plan| -> Vec<_> {
            plan.layer_changes.iter().map(|change| (change.name.clone(), change.fate)).collect()
        };
        let pair = |name: &str, fate| (name.to_owned(), fate);
        assert_eq!(fates(&before), [pair("a", Fate::Added), pair("b", Fate::Added)]);
        root.merge(Class::Confext).unwrap();
        let test = "directory";
        let mut after = plan(&root.host(), Class::Confext, &unprotected()).unwrap();
        assert_eq!(fates(&after), [pair("a", Fate::Kept { test }), pair("b", Fate::Kept { test })]);
        after.layer_changes.clone_from(&before.layer_changes);
        assert_eq!(after, before);

        root.confext("b", "etc/new/y", "b").confext("c", "etc/c", "c");
        fs::remove_dir_all(root.path("var/lib/confexts/a")).unwrap();
        let mut options = unprotected();
        let found = fates(&plan(&root.host(), Class::Confext, &options).unwrap());
        let (replaced, removed) = (pair("b", Fate::Replaced { test }), pair("a", Fate::Removed));
        assert_eq!(found, [replaced.clone(), pair("c", Fate::Added), removed.clone()]);
        // One that is objected to is left out, or stops all.
        root.file("var/lib/confexts/c/etc/os-release", "ID=other\n");
        let found = plan(&root.host(), Class::Confext, &options).unwrap();
        assert_eq!(found.refusal.as_ref().unwrap().code, "replaces-os-release");
        assert_eq!(fates(&found), [replaced.clone(), pair("c", Fate::Added), removed.clone()]);
        options.on_bad = OnBad::Skip;
        let found = plan(&root.host(), Class::Confext, &options).unwrap();
        assert_eq!((&found.refusal, fates(&found)), (&None, vec![replaced, removed]));
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn a_list_says_what_is_merged() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/a", "a").confext("b", "etc/b", "b");
        root.merge(Class::Confext).unwrap();
        root.confext("c", "etc/c", "c").confext("b", "etc/b2", "changed");
        let listing = list(&root.host(), Class::Confext, &unprotected()).unwrap();
        let found: Vec<_> =
            listing.extensions.iter().map(|e| (e.candidate.name.as_str(), e.merged)).collect();
        assert_eq!(found, [("a", Merged::Yes), ("b", Merged::Other), ("c", Merged::No)]);
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn d15_a_second_hierarchy_that_fails_takes_the_first_back() {
    isolated(|| {
        let root = Root::new();
        root.sysext("s", "usr/bin/tool", "1").file("run/x", "");
        // The host has no /opt and cannot get one: its file system is read-only.
        rustix::mount::mount_bind(root.path(""), root.path("")).unwrap();
        let read_only =
            |flags| rustix::mount::mount_remount(root.path(""), MountFlags::BIND | flags, c"").unwrap();
        let host = || confext_core::Host::open(root.path("")).unwrap();
        tmpfs(&root.path("run"));
        let mounts = root.mounts();
        root.sysext("s", "opt/app/x", "x");
        read_only(MountFlags::RDONLY);

        let error = merge(&host(), Class::Sysext, &unprotected()).unwrap_err();
        assert_eq!(error.code(), "os");
        assert!(error.to_string().contains("opt"), "{error}");
        assert_eq!((root.read("usr/bin/tool"), root.mounts()), (None, mounts.clone()));

        // With a stack on /usr, the one from before comes back.
        read_only(MountFlags::empty());
        fs::rename(root.path("var/lib/extensions/s/opt"), root.path("aside")).unwrap();
        merge(&host(), Class::Sysext, &unprotected()).unwrap();
        let merged = root.mounts();
        root.sysext("s", "usr/bin/tool", "2");
        fs::rename(root.path("aside"), root.path("var/lib/extensions/s/opt")).unwrap();
        read_only(MountFlags::RDONLY);
        assert_eq!(refresh(&host(), Class::Sysext, &unprotected()).unwrap_err().code(), "os");
        assert_eq!(root.mounts(), merged);
        let stack = status(&host(), Class::Sysext).unwrap().remove(0).state;
        assert!(matches!(stack, HierarchyState::Merged { ref doubts, .. } if doubts.is_empty()), "{stack:?}");
        read_only(MountFlags::empty());
        assert_eq!(refresh(&host(), Class::Sysext, &unprotected()).unwrap().hierarchies, ["usr", "opt"]);
        assert_eq!(root.read("usr/bin/tool").as_deref(), Some("2"));
        root.unmerge(Class::Sysext);
        assert_eq!(root.mounts(), mounts);
        for path in ["run", ""] {
            rustix::mount::unmount(root.path(path), UnmountFlags::DETACH).unwrap();
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_file_system_only_the_kernel_reads_is_matched_when_it_is_mounted() {
    isolated(|| {
        let root = Root::new();
        root.confext("ext", "etc/a", "a").file("var/lib/confexts/other.raw", "");
        fs::rename(root.path("var/lib/confexts/ext"), root.path("tree")).unwrap();
        let image = |id: &str| {
            root.file("tree/etc/extension-release.d/extension-release.ext", &format!("ID={id}\n"));
            _ = fs::remove_file(root.path("var/lib/confexts/other.raw"));
            let (tree, image) = (root.path("tree"), root.path("var/lib/confexts/ext.raw"));
            _ = fs::remove_file(&image);
            let arguments = ["-q", "-d", tree.to_str().unwrap(), image.to_str().unwrap(), "4M"];
            confext_tests::namespace::run("mkfs.ext4", &arguments);
        };
        image("_any");
        root.merge(Class::Confext).unwrap();
        assert_eq!(root.read("etc/a").as_deref(), Some("a"));
        root.unmerge(Class::Confext);

        image("other");
        let report = root.merge(Class::Confext).unwrap();
        assert_eq!((report.outcome, report.layers.len()), (Outcome::Nothing, 0));
        assert_eq!(report.refused[0].severity, confext_core::discover::Severity::Ignored);
        assert_eq!(root.mounts(), [""; 0]);
    });
}

/// On most machines mounts propagate: what is merged must come and go in other namespaces, too, and looking under a stack
/// must take nothing away there.
#[test]
#[ignore = "needs root"]
fn other_namespaces_follow() {
    isolated(|| {
        let root = Root::new();
        root.confext("a", "etc/a", "1").file("etc/sub/x", "");
        rustix::mount::mount_bind(root.path(""), root.path("")).unwrap();
        rustix::mount::mount_change(root.path(""), MountPropagationFlags::SHARED).unwrap();
        tmpfs(&root.path("etc/sub"));
        root.file("etc/sub/outer", "outer");
        let (ask, asked) = std::sync::mpsc::channel::<&str>();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let root = &root;
            scope.spawn(move || {
                confext_core::sys::unshare_mounts().unwrap();
                for path in asked {
                    tell.send((root.read(path), root.mounts().len())).unwrap();
                }
            });
            let there = |path| {
                ask.send(path).unwrap();
                told.recv().unwrap()
            };
            // The root, the mount below it.
            assert_eq!(there("etc/sub/outer"), (Some("outer".into()), 2));
            let host = confext_core::Host::open(root.path("")).unwrap();
            merge(&host, Class::Confext, &unprotected()).unwrap();
            assert_eq!(there("etc/a").0.as_deref(), Some("1"));
            assert_eq!(there("etc/sub/outer"), (Some("outer".into()), 4));
            for turn in 2..5 {
                root.confext("a", "etc/a", &turn.to_string());
                refresh(&host, Class::Confext, &unprotected()).unwrap();
                assert_eq!(there("etc/a").0, Some(turn.to_string()));
                assert_eq!(there("etc/sub/outer"), (Some("outer".into()), 4));
                assert_eq!(root.read("etc/a"), Some(turn.to_string()));
                assert_eq!(root.mounts().len(), 4);
            }
            root.unmerge(Class::Confext);
            assert_eq!(there("etc/a").0, None);
            assert_eq!(there("etc/sub/outer"), (Some("outer".into()), 2));
            drop(ask);
        });
        assert_eq!(root.read("etc/sub/outer").as_deref(), Some("outer"));
        for path in ["etc/sub", ""] {
            rustix::mount::unmount(root.path(path), UnmountFlags::DETACH).unwrap();
        }
    });
}
