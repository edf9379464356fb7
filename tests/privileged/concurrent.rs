//! Many processes that refresh at once, with readers, and a writer that replaces extensions: nobody ever sees half of
//! anything, one stack is left, and nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use confext_core::stack::Verb;
use confext_tests::scene::{Scene, View};
use confext_tests::sweep::isolated;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};

/// `CONFEXT_CONCURRENT_SECONDS=60` is the full time.
fn seconds() -> u64 {
    let wanted = std::env::var("CONFEXT_CONCURRENT_SECONDS");
    wanted.map_or(4, |text| text.parse().expect("CONFEXT_CONCURRENT_SECONDS: a number"))
}

const PROCESSES: usize = 8;
/// The directory, and two files of one extension in it: they are of one version always.
const PAIRS: [(&str, [&str; 2]); 3] =
    [("etc/app", ["c", "d"]), ("etc/app", ["i", "j"]), ("usr/app", ["s", "t"])];

/// Reads two files through one open directory, so that both come from one stack.
fn read_pair(scene: &Scene, (directory, names): (&str, [&str; 2])) -> [String; 2] {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::open(scene.root.path(directory), flags, Mode::empty()).expect("the directory");
    names.map(|name| {
        let fd = rustix::fs::openat(&directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let mut text = String::new();
        File::from(fd.expect(name)).read_to_string(&mut text).expect(name);
        text
    })
}

#[test]
#[ignore = "needs root"]
fn many_processes_refresh_at_once() {
    isolated(|| {
        let scene = Scene::new();
        rustix::mount::mount("tmpfs", scene.root.path("etc/sub"), "tmpfs", MountFlags::empty(), None)
            .unwrap();
        scene.root.file("etc/sub/below", "below");
        scene.put("version 0");
        scene.apply(Verb::Merge).unwrap();
        let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut written = 0;
        let refreshes: Vec<u64> = std::thread::scope(|scope| {
            for pair in PAIRS {
                let (scene, done, reads) = (&scene, &done, &reads);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let [first, second] = read_pair(scene, pair);
                        assert_eq!(first, second, "half of {pair:?}");
                        assert_eq!(scene.root.read("etc/sub/below").as_deref(), Some("below"));
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let workers: Vec<_> = (0..PROCESSES)
                .map(|_| {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_confext-test-worker"));
                    command.arg(scene.root.path("")).args(["no", &seconds().to_string()]);
                    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
                })
                .collect();
            let writer = scope.spawn(|| {
                let mut version = 0;
                while !done.load(Ordering::Relaxed) {
                    version += 1;
                    scene.put(&format!("version {version}"));
                    std::thread::sleep(Duration::from_millis(20));
                }
                version
            });
            let counts: Vec<_> = workers
                .into_iter()
                .map(|worker| {
                    let output = worker.wait_with_output().unwrap();
                    let count = String::from_utf8(output.stdout).unwrap().trim().parse();
                    output.status.success().then_some(count.ok()).flatten()
                })
                .collect();
            done.store(true, Ordering::Relaxed);
            written = writer.join().unwrap();
            counts.into_iter().map(|count| count.expect("a process failed")).collect()
        });
        println!("{} reads, {written} versions, refreshes {refreshes:?}", reads.load(Ordering::Relaxed));
        assert!(reads.load(Ordering::Relaxed) > 0 && refreshes.iter().sum::<u64>() > 0 && written > 0);

        // One stack on each hierarchy, and it can be brought to the last version.
        scene.apply(Verb::Refresh).unwrap();
        let last = View::Version(format!("version {written}"));
        assert_eq!(scene.views(), [(); 3].map(|()| last.clone()));
        let mut counts = BTreeMap::new();
        for mount in scene.mounts() {
            *counts.entry(mount).or_insert(0) += 1;
        }
        let expected = [("/etc", 1), ("/etc/sub", 2), ("/opt", 1), ("/usr", 1)];
        assert_eq!(counts, expected.map(|(mount, count)| (mount.to_owned(), count)).into());
        scene.apply(Verb::Unmerge).unwrap();
        assert_eq!(scene.mounts(), ["/etc/sub"]);
        assert_eq!(std::fs::read_dir(scene.root.path("run")).unwrap().count(), 1);
        rustix::mount::unmount(scene.root.path("etc/sub"), UnmountFlags::DETACH).unwrap();
    });
}
