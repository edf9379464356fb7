//! Beside systemd on one host: each shows, keeps, replaces and takes down what the other one merged.

use confext_core::admission::Options;
use confext_core::stack::{Change, Outcome};
use confext_core::state::{HierarchyState, Status, metadata_directory};
use confext_core::{Host, merge, refresh, status, unmerge};
use confext_ddi::build::erofs;
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_tests::beside::Shell;
use confext_tests::peer::{Place, Systemd, settings_path, tree_of};
use confext_tests::sweep::isolated;
use confext_tests::tools;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const CLASSES: [Class; 2] = [Class::Confext, Class::Sysext];
/// The names of all extensions, in the order of a merge. systemd 257 follows no links below another root.
fn names(systemd: Systemd) -> Vec<String> {
    let all = ["dir", "erofs", "gpt", "linked", "squashfs", "versioned"].map(str::to_owned);
    all.into_iter().filter(|name| name != "linked" || systemd == Systemd::Newest).collect()
}

/// The directory that both look for extensions in.
fn extensions(class: Class) -> &'static str {
    match class {
        Class::Confext => "root/var/lib/confexts",
        Class::Sysext => "root/var/lib/extensions",
    }
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// An extension as a directory.
fn directory(place: &Place, class: Class, at: &str, name: &str) {
    let at = place.path(at);
    let release = at.join(class.release_directory()).join(format!("extension-release.{name}"));
    write(&release, "ID=_any\n");
    write(&at.join(class.hierarchies()[0]).join(name), name);
    write(&at.join(settings_path(class)), name);
}

/// A host with an extension of every kind that has no hash tree.
fn host(place: &Place, class: Class) {
    for (path, content) in [
        ("root/usr/lib/os-release", "ID=test\nVERSION_ID=1\n"),
        ("root/usr/share/own", "of the host\n"),
        ("root/opt/own", "of the host\n"),
        ("root/etc/own", "of the host\n"),
    ] {
        write(&place.path(path), content);
    }
    let extensions = extensions(class);
    fs::create_dir_all(place.path(extensions)).unwrap();
    directory(place, class, &format!("{extensions}/dir"), "dir");
    directory(place, class, "root/srv/elsewhere", "linked");
    if place.systemd() == Systemd::Newest {
        symlink("/srv/elsewhere", place.path(&format!("{extensions}/linked"))).unwrap();
    }
    for version in ["1", "2"] {
        directory(place, class, &format!("{extensions}/versioned.v/versioned_{version}"), "versioned");
    }
    directory(place, class, "squashfs", "squashfs");
    let image = format!("{extensions}/squashfs.raw");
    tools::run("mksquashfs", &["squashfs", &image, "-quiet", "-noappend", "-no-progress"], place.dir());
    directory(place, class, "erofs", "erofs");
    bare_erofs(place, "erofs", &format!("{extensions}/erofs.{class}.raw"));
    directory(place, class, "gpt", "gpt");
    bare_erofs(place, "gpt", "gpt.erofs");
    partitioned(place, "gpt.erofs", &format!("{extensions}/gpt.raw"));
}

/// An image of one root partition and no hash tree.
fn partitioned(place: &Place, content: &str, image: &str) {
    const START: u64 = 1 << 20;
    let content = fs::read(place.path(content)).unwrap();
    let sectors = u64::try_from(content.len()).unwrap() / 512;
    let file = fs::File::create(place.path(image)).unwrap();
    file.set_len(4 * START).unwrap();
    file.write_all_at(&content, START).unwrap();
    let kind = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
    let script = format!("label: gpt\nstart={}, size={sectors}, type={kind}, name=root\n", START / 512);
    fs::write(place.path("script"), script).unwrap();
    tools::run("sh", &["-c", &format!("sfdisk --quiet {image} <script")], place.dir());
}

fn bare_erofs(place: &Place, directory: &str, image: &str) {
    let tree = tree_of(&place.path(directory));
    let mut file = fs::File::create(place.path(image)).unwrap();
    erofs::write(&tree, &erofs::Options::default(), &mut file).unwrap();
}

fn unprotected() -> Options {
    let mut options = Options::default();
    options.policy = Policy::unprotected();
    options
}

