//! What goes wrong meanwhile: failures at each call, the end of the caller, file systems that hang, others that change

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use confext_core::service::{Found, How, When};
use confext_core::stack::{Change, Outcome};
use confext_core::sys;
use confext_ddi::release::Class;
use confext_tests::faults::{self, End, Fault};
use confext_tests::root::Root;
use confext_tests::subject::{Subject, exchange_in};
use confext_tests::sweep::isolated;
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::{ETC, Layers, PRIVATE, small_root};

/// As in `faults.rs`.
fn stride() -> usize {
    std::env::var("CONFEXT_FAULT_STRIDE")
        .map_or(23, |text| text.parse().expect("CONFEXT_FAULT_STRIDE: a number"))
}

/// Has a fault at each call of a change from one view to another; what is seen is one of the two.
fn everywhere(layers: &Layers, fault: Fault, from: &[&str], to: &[&str]) {
    let setup = format!("{ETC}; mkdir /etc/sub; mount -t tmpfs sub /etc/sub; echo -n kept >/etc/sub/f");
    let mut subject = Subject::start(PRIVATE, &setup);
    let version = |names: &[&str]| names.last().map_or("base", |name| *name).to_owned();
    let paths: Vec<_> = to.iter().map(|name| layers.path(name).display().to_string()).collect();
    let (mut at, mut calls, mut ended, mut cleaned) = (0, None::<faults::Calls>, 0, 0);
    while calls.as_ref().is_none_or(|calls| at < calls.len()) {
        if from.is_empty() {
            subject = Subject::start(PRIVATE, &setup);
        }
        layers.put(&subject, from);
        let before = subject.mounts("/etc");
        let mut command = Command::new(env!("CARGO_BIN_EXE_confext-test-worker"));
        command.args([&subject.pid().to_string(), "service", &paths.join(":")]);
        let (end, made) = faults::run(command, calls.as_ref().map(|_| at), fault);
        let seen = subject.read("etc/version").unwrap();
        let complete = |names: &[&str]| {
            let all = ["a", "b"].iter();
            all.clone().all(|name| subject.read(&format!("etc/{name}")).is_some() == names.contains(name))
                && seen == version(names)
        };
        assert_eq!(subject.read("etc/sub/f").as_deref(), Some("kept"), "{at}: {end:?}");
        assert_eq!(subject.read("etc/base").as_deref(), Some("base"), "{at}: {end:?}");
        match &end {
            End::Said(text) if text == "ok" => assert!(complete(to), "{at}: {seen}"),
            End::Said(text) => {
                assert!(text.starts_with("error "), "{text}");
                assert!(complete(from), "{at}: {text}: {seen}");
                if fault == Fault::Once {
                    assert_eq!(subject.mounts("/etc"), before, "{at}: {text}");
                }
                ended += 1;
            }
            End::Killed => {
                assert!(complete(from) || complete(to), "{at}: {seen}");
                ended += 1;
            }
        }
        // The next one finishes it.
        let changed = layers.put(&subject, to);
        cleaned += usize::from(changed.found == Found::Interrupted);
        assert!(subject.read("etc/version").unwrap() == version(to), "{at}: {end:?}");
        let stacks = subject.mounts("/etc").iter().filter(|line| line.starts_with("/etc ")).count();
        assert!(stacks <= 2, "{at}: {end:?}: {:?}", subject.mounts("/etc"));
        let calls = calls.get_or_insert(made);
        at = (at + 1..calls.len()).find(|at| faults::is_chosen(calls, *at, stride())).unwrap_or(calls.len());
    }
    let made = calls.map_or(0, |calls| calls.len());
    println!("{fault:?}, {from:?} to {to:?}: {made} calls, {ended} ended early, {cleaned} left two overlays");
    assert!(ended >= 3);
}

