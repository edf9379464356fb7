//! Stacks that can be written to: every mode, what survives, and that nothing is left behind when it fails.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::Duration;

use confext_core::admission::Options;
use confext_core::settings::Mutability;
use confext_core::stack::{Change, Outcome, Report, Stack};
use confext_core::state::{HierarchyState, Record, Writes};
use confext_core::{Error, merge, plan, refresh, status, unmerge};
use confext_ddi::release::Class;
use confext_tests::root::{Root, unprotected};
use confext_tests::sweep::isolated;
use rustix::mount::{MountFlags, UnmountFlags};

const DIRECTORY: &str = "var/lib/extensions.mutable";
const WORK: &str = "var/lib/extensions.mutable/.systemd-etc-workdir";

fn with(mutability: Mutability) -> Options {
    let mut options = unprotected();
    options.mutability = mutability;
    options.busy_wait = Duration::ZERO;
    options
}

fn merged(root: &Root, mode: Mutability) -> Result<Report, Error> {
    merge(&root.host(), Class::Confext, &with(mode))
}

fn refreshed(root: &Root, mode: Mutability) -> Outcome {
    refresh(&root.host(), Class::Confext, &with(mode)).unwrap().outcome
}

fn taken_away(root: &Root) {
    assert_eq!(
        unmerge(&root.host(), Class::Confext, &with(Mutability::No)).unwrap().outcome,
        Outcome::Unmerged
    );
    assert_eq!(root.mounts(), [""; 0]);
    let work = leftovers(root);
    assert!(work.is_empty(), "{work:?}");
}

/// Work directories beside the hierarchies and their mutable directories.
fn leftovers(root: &Root) -> Vec<String> {
    let names = |path: &str| fs::read_dir(root.path(path)).into_iter().flatten();
    let all = names(DIRECTORY).chain(names("")).chain(names("srv"));
    let all = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    all.filter(|name| name.starts_with(".systemd-") && name.contains("workdir")).collect()
}

fn record(root: &Root, class: Class, hierarchy: &str) -> Box<Record> {
    let all = status(&root.host(), class).unwrap();
    let found = all.into_iter().find(|found| found.hierarchy == hierarchy).unwrap();
    let HierarchyState::Merged { record, doubts, .. } = found.state else { panic!("{found:?}") };
    assert_eq!(doubts, []);
    record.unwrap()
}

/// A root with one extension.
fn host() -> Root {
    let root = Root::new();
    root.confext("a", "etc/new", "a");
    fs::set_permissions(root.path("etc"), fs::Permissions::from_mode(0o751)).unwrap();
    root
}

