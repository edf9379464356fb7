//! A failure at each system call of merge, refresh and unmerge in turn, and the end of the process there: what is seen is
//! complete, nothing is left, and the next run succeeds.

use std::fs;
use std::process::Command;

use confext_core::admission::Options;
use confext_core::settings::Mutability;
use confext_core::stack::{Change, Outcome, Verb};
use confext_core::state::HierarchyState;
use confext_core::{Host, merge, refresh, status, sys, unmerge};
use confext_ddi::release::Class;
use confext_tests::faults::{self, End, Fault};
use confext_tests::root::{Root, unprotected};
use confext_tests::scene::{Scene, View};
use confext_tests::sweep::isolated;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// Of the calls that only ask, one in so many is tried; `CONFEXT_FAULT_STRIDE=1` tries each. Calls that change something
/// always are.
fn stride() -> usize {
    std::env::var("CONFEXT_FAULT_STRIDE")
        .map_or(23, |text| text.parse().expect("CONFEXT_FAULT_STRIDE: a number"))
}

fn worker(scene: &Scene, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_confext-test-worker"));
    command.arg(scene.root.path("")).args([scene.mode.as_str(), verb]);
    command
}

/// What is there before a round: the version that is merged, and the one that is to be.
struct Round<'s> {
    scene: &'s Scene,
    before: View,
    after: View,
    /// What each hierarchy keeps of what was written to it last.
    written: [Option<String>; 3],
    mounts: Vec<String>,
}

impl<'s> Round<'s> {
    fn set_up(scene: &'s Scene, verb: Verb, number: usize) -> Self {
        let version = |number: usize| View::Version(format!("version {number}"));
        let (before, after) = match verb {
            Verb::Merge => (View::Bare, version(number)),
            Verb::Refresh => (version(number), version(number + 1)),
            Verb::Unmerge => (version(number), View::Bare),
        };
        for view in [&before, &after] {
            if let View::Version(version) = view {
                scene.put(version);
            }
            if view == &before {
                scene.apply(if view == &View::Bare { Verb::Unmerge } else { Verb::Refresh }).unwrap();
            }
        }
        if scene.mode == Mutability::Yes && before != View::Bare {
            scene.write("round", &format!("round {number}"));
        }
        let written = scene.written("round").map(|(kept, _)| kept);
        let round = Self { scene, before, after, written, mounts: scene.mounts() };
        assert_eq!(scene.views(), [(); 3].map(|()| round.before.clone()));
        round
    }

    /// What was written is kept, and seen where something is merged.
    fn check_written(&self, views: &[View; 3]) {
        if self.scene.mode == Mutability::No {
            return;
        }
        for (name, expected) in
            [("written", [(); 3].map(|()| Some("before".to_owned()))), ("round", self.written.clone())]
        {
            let found = self.scene.written(name);
            for (at, (kept, seen)) in found.into_iter().enumerate() {
                assert_eq!(kept, expected[at], "{name}: what was written is lost");
                assert_eq!(seen, kept.is_some() && views[at] != View::Bare, "{name}: {views:?}");
            }
        }
    }

    fn check(&self, end: &End, fault: Fault) {
        let views = self.scene.views();
        self.check_written(&views);
        let all = |view: &View| views.iter().all(|found| found == view);
        let each = views.iter().all(|found| found == &self.before || found == &self.after);
        match end {
            End::Killed => assert!(each, "{views:?}"),
            End::Said(text) if text == "ok" => assert!(all(&self.after), "{views:?}"),
            End::Said(text) if fault == Fault::Always && text.starts_with("error rollback ") => {
                assert!(each, "{views:?}");
            }
            End::Said(text) => {
                assert!(text.starts_with("error "), "{text}");
                assert!(all(&self.before), "{text}: {views:?}");
                if fault == Fault::Once {
                    assert_eq!(self.scene.mounts(), self.mounts, "{text}");
                    if self.scene.mode == Mutability::Yes && self.before != View::Bare {
                        // Nobody can write while it is replaced; it was not.
                        self.scene.write("after", text);
                    }
                }
            }
        }
    }

