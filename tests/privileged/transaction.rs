//! Both classes in one go, all or none; and what of the host a stack leaves as it is.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use confext_core::plan::VetoKind;
use confext_core::stack::{Change, Outcome, Report, Stack, Verb};
use confext_core::state::HierarchyState;
use confext_core::sys::{self, Place};
use confext_core::{Error, apply, status};
use confext_ddi::release::Class;
use confext_tests::root::{Root, unprotected};
use confext_tests::sweep::isolated;
use rustix::fs::{StatVfsMountFlags, XattrFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

const CLASSES: [Class; 2] = [Class::Confext, Class::Sysext];

fn tmpfs(at: &Path) {
    rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), None).unwrap();
}

fn both(root: &Root, verb: Verb) -> Result<Vec<Report>, Error> {
    let options = unprotected();
    apply(&root.host(), verb, &CLASSES.map(|class| (class, &options)))
}

/// Replaces the extensions `c` and `s` by others: what is merged keeps what it has, as a directory is read live.
fn turn(root: &Root, turn: &str) {
    for path in ["var/lib/confexts/c", "var/lib/extensions/s"] {
        let aside = tempfile::Builder::new().tempdir_in(root.path("aside")).unwrap().keep();
        fs::rename(root.path(path), aside.join("old")).unwrap_or_default();
    }
    root.confext("c", "etc/c", turn).sysext("s", "usr/s", turn);
}

fn outcomes(reports: &[Report]) -> Vec<(Class, &Outcome)> {
    reports.iter().map(|report| (report.class, &report.outcome)).collect()
}

fn bind(root: &Root, path: &str, flags: MountFlags) {
    rustix::mount::mount_bind(root.path(path), root.path(path)).unwrap();
    rustix::mount::mount_remount(root.path(path), MountFlags::BIND | flags, c"").unwrap();
}

fn detach(root: &Root, path: &str) {
    rustix::mount::unmount(root.path(path), UnmountFlags::DETACH).unwrap();
}

#[test]
#[ignore = "needs root"]
fn both_classes_come_and_go_together() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "").confext("c", "etc/c", "1").sysext("s", "usr/s", "1").sysext("s", "opt/s", "1");
        let reports = both(&root, Verb::Merge).unwrap();
        let expected = [(Class::Confext, &Outcome::Merged), (Class::Sysext, &Outcome::Merged)];
        assert_eq!(outcomes(&reports), expected);
        assert_eq!(root.mounts().len(), 3);
        assert_eq!(both(&root, Verb::Merge).unwrap_err().code(), "already-merged");

        root.confext("c", "etc/c", "22");
        let reports = both(&root, Verb::Refresh).unwrap();
        assert!(matches!(reports[0].outcome, Outcome::Refreshed { .. }), "{reports:?}");
        assert!(matches!(reports[1].outcome, Outcome::Unchanged { .. }), "{reports:?}");
        assert_eq!(root.read("etc/c").as_deref(), Some("22"));

        // One class goes, the other one is exchanged.
        fs::remove_dir_all(root.path("var/lib/confexts/c")).unwrap();
        root.sysext("s", "usr/s", "333");
        let reports = both(&root, Verb::Refresh).unwrap();
        assert_eq!(reports[0].outcome, Outcome::Unmerged);
        assert_eq!((root.read("usr/s").as_deref(), root.read("etc/c")), (Some("333"), None));
        assert_eq!(outcomes(&both(&root, Verb::Unmerge).unwrap())[1].1, &Outcome::Unmerged);
        assert_eq!(root.mounts(), [""; 0]);
        assert!(!root.path("opt").exists() && !root.path("run/confext").exists());
    });
}

