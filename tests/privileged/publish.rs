//! A failure at each system call of a publication, the end of the process there, and the loss of power: the version is there
//! whole or not at all

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use confext_core::publish::Store;
use confext_ddi::build::{Builder, Meta, ReleaseFields, Tree};
use confext_ddi::release::Class;
use confext_ddi::signature::{KeyPair, Time};
use confext_tests::faults::{self, Calls, End, Fault};

/// A `.v/` directory with version 1, and an image to be published as version 2.
struct Place {
    dir: tempfile::TempDir,
    first: Vec<u8>,
    second: Vec<u8>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir_in("/var/tmp").unwrap();
        let key = KeyPair::generate("CN=confext-test publisher", Time::from(SystemTime::now()), 1).unwrap();
        fs::write(dir.path().join("cert.pem"), key.certificate_pem().unwrap()).unwrap();
        fs::create_dir(dir.path().join("app.raw.v")).unwrap();
        let build = |path: &Path, content: &str| {
            let mut tree = Tree::new();
            tree.add_file("etc/app.conf", content.as_bytes(), Meta::new(0o644)).unwrap();
            let builder = Builder::new(Class::Confext, "app").tree(tree).release(ReleaseFields::any());
            builder.build_file(path, Some(&key)).unwrap();
            fs::read(path).unwrap()
        };
        let first = build(&dir.path().join("app.raw.v/app_1.raw"), "one");
        let second = build(&dir.path().join("source.raw"), &"two".repeat(20_000));
        Self { dir, first, second }
    }

    fn worker(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_confext-test-worker"));
        command.arg(self.dir.path()).args(["-", verb]);
        command
    }

    fn store(&self) -> Store {
        Store::open(self.dir.path().join("app.raw.v"), Class::Confext).unwrap()
    }

    /// The versions that are there, each of them whole; the best first.
    fn versions(&self) -> Vec<String> {
        let found = self.store().versions().unwrap();
        for version in &found {
            let expected = if version.version == "1" { &self.first } else { &self.second };
            assert!(&fs::read(&version.path).unwrap() == expected, "{version:?} is not whole");
        }
        found.into_iter().map(|version| version.version).collect()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("app.raw.v")).unwrap();
        let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn everywhere(fault: Fault) {
    let place = Place::new();
    let (end, calls) = faults::run(place.worker("publish"), None, fault);
    assert_eq!(end, End::Said("ok".into()));
    let new = place.dir.path().join("app.raw.v/app_2+3-0.raw");
    let mut published = 0;
    for at in (0..calls.len()).filter(|at| faults::is_chosen(&calls, *at, 7)) {
        fs::remove_file(&new).unwrap();
        let (end, made) = faults::run(place.worker("publish"), Some(at), fault);
        let context = format!("{fault:?} at {at} (call {:?}): {end:?}", made.get(at));
        let versions = place.versions();
        match &end {
            End::Said(text) if text == "ok" => assert_eq!(versions, ["2", "1"], "{context}"),
            End::Said(_) => {
                assert_eq!(versions, ["1"], "{context}");
                assert_eq!(place.names(), ["app_1.raw"], "{context}: something is left");
            }
            End::Killed => assert!(versions == ["1"] || versions == ["2", "1"], "{context}: {versions:?}"),
        }
        published += usize::from(versions.len() == 2);
        // The next one succeeds, whatever is left.
        let (end, _) = faults::run(place.worker("publish"), None, Fault::Once);
        assert_eq!(end, End::Said("ok".into()), "after {context}");
        assert_eq!(place.names(), ["app_1.raw", "app_2+3-0.raw"], "after {context}");
    }
    println!("{fault:?}: {} calls, published in spite of it {published} times", calls.len());
    if fault == Fault::Kill {
        assert!(published > 0, "never killed after the version had its name");
    }
}

#[test]
#[ignore = "needs root"]
fn a_publication_fails_at_every_call() {
    everywhere(Fault::Once);
}

#[test]
#[ignore = "needs root"]
fn a_publication_is_killed_at_every_call() {
    everywhere(Fault::Kill);
}