    /// It can be written to where it is merged, and has the work directories that it needs. Those that are left of a stack
    /// that is gone go with the next one.
    fn finish_writing(&self) {
        let stacks = if self.after == View::Bare { 0 } else { 3 };
        if stacks == 0 && self.scene.work_directories() > 0 {
            self.scene.apply(Verb::Merge).unwrap();
            self.scene.apply(Verb::Unmerge).unwrap();
        }
        assert_eq!(self.scene.work_directories(), stacks, "work directories");
        if stacks > 0 {
            self.scene.write("finished", "");
            for class in [Class::Sysext, Class::Confext] {
                for found in status(&self.scene.root.host(), class).unwrap() {
                    let HierarchyState::Merged { doubts, .. } = found.state else { panic!("{found:?}") };
                    assert_eq!(doubts, []);
                }
            }
        }
    }

    /// The next run finishes it, and nothing is left. Says whether it found two stacks.
    fn finish(&self, verb: Verb) -> bool {
        let reports = match self.scene.apply(verb) {
            Ok(reports) => reports,
            // All of it was put in place before the end.
            Err(error) if error.code() == "already-merged" && verb == Verb::Merge => Vec::new(),
            Err(error) => panic!("the next run: {}", error.explain()),
        };
        let views = self.scene.views();
        assert_eq!(views, [(); 3].map(|()| self.after.clone()));
        self.check_written(&views);
        if self.scene.mode == Mutability::Yes {
            self.finish_writing();
        }
        let mut expected = vec!["/etc/sub".to_owned()];
        if self.after == View::Bare {
            assert!(!self.scene.root.path("opt").exists(), "a directory is left");
        } else {
            // What is below a hierarchy is there twice.
            expected.extend(["/etc", "/etc/sub", "/opt", "/usr"].map(str::to_owned));
            if self.scene.mode == Mutability::Yes {
                let metadata = ["/etc/.systemd-confext", "/opt/.systemd-sysext", "/usr/.systemd-sysext"];
                expected.extend(metadata.map(str::to_owned));
            }
        }
        expected.sort();
        assert_eq!(self.scene.mounts(), expected);
        let left: Vec<_> =
            fs::read_dir(self.scene.root.path("run")).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["x"], "in run");
        reports.iter().any(|report| match &report.outcome {
            Outcome::Refreshed { because } => because.contains(&Change::Interrupted),
            _ => false,
        })
    }
}

fn everywhere(verb: Verb, name: &str, fault: Fault) {
    in_scene(Scene::new, stride(), (verb, name, fault));
}

/// What needs most time is to make the calls, so that of the many that only ask fewer are tried.
fn everywhere_writable(verb: Verb, name: &str, fault: Fault) {
    in_scene(Scene::writable, stride() * 3 - 2, (verb, name, fault));
}

fn in_scene(scene: fn() -> Scene, stride: usize, (verb, name, fault): (Verb, &str, Fault)) {
    isolated(|| {
        let scene = scene();
        rustix::mount::mount("tmpfs", scene.root.path("etc/sub"), "tmpfs", MountFlags::empty(), None)
            .unwrap();
        scene.root.file("etc/sub/below", "below");
        let round = Round::set_up(&scene, verb, 0);
        let (end, calls) = faults::run(worker(&scene, name), None, fault);
        assert_eq!(end, End::Said("ok".into()));
        round.check(&end, fault);
        let (mut rounds, mut failed, mut interrupted) = (0, 0, 0);
        for at in (0..calls.len()).filter(|at| faults::is_chosen(&calls, *at, stride)) {
            let round = Round::set_up(&scene, verb, at + 1);
            let (end, made) = faults::run(worker(&scene, name), Some(at), fault);
            let context = format!("{name}, {fault:?} at {at} (call {:?}): {end:?}", made.get(at));
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                round.check(&end, fault);
                round.finish(verb)
            }));
            match checked {
                Ok(found) => interrupted += usize::from(found),
                Err(panic) => {
                    eprintln!("{context}");
                    std::panic::resume_unwind(panic);
                }
            }
            rounds += 1;
            failed += usize::from(end != End::Said("ok".into()));
        }
        println!("{name}, {fault:?}: {rounds} of {} calls, of which {failed} ended it", calls.len());
        // What cannot be removed when all is done is no failure.
        assert!(failed > rounds / 4, "faults do not arrive");
        if (verb, fault) == (Verb::Refresh, Fault::Kill) {
            assert!(interrupted > 0, "never between the two calls of an exchange");
        }
        scene.apply(Verb::Unmerge).unwrap();
        rustix::mount::unmount(scene.root.path("etc/sub"), UnmountFlags::DETACH).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_merge_fails_at_every_call() {
    everywhere(Verb::Merge, "merge", Fault::Once);
}