#[test]
#[ignore = "needs root"]
fn what_one_class_fails_at_keeps_the_other_from_changing() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "").confext("c", "etc/c", "1").sysext("s", "usr/s", "1");
        root.file("aside/x", "").file("var/lib/extensions/bad.raw", "");
        both(&root, Verb::Merge).unwrap_err();
        assert_eq!(root.mounts(), [""; 0]);
        fs::remove_file(root.path("var/lib/extensions/bad.raw")).unwrap();
        both(&root, Verb::Merge).unwrap();
        turn(&root, "22");
        root.file("var/lib/confexts/bad.raw", "");
        both(&root, Verb::Refresh).unwrap_err();
        assert_eq!((root.read("etc/c").as_deref(), root.read("usr/s").as_deref()), (Some("1"), Some("1")));
        both(&root, Verb::Unmerge).unwrap();

        let options = unprotected();
        let twice = [(Class::Confext, &options), (Class::Confext, &options)];
        assert_eq!(apply(&root.host(), Verb::Refresh, &twice).unwrap_err().code(), "class-twice");
        assert_eq!(apply(&root.host(), Verb::Refresh, &[]).unwrap(), []);
    });
}

/// The second of three hierarchies cannot be put in place.
#[test]
#[ignore = "needs root"]
fn a_hierarchy_that_cannot_be_placed_takes_those_before_it_back() {
    isolated(|| {
        let root = Root::new();
        root.confext("c", "etc/c", "1").sysext("s", "usr/s", "1").file("run/x", "").file("aside/x", "");
        bind(&root, "", MountFlags::empty());
        tmpfs(&root.path("run"));
        both(&root, Verb::Merge).unwrap();
        let merged = root.mounts();
        turn(&root, "22");
        root.sysext("s", "opt/s", "22");
        let remount =
            |flags| rustix::mount::mount_remount(root.path(""), MountFlags::BIND | flags, c"").unwrap();
        remount(MountFlags::RDONLY);
        let error = both(&root, Verb::Refresh).unwrap_err();
        assert!(error.code() == "os" && error.to_string().contains("opt"), "{error}");
        assert_eq!((root.read("etc/c").as_deref(), root.read("usr/s").as_deref()), (Some("1"), Some("1")));
        let sorted = |mut mounts: Vec<String>| {
            mounts.sort();
            mounts
        };
        assert_eq!(sorted(root.mounts()), sorted(merged));
        remount(MountFlags::empty());
        both(&root, Verb::Refresh).unwrap();
        assert_eq!(root.read("opt/s").as_deref(), Some("22"));
        both(&root, Verb::Unmerge).unwrap();
        assert_eq!(fs::read_dir(root.path("run")).unwrap().count(), 0);
        detach(&root, "run");
        detach(&root, "");
    });
}

#[test]
#[ignore = "needs root"]
fn extensions_are_looked_for_on_the_host_as_it_was() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "").sysext("s", "usr/lib/confexts/c/etc/c", "c");
        root.sysext("s", "usr/lib/confexts/c/etc/extension-release.d/extension-release.c", "ID=_any\n");
        let mut options = unprotected();
        options.allow.push(VetoKind::NestedExtensions.into());
        let refresh = || apply(&root.host(), Verb::Refresh, &CLASSES.map(|class| (class, &options))).unwrap();
        assert_eq!(refresh()[0].outcome, Outcome::Nothing);
        assert_eq!(refresh()[0].outcome, Outcome::Merged);
        assert_eq!(root.read("etc/c").as_deref(), Some("c"));
        both(&root, Verb::Unmerge).unwrap();
    });
}

/// The configuration lies inside the other hierarchy: what is exchanged below carries it over.
#[test]
#[ignore = "needs root"]
fn a_hierarchy_inside_another_one_is_exchanged_with_it() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "");
        fs::rename(root.path("etc"), root.path("usr/etc")).unwrap();
        symlink("usr/etc", root.path("etc")).unwrap();
        for turn in ["1", "22", "333"] {
            root.confext("c", "etc/c", turn).sysext("s", "usr/s", turn);
            both(&root, Verb::Refresh).unwrap();
            assert_eq!(
                (root.read("etc/c").as_deref(), root.read("usr/s").as_deref()),
                (Some(turn), Some(turn))
            );
            assert_eq!(root.read("etc/base").as_deref(), Some("base"));
            assert_eq!(root.mounts().len(), 2, "{:?}", root.mounts());
        }
        both(&root, Verb::Unmerge).unwrap();
        assert_eq!((root.mounts(), root.read("etc/c")), (vec![], None));
    });
}