#[test]
#[ignore = "needs root"]
fn with_yes_writes_survive_in_a_directory_that_is_made() {
    isolated(|| {
        let root = host();
        std::os::unix::fs::chown(root.path("etc"), Some(7), Some(8)).unwrap();
        merged(&root, Mutability::Yes).unwrap();
        let upper = fs::metadata(root.path(&format!("{DIRECTORY}/etc"))).unwrap();
        assert_eq!((upper.mode() & 0o7777, upper.uid(), upper.gid()), (0o751, 7, 8));
        assert_eq!(fs::metadata(root.path(WORK)).unwrap().mode() & 0o7777, 0o700);
        let record = record(&root, Class::Confext, "etc");
        let writes = Writes::Directory { path: format!("{DIRECTORY}/etc"), work: WORK.into() };
        assert_eq!((record.mutable.mode, &record.mutable.writes), (Mutability::Yes, &writes));
        assert_eq!(root.read("etc/.systemd-confext/work_dir").as_deref(), Some(&*format!("{WORK}\n")));
        let origin: serde_json::Value =
            serde_json::from_str(&root.read("etc/.systemd-confext/origin").unwrap()).unwrap();
        assert_eq!(origin["mutable"]["mutableDirs"]["/etc"], format!("/{DIRECTORY}/etc"));

        use rustix::fs::StatVfsMountFlags as F;
        let flags = rustix::fs::statvfs(root.path("etc")).unwrap().f_flag;
        assert!(flags.contains(F::NODEV | F::NOSUID | F::NOEXEC | F::NOATIME) && !flags.contains(F::RDONLY));
        fs::write(root.path("etc/new"), "written").unwrap();
        fs::write(root.path("etc/base"), "written").unwrap();
        fs::remove_file(root.path("etc/extension-release.d/extension-release.a")).unwrap();
        fs::create_dir(root.path("etc/dir")).unwrap();
        fs::rename(root.path("etc/extension-release.d"), root.path("etc/renamed")).unwrap();
        // What says what is merged cannot be written to.
        let error = fs::write(root.path("etc/.systemd-confext/dev"), "0:0\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
        assert!(fs::rename(root.path("etc/.systemd-confext"), root.path("etc/x")).is_err());

        taken_away(&root);
        assert_eq!(root.read("etc/base").as_deref(), Some("base"));
        assert_eq!(root.read("etc/new"), None);
        assert_eq!(root.read(&format!("{DIRECTORY}/etc/new")).as_deref(), Some("written"));

        merged(&root, Mutability::Yes).unwrap();
        assert_eq!(root.read("etc/new").as_deref(), Some("written"));
        assert!(root.path("etc/dir").is_dir() && root.path("etc/renamed").is_dir());
        assert!(!root.path("etc/renamed/extension-release.a").exists());
        taken_away(&root);
    });
}

#[test]
#[ignore = "needs root"]
fn with_auto_a_directory_decides() {
    isolated(|| {
        let root = host();
        merged(&root, Mutability::Auto).unwrap();
        assert_eq!(fs::write(root.path("etc/x"), "").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        assert!(matches!(refreshed(&root, Mutability::Auto), Outcome::Unchanged { .. }));

        root.file(&format!("{DIRECTORY}/etc/before"), "before");
        fs::set_permissions(root.path(&format!("{DIRECTORY}/etc")), fs::Permissions::from_mode(0o751))
            .unwrap();
        let change = Change::Hierarchy { hierarchy: "etc".into() };
        assert_eq!(refreshed(&root, Mutability::Auto), Outcome::Refreshed { because: vec![change] });
        fs::write(root.path("etc/x"), "x").unwrap();
        assert_eq!(root.read("etc/before").as_deref(), Some("before"));
        let change = Change::Mutability { found: Mutability::Auto, expected: Mutability::No };
        assert_eq!(refreshed(&root, Mutability::No), Outcome::Refreshed { because: vec![change] });
        assert_eq!(root.read("etc/x"), None);
        assert!(leftovers(&root).is_empty());
        taken_away(&root);
    });
}

#[test]
#[ignore = "needs root"]
fn with_import_what_was_written_is_seen() {
    isolated(|| {
        let root = host();
        // Nothing to import is nothing to fail about.
        merged(&root, Mutability::Import).unwrap();
        taken_away(&root);
        root.file(&format!("{DIRECTORY}/etc/new"), "written");
        merged(&root, Mutability::Import).unwrap();
        assert_eq!(root.read("etc/new").as_deref(), Some("written"));
        assert_eq!(record(&root, Class::Confext, "etc").mutable.imported, Some(format!("{DIRECTORY}/etc")));
        assert_eq!(fs::write(root.path("etc/x"), "").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        taken_away(&root);
    });
}

#[test]
#[ignore = "needs root"]
fn ephemeral_writes_are_gone_with_the_stack() {
    isolated(|| {
        let root = host();
        root.file(&format!("{DIRECTORY}/etc/before"), "before");
        for (mode, before) in
            [(Mutability::Ephemeral, None), (Mutability::EphemeralImport, Some("before".to_owned()))]
        {
            merged(&root, mode).unwrap();
            assert_eq!(root.read("etc/before"), before);
            fs::write(root.path("etc/new"), "written").unwrap();
            fs::write(root.path("etc/before"), "written").unwrap();
            assert_eq!(record(&root, Class::Confext, "etc").mutable.writes, Writes::Memory);
            assert_eq!(fs::metadata(root.path("etc")).unwrap().mode() & 0o7777, 0o751);
            assert!(matches!(refreshed(&root, mode), Outcome::Unchanged { .. }));
            assert_eq!(root.read("etc/new").as_deref(), Some("written"));
            root.confext("b", "etc/b", "b");
            assert!(matches!(refreshed(&root, mode), Outcome::Refreshed { .. }));
            assert_eq!(root.read("etc/new").as_deref(), Some("a"));
            taken_away(&root);
            fs::remove_dir_all(root.path("var/lib/confexts/b")).unwrap();
            assert_eq!(root.read(&format!("{DIRECTORY}/etc/before")).as_deref(), Some("before"));
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_link_to_the_hierarchy_puts_the_host_on_top() {
    isolated(|| {
        let root = host();
        root.confext("a", "etc/base", "of a");
        fs::create_dir_all(root.path(DIRECTORY)).unwrap();
        symlink("/etc", root.path(&format!("{DIRECTORY}/etc"))).unwrap();
        for mode in [Mutability::Import, Mutability::EphemeralImport] {
            assert_eq!(merged(&root, mode).unwrap_err().code(), "mutable-loop");
        }
        for mode in [Mutability::Yes, Mutability::Auto] {
            merged(&root, mode).unwrap();
            assert_eq!(root.read("etc/base").as_deref(), Some("base"), "the host's file wins");
            assert_eq!(root.read("etc/new").as_deref(), Some("a"));
            fs::write(root.path("etc/written"), "written").unwrap();
            let writes = Writes::Host { work: ".systemd-etc-workdir".into() };
            assert_eq!(record(&root, Class::Confext, "etc").mutable.writes, writes);
            assert!(!root.path("etc/.systemd-confext/backing").exists());
            assert!(matches!(refreshed(&root, mode), Outcome::Unchanged { .. }));
            root.confext("b", "etc/b", "b");
            assert!(matches!(refreshed(&root, mode), Outcome::Refreshed { .. }));
            fs::write(root.path("etc/again"), "again").unwrap();
            taken_away(&root);
            assert_eq!(root.read("etc/written").as_deref(), Some("written"));
            assert_eq!(root.read("etc/again").as_deref(), Some("again"));
            assert!(!root.path("etc/.systemd-confext").exists());
            fs::remove_dir_all(root.path("var/lib/confexts/b")).unwrap();
        }
    });
}

/// What a plan says of writing is what the merge writes down.
#[test]
#[ignore = "needs root"]
fn a_plan_says_where_writes_go() {
    isolated(|| {
        let root = host();
        let planned = |mode| plan(&root.host(), Class::Confext, &with(mode)).unwrap();
        for prepared in [false, true] {
            for mode in Mutability::ALL {
                let before = planned(mode).hierarchies.remove(0).mutable;
                merged(&root, mode).unwrap();
                assert_eq!(before, record(&root, Class::Confext, "etc").mutable, "{mode}");
                // The stack that is there has one of the work directories.
                let next = planned(mode).hierarchies.remove(0).mutable;
                root.confext("a", &format!("etc/{mode}"), "a");
                refreshed(&root, mode);
                assert_eq!(next, record(&root, Class::Confext, "etc").mutable, "{mode}");
                taken_away(&root);
                if !prepared {
                    let _ = fs::remove_dir_all(root.path(DIRECTORY));
                }
            }
            root.file(&format!("{DIRECTORY}/etc/before"), "before");
            fs::set_permissions(root.path(&format!("{DIRECTORY}/etc")), fs::Permissions::from_mode(0o751))
                .unwrap();
        }
        fs::set_permissions(root.path(&format!("{DIRECTORY}/etc")), fs::Permissions::from_mode(0o777))
            .unwrap();
        for mode in [Mutability::Yes, Mutability::Auto] {
            assert_eq!(planned(mode).refusal.unwrap().code, "mutable-mode");
        }
        // Without files of an extension, too.
        let found = plan(&root.host(), Class::Sysext, &with(Mutability::Ephemeral)).unwrap();
        let [usr] = &found.hierarchies[..] else { panic!("{found:?}") };
        assert_eq!((usr.path, usr.layers.len(), &usr.mutable.writes), ("usr", 0, &Writes::Memory));
        assert_eq!(root.mounts(), [""; 0]);
    });
}

#[test]
#[ignore = "needs root"]
fn modes_act_without_extensions() {
    isolated(|| {
        let root = Root::new();
        fs::create_dir(root.path("opt")).unwrap();
        let sysext = |mode| refresh(&root.host(), Class::Sysext, &with(mode)).unwrap();
        assert_eq!(sysext(Mutability::Auto).outcome, Outcome::Nothing);
        assert_eq!(sysext(Mutability::Import).outcome, Outcome::Nothing);
        let report = sysext(Mutability::Yes);
        assert_eq!((report.outcome, report.hierarchies), (Outcome::Merged, vec!["usr".into(), "opt".into()]));
        fs::write(root.path("usr/written"), "").unwrap();
        let origin = root.read("opt/.systemd-sysext/origin").unwrap();
        assert!(origin.contains("/extensions.mutable/usr") && origin.contains("/extensions.mutable/opt"));
        // A plain refresh takes it away.
        assert_eq!(sysext(Mutability::No).outcome, Outcome::Unmerged);
        assert!(!root.path("usr/written").exists());
        // Only what there is a directory for.
        fs::remove_dir(root.path(&format!("{DIRECTORY}/opt"))).unwrap();
        assert_eq!(sysext(Mutability::Auto).hierarchies, ["usr"]);
        assert!(root.path("usr/written").exists());
        assert_eq!(sysext(Mutability::No).outcome, Outcome::Unmerged);
        assert_eq!(root.mounts(), [""; 0]);
    });
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_written_to_is_refused_before_anything_changes() {
    isolated(|| {
        let upper = format!("{DIRECTORY}/etc");
        let mode =
            |root: &Root, mode| fs::set_permissions(root.path(&upper), fs::Permissions::from_mode(mode));
        type Prepare<'a> = Box<dyn Fn(&Root) + 'a>;
        let cases: [(&str, Prepare<'_>); 8] = [
            ("mutable-mode", Box::new(|root| mode(root, 0o755).unwrap())),
            (
                "mutable-mode",
                Box::new(|root| std::os::unix::fs::chown(root.path(&upper), Some(5), None).unwrap()),
            ),
            (
                "mutable-directory",
                Box::new(|root| fs::create_dir(root.path(&upper).join(".systemd-confext")).unwrap()),
            ),
            (
                "mutable-directory",
                Box::new(|root| {
                    fs::remove_dir(root.path(&upper)).unwrap();
                    fs::write(root.path(&upper), "").unwrap();
                }),
            ),
            (
                "mutable-directory",
                Box::new(|root| {
                    fs::remove_dir(root.path(&upper)).unwrap();
                    symlink("/usr/lib", root.path(&upper)).unwrap();
                }),
            ),
            (
                "mutable-directory",
                Box::new(|root| {
                    fs::remove_dir(root.path(&upper)).unwrap();
                    symlink("/", root.path(&upper)).unwrap();
                }),
            ),
            (
                "mutable-directory",
                Box::new(|root| {
                    fs::remove_dir(root.path(&upper)).unwrap();
                    symlink("etc", root.path(&upper)).unwrap();
                }),
            ),
            (
                "work-directory",
                Box::new(|root| {
                    fs::create_dir(root.path(WORK)).unwrap();
                    fs::write(root.path(WORK).join("precious"), "").unwrap();
                }),
            ),
        ];
        for (number, (code, prepare)) in cases.into_iter().enumerate() {
            let root = host();
            fs::create_dir_all(root.path(&upper)).unwrap();
            mode(&root, 0o751).unwrap();
            prepare(&root);
            let before = leftovers(&root);
            assert_eq!(merged(&root, Mutability::Auto).unwrap_err().code(), code, "case {number}");
            assert_eq!((root.mounts(), leftovers(&root)), (vec![], before), "case {number}");
        }
        let root = host();
        fs::create_dir_all(root.path(DIRECTORY)).unwrap();
        symlink("/missing", root.path(&upper)).unwrap();
        assert_eq!(merged(&root, Mutability::Yes).unwrap_err().code(), "mutable-directory");
        merged(&root, Mutability::Auto).unwrap();
        taken_away(&root);
    });
}

#[test]
#[ignore = "needs root"]
fn a_read_only_place_is_refused_and_nothing_is_made() {
    isolated(|| {
        let root = host();
        let place = root.path("var/lib");
        rustix::mount::mount_bind(&place, &place).unwrap();
        let read_only = MountFlags::BIND | MountFlags::RDONLY;
        rustix::mount::mount_remount(&place, read_only, "").unwrap();
        assert_eq!(merged(&root, Mutability::Yes).unwrap_err().code(), "mutable-read-only");
        rustix::mount::unmount(&place, UnmountFlags::empty()).unwrap();
        assert!(!root.path(DIRECTORY).exists());
        fs::create_dir_all(root.path(&format!("{DIRECTORY}/etc"))).unwrap();
        fs::set_permissions(root.path(&format!("{DIRECTORY}/etc")), fs::Permissions::from_mode(0o751))
            .unwrap();
        rustix::mount::mount_bind(&place, &place).unwrap();
        rustix::mount::mount_remount(&place, read_only, "").unwrap();
        assert_eq!(merged(&root, Mutability::Auto).unwrap_err().code(), "mutable-read-only");
        rustix::mount::unmount(&place, UnmountFlags::empty()).unwrap();
        assert_eq!((root.mounts(), leftovers(&root)), (vec![], vec![]));
    });
}

#[test]
#[ignore = "needs root"]
fn a_merge_that_fails_late_leaves_nothing() {
    isolated(|| {
        let root = Root::new();
        root.sysext("a", "usr/a", "a").file("usr/sub/mine", "").sysext(
            "b",
            "usr/sub",
            "a file over the mount point",
        );
        fs::create_dir(root.path("opt")).unwrap();
        // The second hierarchy fails when the first one is assembled.
        let point = root.path("opt/sub");
        fs::create_dir(&point).unwrap();
        rustix::mount::mount("tmpfs", &point, "tmpfs", MountFlags::empty(), None).unwrap();
        root.sysext("b", "opt/sub", "a file over the mount point");
        let mut options = with(Mutability::Yes);
        options.allow = vec![confext_core::plan::VetoKind::TypeChange.into()];
        let error = merge(&root.host(), Class::Sysext, &options).unwrap_err();
        assert_eq!(error.code(), "submount-point", "{error:?}");
        rustix::mount::unmount(&point, UnmountFlags::empty()).unwrap();
        assert!(!root.path(DIRECTORY).exists(), "{:?}", leftovers(&root));
        assert_eq!(root.mounts(), [""; 0]);
    });
}

#[test]
#[ignore = "needs root"]
fn a_refresh_never_has_two_writers() {
    isolated(|| {
        let root = host();
        merged(&root, Mutability::Yes).unwrap();
        fs::write(root.path("etc/written"), "1").unwrap();
        let open = fs::OpenOptions::new().append(true).open(root.path("etc/written")).unwrap();
        let reader = fs::File::open(root.path("etc/new")).unwrap();
        root.confext("b", "etc/b", "b");
        // Somebody is writing: the old stack stays as it is.
        let error = refresh(&root.host(), Class::Confext, &with(Mutability::Yes)).unwrap_err();
        assert_eq!(error.code(), "stack-busy");
        let who = format!("open for writing in process {}", std::process::id());
        assert!(error.explain().contains("etc/written") && error.explain().contains(&who), "{error}");
        assert_eq!(
            unmerge(&root.host(), Class::Confext, &with(Mutability::Yes)).unwrap_err().code(),
            "stack-busy"
        );
        fs::write(root.path("etc/written"), "2").unwrap();
        assert_eq!(leftovers(&root), [".systemd-etc-workdir"]);
        drop(open);

        // A copy of the old stack in another place, like that of a service.
        let copy = root.path("srv");
        fs::create_dir(&copy).unwrap();
        rustix::mount::mount_bind(root.path("etc"), &copy).unwrap();
        let change = Change::Added { name: "b".into() };
        assert_eq!(refreshed(&root, Mutability::Yes), Outcome::Refreshed { because: vec![change] });
        assert_eq!(root.read("etc/b").as_deref(), Some("b"));
        assert_eq!(root.read("etc/written").as_deref(), Some("2"));
        fs::write(root.path("etc/written"), "3").unwrap();
        assert_eq!(fs::write(copy.join("x"), "").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        assert_eq!(leftovers(&root), [".systemd-etc-workdir-2"]);
        rustix::mount::unmount(&copy, UnmountFlags::DETACH).unwrap();
        drop(reader);

        fs::remove_dir_all(root.path("var/lib/confexts/b")).unwrap();
        assert!(matches!(refreshed(&root, Mutability::Yes), Outcome::Refreshed { .. }));
        assert_eq!(leftovers(&root), [".systemd-etc-workdir"]);
        assert_eq!(root.read("etc/written").as_deref(), Some("3"));
        taken_away(&root);
    });
}

#[test]
#[ignore = "needs root"]
fn a_refresh_that_fails_leaves_the_old_stack_writable() {
    isolated(|| {
        let root = host();
        merged(&root, Mutability::Yes).unwrap();
        root.confext("b", "etc/b", "b");
        // The name for the second work directory is taken by something else.
        root.file(&format!("{DIRECTORY}/.systemd-etc-workdir-2"), "");
        let error = refresh(&root.host(), Class::Confext, &with(Mutability::Yes)).unwrap_err();
        assert_eq!(error.code(), "work-directory");
        fs::write(root.path("etc/written"), "").unwrap();
        record(&root, Class::Confext, "etc");
        fs::remove_file(root.path(&format!("{DIRECTORY}/.systemd-etc-workdir-2"))).unwrap();
        taken_away(&root);
    });
}

#[test]
#[ignore = "needs root"]
fn mounts_below_are_carried_over() {
    isolated(|| {
        let root = host();
        let point = root.path("etc/sub");
        fs::create_dir(&point).unwrap();
        rustix::mount::mount("tmpfs", &point, "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write(point.join("f"), "f").unwrap();
        merged(&root, Mutability::Yes).unwrap();
        assert_eq!(root.read("etc/sub/f").as_deref(), Some("f"));
        root.confext("b", "etc/b", "b");
        assert!(matches!(refreshed(&root, Mutability::Yes), Outcome::Refreshed { .. }));
        assert_eq!(root.read("etc/sub/f").as_deref(), Some("f"));
        fs::write(root.path("etc/written"), "").unwrap();
        unmerge(&root.host(), Class::Confext, &with(Mutability::Yes)).unwrap();
        assert_eq!(root.mounts(), ["/etc/sub"]);
        assert!(!root.path("etc/.systemd-confext").exists());
        rustix::mount::unmount(&point, UnmountFlags::empty()).unwrap();
        assert!(leftovers(&root).is_empty());
    });
}

#[test]
#[ignore = "needs root"]
fn an_interrupted_refresh_is_finished_by_the_next() {
    isolated(|| {
        let root = host();
        merged(&root, Mutability::Yes).unwrap();
        // As after a kill: the old stack is read-only, and a second work directory is there.
        let etc = fs::File::open(root.path("etc")).unwrap();
        let context = confext_core::sys::FsContext::pick(std::os::fd::AsFd::as_fd(&etc)).unwrap();
        context.set_flag("ro").unwrap();
        context.reconfigure().unwrap();
        drop((context, etc));
        let second = root.path(&format!("{DIRECTORY}/.systemd-etc-workdir-2"));
        fs::create_dir(&second).unwrap();
        fs::set_permissions(&second, fs::Permissions::from_mode(0o700)).unwrap();
        let all = status(&root.host(), Class::Confext).unwrap();
        let HierarchyState::Merged { doubts, .. } = &all[0].state else { panic!("{all:?}") };
        assert_eq!(doubts[0].what, "writing");
        let change = Change::Hierarchy { hierarchy: "etc".into() };
        assert_eq!(refreshed(&root, Mutability::Yes), Outcome::Refreshed { because: vec![change] });
        fs::write(root.path("etc/written"), "").unwrap();
        taken_away(&root);
    });
}

#[test]
#[ignore = "needs root"]
fn two_hierarchies_do_not_share_a_directory() {
    isolated(|| {
        let root = Root::new();
        fs::create_dir_all(root.path("srv/shared")).unwrap();
        fs::create_dir(root.path("opt")).unwrap();
        fs::create_dir_all(root.path(DIRECTORY)).unwrap();
        for name in ["usr", "opt", "etc"] {
            symlink("/srv/shared", root.path(&format!("{DIRECTORY}/{name}"))).unwrap();
        }
        let merge = |class| merge(&root.host(), class, &with(Mutability::Auto));
        assert_eq!(merge(Class::Sysext).unwrap_err().code(), "mutable-in-use");
        fs::remove_file(root.path(&format!("{DIRECTORY}/opt"))).unwrap();
        merge(Class::Sysext).unwrap();
        assert_eq!(merge(Class::Confext).unwrap_err().code(), "mutable-in-use");
        unmerge(&root.host(), Class::Sysext, &with(Mutability::No)).unwrap();
        assert_eq!((root.mounts(), leftovers(&root)), (vec![], vec![]));
    });
}

#[test]
#[ignore = "needs root"]
fn what_is_not_a_work_directory_keeps_the_stack() {
    isolated(|| {
        let root = host();
        merged(&root, Mutability::Yes).unwrap();
        fs::write(root.path(WORK).join("precious"), "").unwrap();
        let error = unmerge(&root.host(), Class::Confext, &with(Mutability::No)).unwrap_err();
        assert_eq!(error.code(), "work-directory");
        assert_eq!(root.read("etc/new").as_deref(), Some("a"));
        fs::write(root.path("etc/new"), "still writable").unwrap();
        fs::remove_file(root.path(WORK).join("precious")).unwrap();
        taken_away(&root);
    });
}

#[test]
#[ignore = "needs root"]
fn a_command_of_its_own_writes_to_memory_only() {
    isolated(|| {
        let root = host();
        fs::create_dir_all(root.path("usr/bin")).unwrap();
        for mode in [Mutability::Yes, Mutability::Auto] {
            let error = Stack::assemble(&root.host(), Class::Confext, &with(mode)).unwrap_err();
            assert_eq!(error.code(), "mutable-private");
        }
        // A stack that is merged on the host goes on.
        merged(&root, Mutability::Yes).unwrap();
        let error = Stack::assemble(&root.host(), Class::Confext, &with(Mutability::Import)).unwrap_err();
        assert_eq!(error.code(), "mutable-in-use");
        let stack = Stack::assemble(&root.host(), Class::Confext, &with(Mutability::Ephemeral)).unwrap();
        fs::write(root.path("etc/written"), "outside").unwrap();
        let placements = stack.into_placements();
        assert_eq!(placements.len(), 1);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&placements[0].tree));
        fs::write(format!("{path}/inside"), "").unwrap();
        assert!(!root.path("etc/inside").exists());
        drop(placements);
        taken_away(&root);
    });
}