#[test]
#[ignore = "needs root"]
fn a_refresh_fails_at_every_call() {
    everywhere(Verb::Refresh, "refresh", Fault::Once);
}

#[test]
#[ignore = "needs root"]
fn an_unmerge_fails_at_every_call() {
    everywhere(Verb::Unmerge, "unmerge", Fault::Once);
}

#[test]
#[ignore = "needs root"]
fn a_merge_is_killed_at_every_call() {
    everywhere(Verb::Merge, "merge", Fault::Kill);
}

#[test]
#[ignore = "needs root"]
fn a_refresh_is_killed_at_every_call() {
    everywhere(Verb::Refresh, "refresh", Fault::Kill);
}

#[test]
#[ignore = "needs root"]
fn an_unmerge_is_killed_at_every_call() {
    everywhere(Verb::Unmerge, "unmerge", Fault::Kill);
}

#[test]
#[ignore = "needs root"]
fn a_merge_that_can_be_written_to_fails_at_every_call() {
    everywhere_writable(Verb::Merge, "merge", Fault::Once);
}

#[test]
#[ignore = "needs root"]
fn a_refresh_of_what_can_be_written_to_fails_at_every_call() {
    everywhere_writable(Verb::Refresh, "refresh", Fault::Once);
}

#[test]
#[ignore = "needs root"]
fn an_unmerge_of_what_can_be_written_to_fails_at_every_call() {
    everywhere_writable(Verb::Unmerge, "unmerge", Fault::Once);
}

#[test]
#[ignore = "needs root"]
fn a_merge_that_can_be_written_to_is_killed_at_every_call() {
    everywhere_writable(Verb::Merge, "merge", Fault::Kill);
}

#[test]
#[ignore = "needs root"]
fn a_refresh_of_what_can_be_written_to_is_killed_at_every_call() {
    everywhere_writable(Verb::Refresh, "refresh", Fault::Kill);
}

#[test]
#[ignore = "needs root"]
fn an_unmerge_of_what_can_be_written_to_is_killed_at_every_call() {
    everywhere_writable(Verb::Unmerge, "unmerge", Fault::Kill);
}

