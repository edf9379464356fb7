//! The view of a process in a mount namespace of its own is exchanged while it runs: what it sees, what it keeps, refusals

mod disturbed;
#[path = "../rollout/machine.rs"]
#[allow(dead_code, reason = "a part of it is for rollouts")]
mod machine;
mod systemd;
mod users;

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use confext_core::admission::Watch;
use confext_core::attach::Mode;
use confext_core::service::{self, Found, Hierarchies, How, Process, When};
use confext_core::stack::{Change, Outcome};
use confext_ddi::release::Class;
use confext_ddi::unit::{Entry, Extensions};
use confext_tests::root::{Root, key};
use confext_tests::subject::Subject;
use confext_tests::sweep::isolated;

const PRIVATE: &[&str] = &["--mount", "--propagation", "private"];
/// An `/etc` of its own.
const ETC: &str = "mount -t tmpfs tmpfs /etc; echo -n base >/etc/base; echo -n base >/etc/version";

/// Directories to be layers.
struct Layers(Root);

impl Layers {
    fn new() -> Self {
        let root = Root::new();
        for name in ["a", "b"] {
            root.confext(name, "etc/version", name).confext(name, &format!("etc/{name}"), name);
        }
        Self(root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path("var/lib/confexts").join(name)
    }

    fn put(&self, subject: &Subject, names: &[&str]) -> confext_core::service::Changed {
        let paths: Vec<_> = names.iter().map(|name| self.path(name)).collect();
        let paths: Vec<_> = paths.iter().map(PathBuf::as_path).collect();
        subject.exchange(&paths, How::default()).unwrap_or_else(|error| panic!("{}", error.explain()))
    }
}

/// A root directory for a process that has nothing in it but programs.
fn small_root(root: &Root) -> String {
    for name in ["usr", "proc", "dev"] {
        fs::create_dir_all(root.path(name)).unwrap();
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.path(name)).unwrap();
    }
    root.file("etc/base", "base").file("etc/version", "base");
    root.path("").display().to_string()
}

#[test]
#[ignore = "needs root"]
fn a_view_comes_changes_and_goes() {
    isolated(|| {
        let layers = Layers::new();
        let subject = Subject::start(PRIVATE, ETC);
        let before = subject.mounts("/etc");
        assert_eq!(layers.put(&subject, &[]).outcome, Outcome::Nothing);

        let changed = layers.put(&subject, &["a"]);
        assert_eq!((&changed.outcome, changed.found), (&Outcome::Merged, Found::Nothing));
        assert_eq!(subject.read("etc/version").as_deref(), Some("a"));
        assert_eq!(subject.read("etc/base").as_deref(), Some("base"));
        assert_eq!(subject.mounts("/etc")[1], "/etc ro,nosuid,nodev,relatime overlay systemd-extensions");

        let changed = layers.put(&subject, &["a"]);
        assert!(matches!(changed.outcome, Outcome::Unchanged { .. }), "{changed:?}");
        assert_eq!(changed.found, Found::Own);

        // The last one is on top, and the order alone is a change.
        let changed = layers.put(&subject, &["a", "b"]);
        assert_eq!(changed.outcome, Outcome::Refreshed { because: vec![Change::Added { name: "b".into() }] });
        assert_eq!(subject.read("etc/version").as_deref(), Some("b"));
        let changed = layers.put(&subject, &["b", "a"]);
        assert!(matches!(changed.outcome, Outcome::Refreshed { .. }), "{changed:?}");
        assert_eq!(subject.read("etc/version").as_deref(), Some("a"));
        assert_eq!((subject.read("etc/a").is_some(), subject.read("etc/b").is_some()), (true, true));
        assert_eq!(subject.mounts("/etc").len(), 2);

        assert_eq!(
            layers.put(&subject, &["b"]).outcome,
            Outcome::Refreshed { because: vec![Change::Removed { name: "a".into() }] }
        );
        assert_eq!(subject.read("etc/a"), None);
        // What is forbidden on the overlay, but not on what is under it, stays forbidden.
        assert_eq!(layers.put(&subject, &[]).outcome, Outcome::Unmerged);
        assert_eq!(subject.read("etc/version").as_deref(), Some("base"));
        assert_eq!(subject.read("etc/b"), None);
        assert!(matches!(layers.put(&subject, &[]).outcome, Outcome::Unchanged { .. }));
        assert_eq!(subject.mounts("/etc")[1], "/etc ro,nosuid,nodev,relatime overlay systemd-extensions");

        subject.enter("umount /etc; mount -o remount,bind,ro,nosuid,nodev /etc");
        layers.put(&subject, &["a"]);
        assert_eq!(layers.put(&subject, &[]).outcome, Outcome::Unmerged);
        let bare: Vec<_> = before.iter().map(|line| line.replace("rw,", "ro,nosuid,nodev,")).collect();
        assert_eq!(subject.mounts("/etc"), bare);
    });
}