#[test]
#[ignore = "needs root"]
fn stricter_mount_flags_of_the_host_stay() {
    use StatVfsMountFlags as F;
    const NO_SYMLINKS: F = F::from_bits_retain(0x2000);
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "").confext("c", "etc/c", "1").sysext("s", "usr/s", "1").sysext("s", "opt/s", "1");
        symlink("base", root.path("etc/link")).unwrap();
        bind(&root, "etc", MountFlags::NOATIME | MountFlags::from_bits_retain(0x100));
        bind(&root, "usr", MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODIRATIME);
        for turn in ["1", "22"] {
            root.confext("c", "etc/c", turn).sysext("s", "usr/s", turn);
            both(&root, Verb::Refresh).unwrap();
            let flags = |path: &str| rustix::fs::statvfs(root.path(path)).unwrap().f_flag;
            let etc = F::RDONLY | F::NODEV | F::NOSUID | F::NOEXEC | F::NOATIME | NO_SYMLINKS;
            assert!(flags("etc").contains(etc), "{:?}", flags("etc"));
            assert!(fs::read(root.path("etc/link")).is_err(), "a link is followed");
            let usr = F::RDONLY | F::NODEV | F::NOSUID | F::NOEXEC | F::NODIRATIME;
            assert!(flags("usr").contains(usr), "{:?}", flags("usr"));
            assert!(!flags("opt").intersects(F::NOSUID | F::NOEXEC | NO_SYMLINKS), "{:?}", flags("opt"));
            assert_eq!(root.read("etc/c").as_deref(), Some(turn));
        }
        both(&root, Verb::Unmerge).unwrap();
        for path in ["etc", "usr"] {
            detach(&root, path);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn owner_mode_access_lists_and_label_of_the_host_stay() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "").confext("c", "etc/c", "1");
        tmpfs(&root.path("etc"));
        // rwx for the owner and for user 7, nothing for anybody else: version 2, then tag, permissions and number.
        let entries: [(u16, u16, u32); 5] =
            [(1, 7, u32::MAX), (2, 7, 7), (4, 0, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            list.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
            list.extend(id.to_le_bytes());
        }
        let label = b"system_u:object_r:etc_t:s0\0".to_vec();
        let attributes = [
            ("system.posix_acl_access", &list),
            ("system.posix_acl_default", &list),
            ("security.selinux", &label),
        ];
        std::os::unix::fs::chown(root.path("etc"), Some(65534), Some(12)).unwrap();
        for (name, value) in attributes {
            rustix::fs::setxattr(root.path("etc"), name, value, XattrFlags::empty()).unwrap();
        }
        let look = || {
            let found = fs::metadata(root.path("etc")).unwrap();
            let read = |name: &str| {
                let mut value = vec![0; 256];
                let len = rustix::fs::getxattr(root.path("etc"), name, &mut value[..]).unwrap();
                value.truncate(len);
                value
            };
            (found.mode(), found.uid(), found.gid(), attributes.map(|(name, _)| read(name)))
        };
        let before = look();
        assert_eq!((before.1, before.2, &before.3[2]), (65534, 12, &label));
        for turn in ["1", "22"] {
            root.confext("c", "etc/c", turn);
            root.refresh(Class::Confext).unwrap();
            assert_eq!(look(), before);
        }
        root.unmerge(Class::Confext);
        assert_eq!(look(), before);
        detach(&root, "etc");
    });
}