/// What is mounted below a hierarchy while a stack is there does not go with the process that takes it away.
#[test]
#[ignore = "needs root"]
fn a_mount_made_meanwhile_outlives_an_unmerge_that_is_killed() {
    isolated(|| {
        let scene = Scene::new();
        let (root, later) = (scene.root.path(""), scene.root.path("etc/later"));
        scene.root.file("etc/later/x", "").file("etc/kept/x", "");
        scene.put("version");
        let mount = |at: &str, name: &str| {
            let at = scene.root.path(at);
            rustix::mount::mount("tmpfs", &at, "tmpfs", MountFlags::empty(), None).unwrap();
            fs::write(at.join(name), name).unwrap();
        };
        // Where mounts propagate a process can be killed anywhere; elsewhere it has to come to its end.
        for (propagation, fault) in [
            (MountPropagationFlags::SHARED, Fault::Kill),
            (MountPropagationFlags::SHARED, Fault::Once),
            (MountPropagationFlags::PRIVATE, Fault::Once),
        ] {
            rustix::mount::mount_bind(&root, &root).unwrap();
            rustix::mount::mount_change(&root, propagation).unwrap();
            mount("etc/kept", "before");
            let mut calls = None;
            let mut at = 0;
            let mut ended = 0;
            while calls.as_ref().is_none_or(|calls: &faults::Calls| at < calls.len()) {
                scene.apply(Verb::Merge).unwrap();
                mount("etc/later", "here");
                let point = calls.as_ref().map(|_| at);
                let (end, made) = faults::run(worker(&scene, "unmerge"), point, fault);
                ended += usize::from(end != End::Said("ok".into()));
                assert_eq!(scene.root.read("etc/later/here").as_deref(), Some("here"), "{at}: {end:?}");
                assert_eq!(scene.root.read("etc/kept/before").as_deref(), Some("before"), "{at}: {end:?}");
                scene.apply(Verb::Unmerge).unwrap();
                assert_eq!(scene.root.read("etc/later/here").as_deref(), Some("here"), "{at}, after it");
                let parent = fs::File::open(&later).unwrap();
                let id = sys::mount_id(std::os::fd::AsFd::as_fd(&parent)).unwrap();
                drop(parent);
                let is_shared = sys::mount_info(id).unwrap().propagation & (1 << 20) != 0;
                assert_eq!(is_shared, propagation == MountPropagationFlags::SHARED);
                rustix::mount::unmount(&later, UnmountFlags::DETACH).unwrap();
                let mut left = scene.root.mounts();
                left.retain(|mount| !mount.is_empty());
                assert_eq!(left, ["/etc/kept"], "{at}: {end:?}");
                let calls = calls.get_or_insert(made);
                at = (at + 1..calls.len())
                    .find(|at| faults::is_chosen(calls, *at, stride()))
                    .unwrap_or(calls.len());
            }
            assert!(ended >= 5, "{ended}");
            rustix::mount::unmount(&root, UnmountFlags::DETACH).unwrap();
        }
    });
}

/// From one call on everything fails, also what should take the rest back.
#[test]
#[ignore = "needs root"]
fn a_refresh_fails_from_every_call_on() {
    everywhere(Verb::Refresh, "refresh", Fault::Always);
}