/// What a disk has after the loss of power at any moment, when it keeps nothing that it was not told to keep.
fn replay(calls: &Calls) -> (bool, bool) {
    let (mut content, mut named, mut name_kept) = (false, false, false);
    for call in calls {
        match *call {
            libc::SYS_copy_file_range | libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_ftruncate => {
                assert!(!named, "content is written to a file that has its name");
                content = false;
            }
            libc::SYS_linkat | libc::SYS_renameat | libc::SYS_renameat2 => {
                assert!(content, "a file gets its name before its content is on disk");
                named = true;
                name_kept = false;
            }
            // One descriptor is that of the file, the other that of the directory; nothing is written in between.
            libc::SYS_fsync if named => name_kept = true,
            libc::SYS_fsync => content = true,
            _ => {}
        }
    }
    (named, name_kept)
}

#[test]
#[ignore = "needs root"]
fn content_is_on_disk_before_its_name_and_the_name_before_it_is_said() {
    let place = Place::new();
    let (end, calls) = faults::run(place.worker("publish"), None, Fault::Once);
    assert_eq!((end, replay(&calls)), (End::Said("ok".into()), (true, true)));
    // A name that changes: the content is there already.
    let (end, renamed) = faults::run(place.worker("good"), None, Fault::Once);
    let with_content = [vec![libc::SYS_fsync], renamed].concat();
    assert_eq!((end, replay(&with_content)), (End::Said("ok".into()), (true, true)));
    assert_eq!(place.names(), ["app_1.raw", "app_2.raw"]);
}

/// A drop-in of a unit is the one from before, the new one, or where there was none, none: whole, and read by no other name.
fn drop_in(fault: Fault, (from, to): (&str, &str)) {
    let root = tempfile::Builder::new().prefix("confext-test-").tempdir_in("/var/tmp").unwrap();
    let worker = |version: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_confext-test-worker"));
        command.arg(root.path()).args(["-", &format!("drop-in-{version}")]);
        command
    };
    let directory = root.path().join("etc/systemd/system/app.service.d");
    let text = |version: &str| {
        (version != "none")
            .then(|| format!("# Written by confext.\n[Service]\nExtensionImages=/srv/app_{version}.raw\n"))
    };
    let is = || fs::read_to_string(directory.join("50-confext.conf")).ok();
    // What systemd reads: hidden files are none of it.
    let read = || {
        let names = fs::read_dir(&directory).into_iter().flatten().map(|it| it.unwrap().file_name());
        names.filter(|name| !name.to_string_lossy().starts_with('.')).count()
    };
    let put = |version: &str| {
        let (end, calls) = faults::run(worker(version), None, Fault::Once);
        assert_eq!((end, is()), (End::Said("ok".into()), text(version)));
        calls
    };
    put(from);
    let calls = put(to);
    let (mut before, mut after) = (0, 0);
    for (at, call) in calls.iter().enumerate() {
        if from == "none" {
            let _ = fs::remove_dir_all(root.path().join("etc"));
        }
        put(from);
        let (end, _) = faults::run(worker(to), Some(at), fault);
        let context = format!("{fault:?}, {from} to {to}, at {at} (call {call}): {end:?}");
        match is() {
            found if found == text(to) => after += 1,
            found => {
                assert_eq!(found, text(from), "{context}");
                assert_ne!(end, End::Said("ok".into()), "{context}");
                before += 1;
            }
        }
        assert_eq!(read(), usize::from(is().is_some()), "{context}");
        put(to);
        let left = fs::read_dir(&directory).map_or(0, Iterator::count);
        assert!(fault == Fault::Kill || left == read(), "{context}: something is left");
    }
    println!("{fault:?}, {from} to {to}: {} calls, {before} as before, {after} new", calls.len());
    assert!(before > 0 && after > 0);
}

#[test]
#[ignore = "needs root"]
fn a_drop_in_fails_or_is_killed_at_every_call() {
    for fault in [Fault::Once, Fault::Kill] {
        for change in [("none", "1"), ("1", "2"), ("2", "none")] {
            drop_in(fault, change);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_drop_in_is_on_disk_before_it_has_its_name() {
    let root = tempfile::Builder::new().prefix("confext-test-").tempdir_in("/var/tmp").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_confext-test-worker"));
    command.arg(root.path()).args(["-", "drop-in-1"]);
    let (end, calls) = faults::run(command, None, Fault::Once);
    assert_eq!((end, replay(&calls)), (End::Said("ok".into()), (true, true)));
}