/// D13 of docs/systemd-compat.md: systemd puts a bare directory over /opt then.
#[test]
#[ignore = "needs root"]
fn d13_a_hierarchy_nothing_is_for_is_not_touched() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "").sysext("s", "usr/s", "1").file("opt/own", "own").file("opt/data/x", "");
        tmpfs(&root.path("opt/data"));
        root.file("opt/data/y", "y");
        let opt = fs::metadata(root.path("opt")).unwrap();
        for turn in ["1", "22"] {
            root.sysext("s", "usr/s", turn);
            assert_eq!(root.refresh(Class::Sysext).unwrap().hierarchies, ["usr"]);
            let now = fs::metadata(root.path("opt")).unwrap();
            assert_eq!((now.dev(), now.ino(), now.ctime_nsec()), (opt.dev(), opt.ino(), opt.ctime_nsec()));
            assert_eq!(root.read("opt/own").as_deref(), Some("own"));
            assert_eq!(root.read("opt/data/y").as_deref(), Some("y"));
            assert_eq!(root.mounts(), ["/opt/data", "/usr"]);
        }
        root.unmerge(Class::Sysext);
        assert_eq!(root.mounts(), ["/opt/data"]);
        detach(&root, "opt/data");
    });
}

/// D8: what is merged does not depend on how mounts propagate, and the report says who sees it.
#[test]
#[ignore = "needs root"]
fn d8_the_report_says_whether_other_namespaces_see_it() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "").confext("c", "etc/c", "1").sysext("s", "usr/s", "1");
        let merge_and_keep = |shared: &[&str]| {
            for verb in [Verb::Merge, Verb::Refresh] {
                let reports = both(&root, verb).unwrap();
                let propagated: Vec<_> =
                    reports.iter().flat_map(|report| report.propagated.clone()).collect();
                assert_eq!(
                    (propagated, root.read("etc/c").as_deref()),
                    (shared.iter().map(|s| (*s).to_owned()).collect(), Some("1"))
                );
            }
            both(&root, Verb::Unmerge).unwrap();
        };
        merge_and_keep(&[]);
        bind(&root, "", MountFlags::empty());
        rustix::mount::mount_change(root.path(""), MountPropagationFlags::SHARED).unwrap();
        merge_and_keep(&["etc", "usr"]);
        tmpfs(&root.path("etc"));
        rustix::mount::mount_change(root.path("etc"), MountPropagationFlags::PRIVATE).unwrap();
        merge_and_keep(&["usr"]);
        detach(&root, "etc");
        detach(&root, "");
    });
}

/// D9 and D10: no character of a name means anything, and the number of layers is bounded by the kernel only.
#[test]
#[ignore = "needs root"]
fn d9_names_are_only_names() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "");
        let names = [r"a,b", r"a:b", r"a\b", "a'b", "a\"b", "a b", "a=b#%", "ä"];
        for name in names {
            root.confext(name, &format!("etc/{name}"), name).file(&format!("etc/sub{name}/x"), "");
            tmpfs(&root.path(&format!("etc/sub{name}")));
            root.file(&format!("etc/sub{name}/in"), name);
        }
        let check = || {
            for name in names {
                assert_eq!(root.read(&format!("etc/{name}")).as_deref(), Some(name));
                assert_eq!(root.read(&format!("etc/sub{name}/in")).as_deref(), Some(name));
            }
        };
        assert_eq!(root.merge(Class::Confext).unwrap().layers.len(), names.len());
        check();
        root.confext("z", "etc/z", "z");
        root.refresh(Class::Confext).unwrap();
        check();
        root.unmerge(Class::Confext);
        for name in names {
            assert_eq!(root.read(&format!("etc/sub{name}/in")).as_deref(), Some(name));
            detach(&root, &format!("etc/sub{name}"));
        }
        assert_eq!(root.mounts(), [""; 0]);
    });
}