/// While it is read, an image becomes shorter, or another one.
#[test]
#[ignore = "needs root"]
fn an_image_changes_during_a_refresh() {
    isolated(|| {
        let scene = Scene::new();
        rustix::mount::mount("tmpfs", scene.root.path("etc/sub"), "tmpfs", MountFlags::empty(), None)
            .unwrap();
        scene.root.file("etc/sub/below", "below");
        let round = Round::set_up(&scene, Verb::Refresh, 0);
        let (_, calls) = faults::run(worker(&scene, "refresh"), None, Fault::Meanwhile);
        drop(round);
        let image = scene.root.path("var/lib/confexts/i.raw");
        let (mut failed, mut rounds) = (0, 0);
        for at in (0..calls.len()).step_by(stride()) {
            for shorter in [true, false] {
                let round = Round::set_up(&scene, Verb::Refresh, 2 * at + usize::from(shorter));
                let meanwhile = || match shorter {
                    true => fs::File::options().write(true).open(&image).unwrap().set_len(20_000).unwrap(),
                    false => {
                        let other = fs::read(&image).unwrap().iter().map(|byte| !byte).collect::<Vec<_>>();
                        fs::write(image.with_extension("new"), other).unwrap();
                        fs::rename(image.with_extension("new"), &image).unwrap();
                    }
                };
                let command = worker(&scene, "refresh");
                let (end, _) = faults::run_beside(command, Some(at), Fault::Meanwhile, meanwhile);
                round.check(&end, Fault::Once);
                rounds += 1;
                failed += usize::from(end != End::Said("ok".into()));
                let View::Version(version) = &round.after else { unreachable!() };
                scene.put(version);
                round.finish(Verb::Refresh);
            }
        }
        println!("{rounds} changed images, of which {failed} were noticed");
        assert!(failed > 0 && failed < rounds);
        scene.apply(Verb::Unmerge).unwrap();
        rustix::mount::unmount(scene.root.path("etc/sub"), UnmountFlags::DETACH).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn without_a_free_loop_device_nothing_changes() {
    isolated(|| {
        let scene = Scene::new();
        rustix::mount::mount("tmpfs", scene.root.path("etc/sub"), "tmpfs", MountFlags::empty(), None)
            .unwrap();
        scene.root.file("etc/sub/below", "below");
        for (number, verb, name) in [(1, Verb::Merge, "merge"), (3, Verb::Refresh, "refresh")] {
            let round = Round::set_up(&scene, verb, number);
            let (end, _) = faults::run(worker(&scene, name), None, Fault::NoLoopDevice);
            let End::Said(said) = &end else { panic!("{end:?}") };
            assert!(said.starts_with("error os ") && said.contains("get a free loop device"), "{said}");
            assert!(said.contains("No space left"), "{said}");
            round.check(&end, Fault::Once);
            round.finish(verb);
        }
        // What is taken away needs none.
        let round = Round::set_up(&scene, Verb::Unmerge, 5);
        let (end, _) = faults::run(worker(&scene, "unmerge"), None, Fault::NoLoopDevice);
        assert_eq!(end, End::Said("ok".into()));
        round.check(&end, Fault::Once);
        rustix::mount::unmount(scene.root.path("etc/sub"), UnmountFlags::DETACH).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn without_privilege_nothing_changes() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "").confext("c", "etc/c", "1");
        let attempt =
            |change: fn(&Host, Class, &Options) -> confext_core::Result<confext_core::stack::Report>| {
                std::thread::scope(|scope| {
                    let without = scope.spawn(|| {
                        rustix::thread::set_capabilities(
                            None,
                            rustix::thread::CapabilitySets {
                                effective: rustix::thread::CapabilitySet::DAC_OVERRIDE,
                                permitted: rustix::thread::CapabilitySet::DAC_OVERRIDE,
                                inheritable: rustix::thread::CapabilitySet::empty(),
                            },
                        )
                        .unwrap();
                        change(&root.host(), Class::Confext, &unprotected()).unwrap_err()
                    });
                    without.join().unwrap()
                })
            };
        assert_eq!(attempt(merge).code(), "missing-capability");
        assert_eq!((root.mounts().len(), root.path("run/confext").exists()), (0, false));
        root.merge(Class::Confext).unwrap();
        for change in [refresh, unmerge] {
            fs::rename(root.path("var/lib/confexts/c"), root.path(&format!("aside-{}", root.mounts().len())))
                .ok();
            root.confext("c", "etc/c", "1");
            let error = attempt(change);
            assert!(["missing-capability", "os"].contains(&error.code()), "{error}");
            assert_eq!((root.read("etc/c").as_deref(), root.mounts().len()), (Some("1"), 1));
        }
        root.unmerge(Class::Confext);
    });
}

/// There is no room for what is written down: the lock, and the note that a directory is made.
#[test]
#[ignore = "needs root"]
fn without_room_nothing_changes() {
    isolated(|| {
        let root = Root::new();
        root.file("run/x", "").sysext("s", "usr/s", "1").sysext("s", "opt/s", "1");
        let mut ends = Vec::new();
        for inodes in 1..6 {
            let options = std::ffi::CString::new(format!("nr_inodes={inodes}")).unwrap();
            rustix::mount::mount("tmpfs", root.path("run"), "tmpfs", MountFlags::empty(), Some(&*options))
                .unwrap();
            let merged = root.merge(Class::Sysext);
            if let Err(error) = &merged {
                assert_eq!(error.code(), "os", "{error}");
                assert_eq!((root.mounts(), root.path("opt").exists()), (vec!["/run".to_owned()], false));
                ends.push(false);
            } else {
                ends.push(true);
                root.unmerge(Class::Sysext);
            }
            assert_eq!(fs::read_dir(root.path("run")).unwrap().count(), 0, "something is left");
            rustix::mount::unmount(root.path("run"), UnmountFlags::DETACH).unwrap();
        }
        assert_eq!(ends, [false, false, false, true, true]);
    });
}