/// The command line of systemd's program of a class.
fn command(place: &Place, class: Class, verb: &str) -> String {
    let policy = "--image-policy=root=unprotected+absent:usr=unprotected+absent";
    format!("systemd-{class} --root={} --no-reload {policy} {verb}", place.text("root"))
}

/// The extensions that systemd shows for each hierarchy, and since when, in microseconds.
fn shown(shell: &mut Shell, place: &Place, class: Class) -> Vec<(String, Vec<String>, Option<u64>)> {
    let text = shell.run(&command(place, class, "--json=short status"));
    let json: Value = serde_json::from_str(&text).unwrap();
    let row = |row: &Value| {
        // 257 says "none" where 262 has an empty list.
        let names = row["extensions"].as_array().into_iter().flatten();
        let names = names.map(|name| name.as_str().unwrap().to_owned()).collect();
        (row["hierarchy"].as_str().unwrap().to_owned(), names, row["since"].as_u64())
    };
    json.as_array().unwrap().iter().map(row).collect()
}

/// What we show for each hierarchy.
fn ours(host: &Host, class: Class) -> Vec<(String, Vec<String>)> {
    let names = |status: Status| match status.state {
        HierarchyState::Merged { extensions, doubts, .. } => {
            assert_eq!(doubts, []);
            extensions
        }
        HierarchyState::Bare | HierarchyState::Missing => Vec::new(),
    };
    let all = status(host, class).unwrap().into_iter();
    all.map(|status| (format!("/{}", status.hierarchy), names(status))).collect()
}

/// The hierarchies that the extensions have files for, and the others.
fn expected(place: &Place, class: Class) -> Vec<(String, Vec<String>)> {
    let names = names(place.systemd());
    let used = class.hierarchies()[0];
    let each = class.hierarchies().iter();
    each.map(|hierarchy| (format!("/{hierarchy}"), if *hierarchy == used { names.clone() } else { vec![] }))
        .collect()
}

/// The number of the mount that is on a hierarchy: another one after it was replaced.
fn mount_number(host: &Host, class: Class) -> u64 {
    use std::os::fd::AsFd as _;
    let file = fs::File::open(host.path().join(class.hierarchies()[0])).unwrap();
    confext_core::sys::mount_id(file.as_fd()).unwrap().number()
}

fn origin(host: &Host, class: Class) -> Option<Value> {
    let place = host.path().join(class.hierarchies()[0]).join(metadata_directory(class));
    fs::read(place.join("origin")).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// Reads a file all the time while `change` runs; how often it was not there, and how often it was tried.
fn polled<T>(path: &Path, change: impl FnOnce() -> T) -> (T, (u64, u64)) {
    let stop = AtomicBool::new(false);
    let seen = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| {
            let mut missed = 0;
            while !stop.load(Ordering::Relaxed) {
                missed += u64::from(fs::read(path).is_err());
                seen.fetch_add(1, Ordering::Relaxed);
            }
            missed
        });
        while seen.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        let changed = change();
        stop.store(true, Ordering::Relaxed);
        let missed = poll.join().unwrap();
        (changed, (missed, seen.load(Ordering::Relaxed)))
    })
}

/// Runs `test` beside each release, with a host of each class.
fn beside_each(test: impl Fn(&mut Shell, &Place, Class, &Host) + Sync) {
    isolated(|| {
        for systemd in Systemd::ALL {
            let place = Place::of(systemd);
            CLASSES.iter().for_each(|class| host(&place, *class));
            Shell::with(&place, |shell| {
                for class in CLASSES {
                    // Opened here: the other namespace has mounts of its own.
                    let host = Host::open(place.path("root")).unwrap();
                    test(shell, &place, class, &host);
                    assert!(ours(&host, class).iter().all(|(_, names)| names.is_empty()));
                }
            });
        }
    });
}