#[test]
#[ignore = "needs root"]
fn mounts_and_what_they_forbid_are_kept() {
    isolated(|| {
        let layers = Layers::new();
        let setup = format!(
            "{ETC}; mkdir /etc/secret /etc/ro /etc/tmp /etc/run; echo -n no >/etc/secret/key; echo -n x >/etc/file
             mount --bind /etc/ro /etc/ro; mount -o remount,bind,ro /etc/ro
             mkdir /etc/ro/deep; mount -t tmpfs -o nr_inodes=5 deep /etc/ro/deep; echo -n deep >/etc/ro/deep/f
             mount -t tmpfs -o mode=000,ro none /etc/secret; mount -t tmpfs tmp /etc/tmp; echo -n kept >/etc/tmp/f
             mount --bind /etc/run /etc/run; mount -o remount,bind,noexec,nosuid /etc/run
             mount --bind /dev/null /etc/file; mount -o remount,bind,noexec /etc"
        )
        .replace("mkdir /etc/ro/deep; ", "")
        .replace("/etc/run; echo -n no", "/etc/run /etc/ro/deep; echo -n no");
        let subject = Subject::start(PRIVATE, &setup);
        let below = |subject: &Subject| {
            let mut mounts = subject.mounts("/etc");
            mounts.retain(|line| !line.starts_with("/etc "));
            mounts.sort();
            mounts
        };
        let before = below(&subject);
        assert_eq!(before.len(), 6, "{before:?}");
        let twice = {
            // What shows the directory itself shows the new one.
            let carried = |line: &String| match line.starts_with("/etc/ro ") || line.starts_with("/etc/run ")
            {
                true => line.replace("tmpfs tmpfs", "overlay systemd-extensions"),
                false => line.clone(),
            };
            let mut twice: Vec<_> = before.iter().flat_map(|line| [line.clone(), carried(line)]).collect();
            twice.sort();
            twice
        };
        for names in [&["a"][..], &["a", "b"], &["b"], &[], &["a"]] {
            let changed = layers.put(&subject, names);
            assert_eq!(below(&subject), twice, "{names:?}");
            let carried = ["file", "ro", "run", "secret", "tmp"].map(PathBuf::from);
            assert_eq!(changed.carried, carried);
            assert_eq!(changed.attributes, ["ro", "nosuid", "nodev", "noexec"]);
            assert_eq!(subject.read("etc/tmp/f").as_deref(), Some("kept"));
            assert_eq!(subject.read("etc/ro/deep/f").as_deref(), Some("deep"));
            assert_eq!(subject.read("etc/secret/key"), None);
            assert_eq!(subject.read("etc/version").as_deref(), Some(*names.last().unwrap_or(&"base")));
            assert_eq!(
                subject.mounts("/etc").iter().rfind(|line| line.starts_with("/etc ")).unwrap(),
                "/etc ro,nosuid,nodev,noexec,relatime overlay systemd-extensions"
            );
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_process_without_proc_in_another_root_and_process_namespace() {
    isolated(|| {
        let layers = Layers::new();
        for flags in [
            &["--mount", "--propagation", "private"][..],
            &["--mount", "--propagation", "slave", "--pid", "--fork"],
        ] {
            let root = Root::new();
            let place = small_root(&root);
            let setup =
                format!("mount --bind /usr {place}/usr; exec chroot {place} sh -c 'echo ready; exec cat'");
            let subject = Subject::start(flags, &setup);
            assert!(!subject.path("proc/self").exists());
            for (names, expected) in [(&["a"][..], "a"), (&["a", "b"], "b"), (&["b", "a"], "a")] {
                layers.put(&subject, names);
                assert_eq!(subject.read("etc/version").as_deref(), Some(expected));
                assert_eq!(subject.mounts("/etc").len(), 1);
                assert_eq!(root.read("etc/version").as_deref(), Some("base"), "the host sees it");
            }
            assert_eq!(layers.put(&subject, &[]).outcome, Outcome::Unmerged);
            assert_eq!(subject.read("etc/version").as_deref(), Some("base"));
        }
    });
}

#[test]
#[ignore = "needs root"]
fn processes_that_are_not_changed() {
    isolated(|| {
        let layers = Layers::new();
        let a = layers.path("a");
        let code = |result: Result<_, confext_core::Error>| result.err().map(|error| error.code());
        // Where this thread is; the first thread of this process may be elsewhere.
        let mut beside = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(code(Process::open(beside.id()).map(drop)), Some("process-namespace"));
        drop(beside.stdin.take());
        assert!(beside.wait().unwrap().success());
        assert_eq!(code(Process::open(1).map(drop)), Some("process-namespace"));
        assert_eq!(code(Process::open(0).map(drop)), Some("process-gone"));
        assert_eq!(code(Process::open(u32::MAX).map(drop)), Some("process-gone"));
        let subject = Subject::start(PRIVATE, ETC);
        let process = subject.process();
        let pid = subject.pid();
        drop(subject);
        assert_eq!(code(Process::open(pid).map(drop)), Some("process-gone"));
        let put =
            |process: &Process| confext_tests::subject::exchange_in(process, &[&a], How::default()).map(drop);
        assert_eq!(code(put(&process)), Some("process-gone"));

        // Its mounts are shared with ours.
        rustix::mount::mount_change(
            "/",
            rustix::mount::MountPropagationFlags::SHARED | rustix::mount::MountPropagationFlags::REC,
        )
        .unwrap();
        let subject = Subject::start(&["--mount", "--propagation", "unchanged"], ":");
        let before = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert_eq!(code(put(&subject.process())), Some("process-shared"));
        drop(subject);
        // Shared among themselves they are exchanged.
        let subject = Subject::start(&["--mount", "--propagation", "slave"], "mount --make-rshared /");
        layers.put(&subject, &["a"]);
        layers.put(&subject, &["b"]);
        assert_eq!(subject.read("etc/version").as_deref(), Some("b"));
        assert_eq!(fs::read_to_string("/proc/thread-self/mountinfo").unwrap(), before);
        drop(subject);
        rustix::mount::mount_change(
            "/",
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
        )
        .unwrap();

        // Somebody has mounted something over it.
        let subject = Subject::start(PRIVATE, ETC);
        layers.put(&subject, &["a"]);
        subject.enter("mount -t tmpfs over /etc");
        assert_eq!(code(put(&subject.process())), Some("stack-covered"));
        let subject = Subject::start(PRIVATE, &format!("{ETC}; mkdir /etc/a"));
        subject.enter("mount -t tmpfs there /etc/a");
        assert_eq!(code(put(&subject.process())), Some("submount-point"));
        assert_eq!(subject.read("etc/version").as_deref(), Some("base"));
    });
}

#[test]
#[ignore = "needs root"]
fn what_is_always_done_and_what_is_below() {
    isolated(|| {
        let layers = Layers::new();
        let subject = Subject::start(PRIVATE, ETC);
        layers.put(&subject, &["a"]);
        let mut how = How::default();
        how.when = When::Always;
        let a = layers.path("a");
        let changed = subject.exchange(&[&a], how).unwrap();
        assert_eq!(changed.outcome, Outcome::Refreshed { because: vec![Change::Asked] });
        assert_eq!(subject.mounts("/etc").len(), 2);
        // Another program's, also with more than one of them.
        let overlay =
            |lower: &str| format!("mount -t overlay -o ro,lowerdir={lower}:/etc systemd-extensions /etc");
        let subject =
            Subject::start(PRIVATE, &format!("{ETC}; {}", overlay(&format!("{}/etc", a.display()))));
        assert_eq!(subject.read("etc/version").as_deref(), Some("a"));
        let changed = layers.put(&subject, &["b"]);
        assert_eq!(changed.found, Found::Systemd);
        assert_eq!(changed.outcome, Outcome::Refreshed { because: vec![Change::Unknown] });
        assert_eq!((subject.read("etc/a"), subject.read("etc/version").as_deref()), (None, Some("b")));
        assert_eq!(changed.attributes, ["ro"]);
        subject.enter(&overlay(&format!("{}/etc", a.display())));
        let changed = layers.put(&subject, &["b"]);
        assert_eq!(changed.found, Found::Interrupted);
        assert_eq!((subject.read("etc/a"), subject.mounts("/etc").len()), (None, 2));
        assert_eq!(subject.read("etc/version").as_deref(), Some("b"));
        of_no_name(&layers);
    });
}

/// Until 257 an overlay of systemd has the name of any other: it is known by where its layers are, and any other stays below.
fn of_no_name(layers: &Layers) {
    for (layer, found, kept) in [
        ("/run/systemd/unit-extensions/0", Found::Systemd, None),
        ("/run/layer/0", Found::Nothing, Some("x")),
    ] {
        let setup = format!(
            "{ETC}; mount -t tmpfs tmpfs /run; mkdir -p {layer}/etc; echo -n x >{layer}/etc/x; \
             mount -t overlay -o ro,lowerdir={layer}/etc:/etc overlay /etc"
        );
        let subject = Subject::start(PRIVATE, &setup);
        assert_eq!(subject.read("etc/x").as_deref(), Some("x"));
        for (version, found) in [("a", found), ("b", Found::Own)] {
            assert_eq!(layers.put(&subject, &[version]).found, found, "{layer}");
            assert_eq!(subject.read("etc/version").as_deref(), Some(version));
            assert_eq!(subject.read("etc/x").as_deref(), kept, "{layer}");
        }
    }
}

/// From entries as a unit has them: signed images, the later one on top, for the root that the process has.
#[test]
#[ignore = "needs root"]
fn what_a_unit_lists_is_refreshed() {
    isolated(|| {
        let (root, host, signer) = (Root::new(), Root::new(), key("service"));
        let place = small_root(&root);
        host.trust(&signer);
        let image = |name: &str, version: &str| {
            let (etc, usr) = ("etc/version", "usr/share/version");
            host.image(Class::Confext, &format!("srv/{name}.raw"), &[(etc, version)], Some(&signer));
            host.image(Class::Sysext, &format!("srv/{name}-s.raw"), &[(usr, version)], Some(&signer));
        };
        image("one", "1");
        image("two", "2");
        let setup =
            format!("mount --bind /usr {place}/usr; exec chroot {place} sh -c 'echo ready; exec cat'");
        let subject = Subject::start(PRIVATE, &setup);
        let listed = |names: &[&str]| {
            let mut extensions = Extensions::default();
            extensions.images = names.iter().map(|name| Entry::image(format!("/srv/{name}.raw"))).collect();
            extensions
        };
        let mut options = service::Options::new(confext_core::Options::default());
        let refresh = |names: &[&str], options: &service::Options| {
            service::refresh(&host.host(), &subject.process(), &listed(names), options)
        };
        let report = refresh(&["one", "two"], &options).unwrap();
        assert_eq!(report.hierarchies.len(), 1);
        assert_eq!(report.hierarchies[0].outcome, Outcome::Merged);
        assert_eq!(subject.read("etc/version").as_deref(), Some("2"));
        let report = refresh(&["one", "two"], &options).unwrap();
        assert!(matches!(report.hierarchies[0].outcome, Outcome::Unchanged { .. }), "{report:?}");
        image("two", "3");
        let report = refresh(&["one", "two"], &options).unwrap();
        assert!(matches!(report.hierarchies[0].outcome, Outcome::Refreshed { .. }), "{report:?}");
        assert_eq!(subject.read("etc/version").as_deref(), Some("3"));
        // Counting attempts, and calling a version good, renames its file.
        let counted = "srv/v.raw.v/v_1+2-1.raw";
        host.image(Class::Confext, counted, &[("etc/version", "v")], Some(&signer));
        refresh(&["v.raw.v/v___"], &options).unwrap();
        assert_eq!(subject.read("etc/version").as_deref(), Some("v"));
        fs::rename(host.path(counted), host.path("srv/v.raw.v/v_1.raw")).unwrap();
        let report = refresh(&["v.raw.v/v___"], &options).unwrap();
        assert!(matches!(report.hierarchies[0].outcome, Outcome::Unchanged { .. }), "{report:?}");
        assert_eq!(report.hierarchies[0].layers[0].path, "/srv/v.raw.v/v_1.raw");
        let (on, process) = (host.host(), subject.process());
        let seen = process.host().unwrap();
        let tracer = service::trace::live(&on, (&process, &seen), &listed(&[]), &options.admission).unwrap();
        let answer = tracer.trace("/etc/version").unwrap().answer;
        assert!(
            matches!(&answer, confext_core::trace::Answer::Layer { source, .. } if source.image == "/srv/v.raw.v/v_1.raw"),
            "{answer:?}"
        );
        refresh(&["two", "one"], &options).unwrap();
        assert_eq!(subject.read("etc/version").as_deref(), Some("1"));

        options.hierarchies = Hierarchies::All;
        let report = refresh(&["one", "one-s", "two-s"], &options).unwrap();
        let outcomes: Vec<_> =
            report.hierarchies.iter().map(|changed| (changed.hierarchy, changed.layers.len())).collect();
        assert_eq!(outcomes, [("usr", 2), ("etc", 1)]);
        assert_eq!(subject.read("usr/share/version").as_deref(), Some("3"));
        assert!(subject.path("usr/bin/sh").exists());
        let found = service::status(&subject.process(), How::default().wait).unwrap();
        let found: Vec<_> = found.iter().map(|status| (status.hierarchy, status.found)).collect();
        assert_eq!(found, [("usr", Found::Own), ("etc", Found::Own)]);
        refresh(&[], &options).unwrap();
        assert!(!subject.path("usr/share/version").exists());
        assert_eq!(subject.read("etc/version").as_deref(), Some("base"));

        // What is refused changes nothing.
        host.image(Class::Confext, "srv/bad.raw", &[("etc/version", "bad")], None);
        let error = refresh(&["one", "bad"], &options).unwrap_err();
        assert_eq!(error.code(), "policy", "{}", error.explain());
        assert_eq!(subject.read("etc/version").as_deref(), Some("base"));
        // Something else than a directory over a directory of the service.
        root.file("etc/dir/file", "");
        host.image(Class::Confext, "srv/type.raw", &[("etc/dir", "file")], Some(&signer));
        assert_eq!(refresh(&["type"], &options).unwrap_err().code(), "type-change");
        assert_eq!(subject.read("etc/version").as_deref(), Some("base"));
    });
}

#[test]
#[ignore = "needs root"]
fn who_watches_may_end_it_while_images_are_copied() {
    isolated(|| {
        let (root, host, signer) = (Root::new(), Root::new(), key("service"));
        let place = small_root(&root);
        host.trust(&signer);
        for version in ["1", "2"] {
            let image = format!("srv/{version}.raw");
            host.image(Class::Confext, &image, &[("etc/version", version)], Some(&signer));
        }
        let setup =
            format!("mount --bind /usr {place}/usr; exec chroot {place} sh -c 'echo ready; exec cat'");
        let subject = Subject::start(PRIVATE, &setup);
        let mut options = service::Options::new(confext_core::Options::default());
        options.admission.attach = Mode::SealedMemory;
        let refresh = |version: &str, options: &service::Options| {
            let mut extensions = Extensions::default();
            extensions.images = vec![Entry::image(format!("/srv/{version}.raw"))];
            service::refresh(&host.host(), &subject.process(), &extensions, options)
        };
        refresh("1", &options).unwrap();
        let mounts = subject.mounts("/etc");
        let mut ended = options.clone();
        ended.admission.watch = Watch::new(|_| ControlFlow::Break(()));
        assert_eq!(refresh("2", &ended).unwrap_err().code(), "cancelled");
        assert_eq!((subject.mounts("/etc"), subject.read("etc/version").as_deref()), (mounts, Some("1")));
        refresh("2", &options).unwrap();
        assert_eq!(subject.read("etc/version").as_deref(), Some("2"));
    });
}