#[test]
#[ignore = "needs root"]
fn five_hundred_layers_work_and_one_more_is_an_error() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "");
        // The metadata and the host's directory are layers, too.
        for at in 0..498 {
            root.confext(&format!("extension-{at:03}"), &format!("etc/{at}"), "x");
        }
        assert_eq!(root.merge(Class::Confext).unwrap().layers.len(), 498);
        assert_eq!((root.read("etc/0"), root.read("etc/497")), (Some("x".into()), Some("x".into())));
        let merged = root.mounts();
        root.confext("one-more", "etc/more", "x");
        let error = root.refresh(Class::Confext).unwrap_err();
        assert_eq!(error.code(), "too-many-layers");
        assert!(error.to_string().contains("501"), "{error}");
        assert_eq!((root.mounts(), root.read("etc/more")), (merged, None));
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn mounts_below_keep_their_kind() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "").confext("c", "etc/c", "1").sysext("s", "usr/s", "1");
        for path in ["etc/ro/x", "etc/ro/in/x", "etc/shared/x", "usr/one/x", "usr/one/file"] {
            root.file(path, "");
        }
        for path in ["etc/ro", "etc/shared", "usr/one"] {
            tmpfs(&root.path(path));
            root.file(&format!("{path}/f"), path).file(&format!("{path}/in/x"), "");
        }
        tmpfs(&root.path("etc/ro/in"));
        root.file("etc/ro/in/f", "nested");
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOEXEC;
        rustix::mount::mount_remount(root.path("etc/ro"), flags, c"").unwrap();
        rustix::mount::mount_change(root.path("etc/shared"), MountPropagationFlags::SHARED).unwrap();
        let check = |count: usize| {
            for path in ["etc/ro", "etc/shared", "usr/one"] {
                assert_eq!(root.read(&format!("{path}/f")).as_deref(), Some(path));
            }
            assert_eq!(root.read("etc/ro/in/f").as_deref(), Some("nested"));
            let found = rustix::fs::statvfs(root.path("etc/ro")).unwrap().f_flag;
            assert!(found.contains(StatVfsMountFlags::RDONLY | StatVfsMountFlags::NOEXEC));
            fs::write(root.path("etc/ro/f"), "").unwrap_err();
            fs::write(root.path("etc/ro/in/written"), "").unwrap();
            assert_eq!(root.mounts().len(), count, "{:?}", root.mounts());
        };
        check(4);
        for turn in ["1", "22", "333"] {
            root.confext("c", "etc/c", turn).sysext("s", "usr/s", turn);
            both(&root, Verb::Refresh).unwrap();
            // Each twice: on the stack and, unseen, below it.
            check(10);
        }
        both(&root, Verb::Unmerge).unwrap();
        check(4);
        for path in ["etc/ro", "etc/shared", "usr/one"] {
            detach(&root, path);
        }
    });
}

/// As after a kill between the two calls of an exchange, or after a program that does not know the lock.
#[test]
#[ignore = "needs root"]
fn a_stack_over_another_is_doubted_and_exchanged() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "").confext("c", "etc/c", "1");
        let host = root.host();
        let doubts = || -> Vec<String> {
            let [found] = &status(&host, Class::Confext).unwrap()[..] else { panic!() };
            let HierarchyState::Merged { doubts, .. } = &found.state else { panic!("{found:?}") };
            doubts.iter().map(|doubt| format!("{}: {}", doubt.what, doubt.found)).collect()
        };
        root.merge(Class::Confext).unwrap();
        assert_eq!(doubts(), [""; 0]);
        let second = Stack::assemble(&host, Class::Confext, &unprotected()).unwrap();
        let placement = second.into_placements().remove(0);
        let etc = fs::File::open(root.path("etc")).unwrap();
        sys::move_mount(placement.tree.as_fd(), etc.as_fd(), c"", Place::OnTop).unwrap();
        drop((placement, etc));
        assert_eq!(doubts(), ["stacks: two, one over the other"]);
        let Outcome::Refreshed { because } = root.refresh(Class::Confext).unwrap().outcome else { panic!() };
        assert_eq!(because, [Change::Interrupted]);
        assert_eq!((doubts(), root.mounts().len()), (vec![], 1));
        root.unmerge(Class::Confext);
    });
}