#[test]
#[ignore = "needs root"]
fn what_we_merge_systemd_shows_keeps_and_takes_down() {
    beside_each(|shell, place, class, host| {
        let report = merge(host, class, &unprotected()).unwrap();
        assert_eq!((report.outcome, report.layers.len()), (Outcome::Merged, names(place.systemd()).len()));
        let listed = shown(shell, place, class);
        let names: Vec<_> = listed.iter().map(|(at, names, _)| (at.clone(), names.clone())).collect();
        // It sorts hierarchies by name.
        let mut wanted = expected(place, class);
        wanted.sort();
        assert_eq!(names, wanted);
        assert!(listed.iter().all(|(_, names, since)| names.is_empty() == since.is_none()));
        assert!(shell.attempt(&command(place, class, "merge")).text.contains("already merged"));

        // Nothing has changed: 262 compares what was written down, 257 always starts anew.
        let before = mount_number(host, class);
        let said = shell.run(&command(place, class, "refresh"));
        match place.systemd() {
            Systemd::Newest => {
                assert!(said.contains("Skipping extension refresh"), "{said}");
                assert_eq!(mount_number(host, class), before);
                assert_eq!(refresh(host, class, &unprotected()).unwrap().because(), None);
            }
            Systemd::Stable => {
                assert!(said.contains("Merged extensions"), "{said}");
                assert_eq!(
                    refresh(host, class, &unprotected()).unwrap().because(),
                    Some(vec![Change::Unknown])
                );
            }
        }
        let used = format!("'{}'", host.path().join(class.hierarchies()[0]).display());
        assert!(shell.run(&command(place, class, "unmerge")).contains(&used));
    });
}

#[test]
#[ignore = "needs root"]
fn what_has_changed_since_we_merged_systemd_sees() {
    beside_each(|shell, place, class, host| {
        if place.systemd() == Systemd::Stable {
            return;
        }
        let refreshed = |shell: &mut Shell| {
            let said = shell.run(&command(place, class, "refresh"));
            let replaced = said.contains("Merged extensions");
            assert_ne!(replaced, said.contains("Skipping"), "{said}");
            replaced
        };
        merge(host, class, &unprotected()).unwrap();
        assert!(!refreshed(shell));
        // A copy is another directory; a file that was written to is another image.
        let (at, copy) = (place.text(&format!("{}/dir", extensions(class))), place.text("copy"));
        shell.run(&format!("mv {at} {copy} && cp -a {copy} {at} && rm -r {copy}"));
        assert!(refreshed(shell));
        refresh(host, class, &unprotected()).unwrap();
        assert!(!refreshed(shell));
        shell.run(&format!("touch {}", place.text(&format!("{}/squashfs.raw", extensions(class)))));
        assert!(refreshed(shell));
        refresh(host, class, &unprotected()).unwrap();
        assert!(!refreshed(shell));
        unmerge(host, class, &unprotected()).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn d34_what_systemd_merges_we_show_replace_and_take_down() {
    beside_each(|shell, place, class, host| {
        shell.run(&command(place, class, "merge"));
        let theirs = origin(host, class);
        assert_eq!(theirs.is_some(), place.systemd() == Systemd::Newest);
        assert_eq!(ours(host, class), expected(place, class));
        assert_eq!(merge(host, class, &unprotected()).unwrap_err().code(), "already-merged");

        // It does not say under which policy it merged, so nothing about its stack is known. Nobody misses a file.
        let path = host.path().join(class.hierarchies()[0]).join("dir");
        let (report, (missed, seen)) = polled(&path, || refresh(host, class, &unprotected()).unwrap());
        assert!(missed == 0 && seen > 0, "{missed} of {seen}");
        assert_eq!(report.because(), Some(vec![Change::Unknown]));
        assert_eq!(ours(host, class), expected(place, class));
        // What we write down is what it wrote down.
        if theirs.is_some() {
            assert_eq!(origin(host, class), theirs);
        }
        assert_eq!(refresh(host, class, &unprotected()).unwrap().because(), None);
        assert_eq!(unmerge(host, class, &unprotected()).unwrap().outcome, Outcome::Unmerged);

        shell.run(&command(place, class, "merge"));
        assert_eq!(unmerge(host, class, &unprotected()).unwrap().outcome, Outcome::Unmerged);
        let shown = shown(shell, place, class);
        assert!(shown.iter().all(|(_, names, since)| names.is_empty() && since.is_none()), "{shown:?}");
    });
}

/// Asks for the reasons of a refresh.
trait Because {
    /// Why the stack was replaced; `None` when it was not.
    fn because(&self) -> Option<Vec<Change>>;
}

impl Because for confext_core::stack::Report {
    fn because(&self) -> Option<Vec<Change>> {
        match &self.outcome {
            Outcome::Refreshed { because } => Some(because.clone()),
            Outcome::Unchanged { .. } => None,
            other => panic!("{other:?}"),
        }
    }
}