#[test]
#[ignore = "needs root"]
fn a_failure_at_every_call() {
    isolated(|| {
        let layers = Layers::new();
        for fault in [Fault::Once, Fault::Always] {
            everywhere(&layers, fault, &["a"], &["a", "b"]);
            everywhere(&layers, fault, &[], &["a"]);
            everywhere(&layers, fault, &["a"], &[]);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn the_end_of_the_caller_at_every_call() {
    isolated(|| {
        let layers = Layers::new();
        everywhere(&layers, Fault::Kill, &["a"], &["a", "b"]);
        everywhere(&layers, Fault::Kill, &[], &["a"]);
        everywhere(&layers, Fault::Kill, &["a"], &[]);
    });
}

/// With sysexts: both hierarchies change, or none does. Only whoever is killed between the two last calls leaves one of each, and
/// only where going back is made to fail, too, it is said that both stand.
#[test]
#[ignore = "needs root"]
fn all_hierarchies_or_none() {
    isolated(|| {
        let (root, host) = (Root::new(), Root::new());
        let place = small_root(&root);
        for version in ["1", "2"] {
            for (name, path) in [("s", "usr/share/version"), ("a", "etc/version")] {
                let own = format!("srv/{name}{version}");
                let kind = if name == "s" { "usr/lib" } else { "etc" };
                host.file(&format!("{own}/{path}"), version);
                host.file(
                    &format!("{own}/{kind}/extension-release.d/extension-release.{name}{version}"),
                    "ID=_any\n",
                );
            }
        }
        let setup = format!(
            "mount --bind /usr {place}/usr; mkdir {place}/etc/sub; mount -t tmpfs sub {place}/etc/sub
             echo -n kept >{place}/etc/sub/f; exec chroot {place} sh -c 'echo ready; exec cat'"
        );
        let subject = Subject::start(PRIVATE, &setup);
        let listed = |version: &str| format!("/srv/s{version}:/srv/a{version}");
        let worker = |version: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_confext-test-worker"));
            let all = format!("{}:{}", host.path("").display(), listed(version));
            command.args([&subject.pid().to_string(), "service-all", &all]);
            command
        };
        let seen = || ["usr/share/version", "etc/version"].map(|path| subject.read(path).unwrap_or_default());
        let put = |version: &str| {
            let (end, made) = faults::run(worker(version), None, Fault::Once);
            assert_eq!(end, End::Said("ok".into()));
            assert_eq!(seen(), [version, version]);
            made
        };
        put("1");
        let calls = put("2");
        for fault in [Fault::Once, Fault::Always, Fault::Kill] {
            let (mut none, mut both, mut stand) = (0, 0, 0);
            // The last ones all: how many come before is not always the same.
            let chosen = |at: &usize| faults::is_chosen(&calls, *at, 4 * stride()) || at + 12 >= calls.len();
            for at in (0..calls.len()).filter(chosen) {
                put("1");
                match faults::run(worker("2"), Some(at), fault).0 {
                    End::Said(text) if text == "ok" => both += usize::from(seen() == ["2", "2"]),
                    End::Said(text) if text.starts_with("error rollback") => stand += 1,
                    End::Said(text) => {
                        assert_eq!(seen(), ["1", "1"], "{at}: {text}");
                        none += 1;
                    }
                    End::Killed => match seen() {
                        view if view == ["1", "1"] => none += 1,
                        view if view == ["2", "2"] => both += 1,
                        view => {
                            assert_eq!(view, ["2", "1"]);
                            stand += 1;
                        }
                    },
                }
                assert_eq!(subject.read("etc/sub/f").as_deref(), Some("kept"), "{at}");
            }
            println!("{fault:?}: {none} none, {both} both, {stand} one of each");
            assert!(none > 3 && stand <= 2, "{fault:?}: {none}, {both}, {stand}");
        }
    });
}

/// The host's stack is part of what is below, whatever becomes of it.
#[test]
#[ignore = "needs root"]
fn what_the_host_merges_is_seen_below() {
    isolated(|| {
        let layers = Layers::new();
        let root = Root::new();
        let place = small_root(&root);
        let path = root.path("");
        rustix::mount::mount_bind(&path, &path).unwrap();
        rustix::mount::mount_change(&path, MountPropagationFlags::SHARED).unwrap();
        root.confext("host", "etc/host", "1");
        root.merge(Class::Confext).unwrap();
        let setup =
            format!("mount --bind /usr {place}/usr; exec chroot {place} sh -c 'echo ready; exec cat'");
        let subject = Subject::start(&["--mount", "--propagation", "slave"], &setup);
        assert_eq!(subject.read("etc/host").as_deref(), Some("1"));
        for names in [&["a"][..], &["b"], &["a", "b"]] {
            layers.put(&subject, names);
            assert_eq!(subject.read("etc/host").as_deref(), Some("1"));
            assert_eq!(subject.read("etc/version").as_deref(), names.last().copied());
        }
        root.confext("host", "etc/host", "22");
        root.refresh(Class::Confext).unwrap();
        assert_eq!(subject.read("etc/version").as_deref(), Some("b"));
        let changed = layers.put(&subject, &["a", "b"]);
        assert_eq!(changed.outcome, Outcome::Refreshed { because: vec![Change::Below] });
        assert_eq!(subject.read("etc/host").as_deref(), Some("22"));
        assert!(matches!(layers.put(&subject, &["a", "b"]).outcome, Outcome::Unchanged { .. }));
        root.unmerge(Class::Confext);
        assert_eq!(subject.read("etc/version").as_deref(), Some("b"));
        let changed = layers.put(&subject, &["a", "b"]);
        assert_eq!(changed.outcome, Outcome::Refreshed { because: vec![Change::Below] });
        assert_eq!(subject.read("etc/host"), None);
        assert_eq!(root.read("etc/a"), None, "the host sees what is the service's");
        drop(subject);
        rustix::mount::unmount(&path, UnmountFlags::DETACH).unwrap();
    });
}

/// A file system whose server does not answer is waited for, but not for ever, and nothing happens afterwards.
#[test]
#[ignore = "needs root"]
fn what_hangs_is_left_alone() {
    isolated(|| {
        let layers = Layers::new();
        // Its end of the device is open in the process, and never read.
        let hangs = "exec 7<>/dev/fuse; mount -i -t fuse -o fd=7,rootmode=40000,user_id=0,group_id=0 hangs";
        // Nothing is started after that: a program would look into /etc.
        let script = format!("{ETC}; {hangs} /etc; echo ready; read end");
        let subject = Subject::run(PRIVATE, &["sh", "-c", &script]);
        let (a, mut how) = (layers.path("a"), How::default());
        how.wait = Duration::from_millis(100);
        let started = Instant::now();
        let error = exchange_in(&subject.process(), &[&a], how).unwrap_err();
        assert_eq!(error.code(), "no-answer", "{}", error.explain());
        assert!(started.elapsed() < Duration::from_secs(20), "the limit is none");
        assert_eq!(subject.mounts("/etc").len(), 2);
        // Its server is gone with it, and the lookup ends.
        drop(subject);
        let threads = || {
            fs::read_dir("/proc/self/task").unwrap().filter(|task| {
                let comm =
                    task.as_ref().ok().and_then(|task| fs::read_to_string(task.path().join("comm")).ok());
                comm.is_some_and(|comm| comm.starts_with("confext-service"))
            })
        };
        while threads().count() > 0 {
            std::thread::yield_now();
        }
    });
}

/// A reader in the namespace of the process misses nothing; `CONFEXT_TEST_REFRESHES` says how many times it is exchanged.
#[test]
#[ignore = "needs root"]
fn a_reader_misses_nothing() {
    let times = std::env::var("CONFEXT_TEST_REFRESHES").map_or(200, |text| text.parse().expect("a number"));
    isolated(|| {
        let layers = Layers::new();
        let setup = format!("{ETC}; mkdir /etc/sub; mount -t tmpfs sub /etc/sub; echo -n kept >/etc/sub/f");
        let subject = Subject::start(PRIVATE, &setup);
        layers.put(&subject, &["a"]);
        let namespace = fs::File::open(format!("/proc/{}/ns/mnt", subject.pid())).unwrap();
        let done = AtomicBool::new(false);
        let reads = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                sys::unshare_directories().unwrap();
                sys::enter_namespace(namespace.as_fd(), sys::NamespaceKind::Mount).unwrap();
                let mut reads = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    for (path, expected) in [
                        ("/etc/base", &["base"][..]),
                        ("/etc/version", &["a", "b"]),
                        ("/etc/sub/f", &["kept"]),
                    ] {
                        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
                        assert!(expected.contains(&text.as_str()), "{path}: {text}");
                        reads += 1;
                    }
                }
                reads
            });
            for round in 0..times {
                layers.put(&subject, if round % 2 == 0 { &["b"] } else { &["a"] });
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap()
        });
        println!("{times} exchanges, {reads} reads");
        assert!(reads > times);
        assert_eq!(subject.mounts("/etc").len(), 4);
    });
}

/// Many that exchange at once: each gets its turn.
#[test]
#[ignore = "needs root"]
fn one_after_the_other() {
    isolated(|| {
        let layers = Layers::new();
        let subject = Subject::start(PRIVATE, ETC);
        let mut how = How::default();
        how.when = When::Always;
        let paths: Vec<PathBuf> = ["a", "b"].map(|name| layers.path(name)).into();
        std::thread::scope(|scope| {
            for turn in 0..6 {
                let (subject, path): (_, &Path) = (&subject, &paths[turn % 2]);
                scope.spawn(move || {
                    for _ in 0..10 {
                        exchange_in(&subject.process(), &[path], how).unwrap();
                    }
                });
            }
        });
        assert_eq!(subject.mounts("/etc").len(), 2);
    });
}
