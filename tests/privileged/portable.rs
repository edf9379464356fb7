//! A failure at each system call that attaches or detaches a portable service, and the end of the process there: no unit is
//! left that is not bound to its images

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use confext_core::Host;
use confext_core::service::portable::{Portable, attached, detach};
use confext_tests::faults::{self, End, Fault};
use confext_tests::root::unprotected;
use confext_tests::sweep::isolated;
use rustix::mount::{MountFlags, UnmountFlags};

const ATTACHED: &str = "etc/systemd/system.attached";
const UNITS: [&str; 2] = ["app.service", "app.socket"];

/// What is in the directory of attached units: paths with text, the target of a link, or nothing for a directory.
type Found = BTreeMap<PathBuf, String>;

struct Scene {
    root: tempfile::TempDir,
    host: Host,
    whole: Found,
}

impl Drop for Scene {
    fn drop(&mut self) {
        rustix::mount::unmount(self.root.path(), UnmountFlags::DETACH).unwrap();
    }
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::Builder::new().prefix("confext-test-").tempdir_in("/var/tmp").unwrap();
        // In memory nothing is waited for.
        rustix::mount::mount("tmpfs", root.path(), "tmpfs", MountFlags::empty(), None).unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("etc/os-release", "ID=host\n");
        put("usr/lib/systemd/portable/profile/default/service.conf", "[Service]\nPrivateTmp=yes\n");
        put("srv/app/etc/os-release", "ID=guest\n");
        put("srv/app/usr/lib/systemd/system/app.service", "[Service]\nExecStart=/bin/run\n");
        put("srv/app/usr/lib/systemd/system/app.socket", "[Socket]\nListenStream=/run/app\n");
        let host = Host::open(root.path()).unwrap();
        let mut scene = Self { root, host, whole: Found::new() };
        scene.attach();
        scene.whole = scene.found();
        // Two units, each with a directory of drop-ins; a profile for the service only.
        assert_eq!(scene.whole.len(), 7, "{:#?}", scene.whole);
        scene
    }

    fn place(&self) -> PathBuf {
        self.root.path().join(ATTACHED)
    }

    fn attach(&self) {
        let attachment = Portable::new("/srv/app").plan(&self.host, &unprotected()).unwrap();
        attachment.attach(&self.host).unwrap_or_else(|error| panic!("{}", error.explain()));
    }

    fn found(&self) -> Found {
        let (mut found, mut to_do) = (Found::new(), vec![self.place()]);
        while let Some(directory) = to_do.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                let text = match fs::read_link(&path) {
                    Ok(target) => target.display().to_string(),
                    Err(_) if path.is_dir() => {
                        to_do.push(path.clone());
                        String::new()
                    }
                    Err(_) => fs::read_to_string(&path).unwrap(),
                };
                found.insert(path.strip_prefix(self.place()).unwrap().to_owned(), text);
            }
        }
        found
    }

    /// What systemd would read of a unit: it and its drop-ins.
    fn of(found: &Found, unit: &str) -> Found {
        let beside = format!("{unit}.d");
        let is_of = |path: &Path| path == Path::new(unit) || path.starts_with(&beside);
        found
            .iter()
            .filter(|(path, _)| is_of(path))
            .map(|(path, text)| (path.clone(), text.clone()))
            .collect()
    }

    /// Each unit that is there is whole, with all of its drop-ins.
    fn check(&self, found: &Found, context: &str) {
        for unit in UNITS.iter().filter(|unit| found.contains_key(Path::new(unit))) {
            assert_eq!(Self::of(found, unit), Self::of(&self.whole, unit), "{context}");
        }
    }

    /// What is left is listed, and goes; then it can be attached again, and nothing else is there.
    fn recover(&self, context: &str) {
        if !attached(&self.host).unwrap().is_empty() {
            detach(&self.host, "app").unwrap_or_else(|error| panic!("{context}: {}", error.explain()));
        }
        self.check(&self.found(), context);
        assert!(UNITS.iter().all(|unit| !self.found().contains_key(Path::new(unit))), "{context}");
        self.attach();
        assert_eq!(self.found(), self.whole, "{context}");
    }

    /// Does it with a fault at each call in turn.
    fn everywhere(&self, verb: &str, fault: Fault) {
        let worker = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_confext-test-worker"));
            command.arg(self.root.path()).args(["-", verb]);
            command
        };
        let (before, after) = match verb {
            "attach" => (Found::new(), self.whole.clone()),
            _ => (self.whole.clone(), Found::new()),
        };
        let set_up = || {
            if verb == "attach" {
                detach(&self.host, "app").unwrap();
            }
            assert_eq!(self.found(), before);
        };
        set_up();
        let (end, calls) = faults::run(worker(), None, Fault::Once);
        assert_eq!((end, self.found()), (End::Said("ok".into()), after.clone()));
        // On disk as well there is at no time a unit without its drop-ins.
        let (rename, unlink, fsync) = (libc::SYS_renameat2, libc::SYS_unlinkat, libc::SYS_fsync);
        let order: Vec<i64> =
            calls.iter().copied().filter(|call| [rename, unlink, fsync].contains(call)).collect();
        match verb {
            "attach" => assert!(order.ends_with(&[fsync, rename, rename, fsync, rename, rename, fsync])),
            _ => assert!(order.starts_with(&[unlink, unlink, fsync, unlink]) && order.ends_with(&[fsync])),
        }
        let (mut as_before, mut between) = (0, 0);
        for (at, call) in calls.iter().enumerate() {
            self.recover("before");
            set_up();
            let (end, _) = faults::run(worker(), Some(at), fault);
            let (found, context) =
                (self.found(), format!("{verb}, {fault:?} at {at} (call {call}): {end:?}"));
            self.check(&found, &context);
            match &end {
                End::Said(text) if text == "ok" => assert_eq!(found, after, "{context}"),
                End::Said(text) => {
                    assert!(text.starts_with("error os "), "{context}");
                    // Attaching takes back what it has put.
                    assert!(
                        verb != "attach" || fault != Fault::Once || found == before,
                        "{context}: {found:#?}"
                    );
                }
                End::Killed => assert_eq!(fault, Fault::Kill, "{context}"),
            }
            as_before += usize::from(found == before);
            between += usize::from(found != before && found != after);
            self.recover(&context);
        }
        println!("{verb}, {fault:?}: {} calls, {as_before} as before, {between} between", calls.len());
        assert!(as_before > 0, "{verb}, {fault:?}");
        assert!(between > 0 || (verb, fault) == ("attach", Fault::Once), "{verb}, {fault:?}");
    }
}

fn everywhere(verb: &str) {
    isolated(|| {
        let scene = Scene::new();
        for fault in [Fault::Once, Fault::Always, Fault::Kill] {
            scene.everywhere(verb, fault);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn attaching_fails_or_is_killed_at_every_call() {
    everywhere("attach");
}

#[test]
#[ignore = "needs root"]
fn detaching_fails_or_is_killed_at_every_call() {
    everywhere("detach");
}
