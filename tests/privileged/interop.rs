//! Images of systemd and of ours, merged here and by systemd: the same files come out.

use confext_core::admission::Options;
use confext_core::stack::{Change, Outcome};
use confext_core::state::{Checked, HierarchyState, metadata_directory};
use confext_core::trace::{Answer, KnownFrom, Options as TraceOptions, Presence, Tracer};
use confext_core::{Host, merge, refresh, status, unmerge};
use confext_ddi::build::{Builder, Device, Meta, ReleaseFields, Tree};
use confext_ddi::policy::Policy;
use confext_ddi::release::Class;
use confext_ddi::signature::Sign as _;
use confext_tests::namespace::run;
use confext_tests::peer::{NAME, Place, Protect, SQUASHFS, settings_path, tree_of};
use confext_tests::source::{self, Entry};
use confext_tests::sweep::isolated;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const CLASSES: [Class; 2] = [Class::Confext, Class::Sysext];
type Record = BTreeMap<Vec<u8>, Entry>;

fn images(class: Class) -> &'static str {
    match class {
        Class::Confext => "root/var/lib/confexts",
        Class::Sysext => "root/var/lib/extensions",
    }
}

/// A place with the files of an extension in `tree` and a host below `root`: files of its own in every hierarchy, and
/// our certificate.
fn host(class: Class) -> (Place, Host) {
    let place = Place::create();
    place.populate(class, "tree");
    for (path, content) in [
        ("usr/lib/os-release", "ID=test\nVERSION_ID=1\n"),
        ("usr/share/app.conf", "of the host\n"),
        ("usr/app.d/own", "of the host\n"),
        ("opt/own", "of the host\n"),
        ("etc/app.conf", "of the host\n"),
        ("etc/app.d/own", "of the host\n"),
        ("etc/size-1", "of the host\n"),
        ("etc/own/deep/file", "of the host\n"),
    ] {
        let path = place.path("root").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    for directory in ["root/etc/verity.d", images(Class::Confext), images(Class::Sysext)] {
        std::fs::create_dir_all(place.path(directory)).unwrap();
    }
    std::fs::copy(place.path("signer.pem"), place.path("root/etc/verity.d/signer.crt")).unwrap();
    let host = Host::open(place.path("root")).unwrap();
    (place, host)
}

/// Puts a signed image of ours, built from `tree`, where the host looks for extensions.
fn install(place: &Place, class: Class) {
    let image = format!("{}/{NAME}.raw", images(class));
    place.build(class, Protect::Signed, tree_of(&place.path("tree")), &image);
}

/// Everything in the hierarchies of a class below `root`, without what a merge itself adds and what overlays number
/// differently.
fn record(root: &Path, class: Class) -> Record {
    let mut all = Record::new();
    for hierarchy in class.hierarchies() {
        let metadata = metadata_directory(class).as_bytes();
        for (path, mut entry) in source::record(&root.join(hierarchy)) {
            if path.split(|byte| *byte == b'/').next() == Some(metadata) {
                continue;
            }
            if entry.mode & 0o170_000 == 0o040_000 {
                entry.nlink = 0;
            }
            if path.is_empty() {
                // The moment of the merge.
                entry.mtime = (0, 0);
            }
            let at = |path: &[u8]| [hierarchy.as_bytes(), b"/", path].concat();
            entry.first_name = at(&entry.first_name);
            all.insert(at(&path), entry);
        }
    }
    all
}

/// What a merge of the tree `source` over the files of a host gives: no directory of one is a file of the other.
fn over(mut base: Record, source: Record) -> Record {
    // The hierarchy itself stays as the host has it.
    base.extend(source.into_iter().filter(|(path, _)| !path.ends_with(b"/")));
    base
}

fn with(policy: Policy) -> Options {
    let mut options = Options::default();
    options.policy = policy;
    options
}

#[test]
#[ignore = "needs root"]
fn signed_images_of_systemd_are_merged_by_default() {
    isolated(|| {
        for (class, settings) in
            CLASSES.into_iter().flat_map(|class| [(class, &[][..]), (class, &[SQUASHFS])])
        {
            let (place, host) = host(class);
            let image = format!("{}/{NAME}.{class}.raw", images(class));
            let root_hash = place.repart(class, Protect::Signed, ("tree", &image), settings);
            let before = record(host.path(), class);

            let report = merge(&host, class, &Options::default()).unwrap();
            assert_eq!(report.outcome, Outcome::Merged);
            let [layer] = report.layers.as_slice() else { panic!("{report:?}") };
            let Checked::Signed { root_hash: checked, by } = &layer.checked else { panic!("{layer:?}") };
            assert_eq!(*checked, root_hash);
            assert_eq!(by.fingerprint, Some(place.key().certificate_fingerprint().to_string()));
            let mut merged = record(host.path(), class);
            let mut expected = over(before.clone(), record(&place.path("tree"), class));
            if settings.contains(&SQUASHFS) {
                // It has no fractions of seconds.
                merged.values_mut().chain(expected.values_mut()).for_each(|entry| entry.mtime.1 = 0);
            }
            source::assert_same(&merged, &expected);

            unmerge(&host, class, &Options::default()).unwrap();
            source::assert_same(&record(host.path(), class), &before);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn unsigned_images_of_systemd_are_merged_when_asked_for() {
    isolated(|| {
        for class in CLASSES {
            let (place, host) = host(class);
            let image = format!("{}/{NAME}.raw", images(class));
            let root_hash = place.repart(class, Protect::Verity, ("tree", &image), &[]);
            let before = record(host.path(), class);
            assert_eq!(merge(&host, class, &Options::default()).unwrap_err().code(), "policy");
            source::assert_same(&record(host.path(), class), &before);

            let report = merge(&host, class, &with(Policy::verity())).unwrap();
            assert_eq!(report.layers[0].checked, Checked::Verity { root_hash });
            let merged = record(host.path(), class);
            source::assert_same(&merged, &over(before, record(&place.path("tree"), class)));
            unmerge(&host, class, &Options::default()).unwrap();
        }
    });
}

/// An extension that changes the kind of what is below it, adds, and puts files over files.
fn second(class: Class) -> Tree {
    let top = class.hierarchies()[0];
    let mut tree = Tree::new();
    let file = Meta::new(0o640).owner(3, 4);
    tree.add_file(settings_path(class), "of the second\n", file).unwrap();
    tree.add_file(format!("{top}/app.d/entry-1"), "of the second\n", file).unwrap();
    tree.add_file(format!("{top}/empty"), "a file over a directory\n", file).unwrap();
    tree.add_file(format!("{top}/link/inside"), "a directory over a link\n", file).unwrap();
    tree.add_symlink(format!("{top}/size-4095"), "../a link over a file", Meta::new(0o777)).unwrap();
    tree.add_fifo(format!("{top}/size-0"), Meta::new(0o600)).unwrap();
    let null = Device::Character { major: 1, minor: 3 };
    tree.add_device(format!("{top}/app.d/null"), null, Meta::new(0o666)).unwrap();
    tree.set_xattr(format!("{top}/app.d/entry-1"), "user.comment", "of the second").unwrap();
    tree
}

/// What systemd merges, unpacked from the archive it is written to.
fn merged_by_systemd(place: &Place, class: Class) -> Record {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/merge.sh");
    std::fs::copy(script, place.path("merge.sh")).unwrap();
    place.peer(&["sh", "merge.sh", class.as_str(), &place.text("root"), "merged.tar"]);
    std::fs::create_dir(place.path("theirs")).unwrap();
    let (archive, to) = (place.text("merged.tar"), place.text("theirs"));
    let how = ["--extract", "--numeric-owner", "--same-permissions", "--xattrs", "--xattrs-include=*"];
    run("tar", &[&how[..], &["--file", &archive, "--directory", &to]].concat());
    record(&place.path("theirs"), class)
}

#[test]
#[ignore = "needs root"]
fn systemd_merges_the_same_files_from_our_images() {
    isolated(|| {
        for class in CLASSES {
            let (place, host) = host(class);
            install(&place, class);
            let builder = Builder::new(class, "second").tree(second(class)).release(ReleaseFields::any());
            let builder = builder.allow(confext_ddi::lint::Code::ALL.iter().copied());
            let path = place.path(&format!("{}/second.{class}.raw", images(class)));
            builder.replace_file().build_file(path, Some(place.key())).unwrap();
            // One of theirs among ours.
            std::fs::create_dir_all(place.path(&format!("third/{}", class.release_directory()))).unwrap();
            let release = format!("third/{}/extension-release.third", class.release_directory());
            std::fs::write(place.path(&release), "ID=test\nVERSION_ID=1\n").unwrap();
            std::fs::write(place.path(&format!("third/{}/app.third", class.hierarchies()[0])), "third")
                .unwrap();
            let image = format!("{}/third.raw", images(class));
            place.repart(class, Protect::Signed, ("third", &image), &[]);

            let before = record(host.path(), class);
            let theirs = merged_by_systemd(&place, class);
            source::assert_same(&record(host.path(), class), &before);
            let report = merge(&host, class, &Options::default()).unwrap();
            let names: Vec<&str> = report.layers.iter().map(|layer| layer.name.as_str()).collect();
            assert_eq!(names, [NAME, "second", "third"]);
            let ours = record(host.path(), class);
            unmerge(&host, class, &Options::default()).unwrap();
            source::assert_same(&ours, &theirs);
            assert!(ours.len() > before.len() + 300);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn systemd_knows_a_stack_of_ours_and_takes_it_down() {
    isolated(|| {
        for class in CLASSES {
            let (place, host) = host(class);
            install(&place, class);
            merge(&host, class, &Options::default()).unwrap();
            let merged = record(host.path(), class);

            let (program, root) = (format!("systemd-{class}"), format!("--root={}", place.text("root")));
            let status: Value =
                serde_json::from_str(&place.peer(&[&program, &root, "--json=short", "status"])).unwrap();
            let status = status.as_array().unwrap();
            assert_eq!(status.len(), class.hierarchies().len());
            for row in status {
                assert_eq!(row["extensions"], Value::from([NAME].as_slice()), "{row}");
            }
            assert!(!place.attempt(&[&program, &root, "--no-reload", "merge"]).status.success());
            // Here only: its namespace ends with it.
            let list = "find root/etc root/usr root/opt -path 'root/*/.systemd-*' -o -print";
            let script = format!("{program} {root} --no-reload unmerge >&2 && {list}");
            let left = place.peer(&["sh", "-c", &script]);
            assert!(left.contains("/own") && !left.contains("size-4096"), "{left}");

            source::assert_same(&record(host.path(), class), &merged);
            unmerge(&host, class, &Options::default()).unwrap();
        }
    });
}

/// Runs `test` where systemd has merged the extensions below `root`, in the peer's mount namespace.
fn in_merge_of_systemd(place: &Place, class: Class, test: impl FnOnce()) {
    let verity = ["EMBEDDED", "GUESS", "SIDECAR"].map(|name| format!("SYSTEMD_DISSECT_VERITY_{name}=0"));
    let root = place.text("root");
    place.during(
        &format!(
            "env {} systemd-{class} --root={root} --no-reload --image-policy=root=unprotected+absent merge",
            verity.join(" ")
        ),
        test,
    );
}

/// Every path of a stack that systemd merged without looking at the hash tree: what it wrote down proves nothing.
fn trace_all(host: &Host) {
    let mut files = 0;
    for origin in Tracer::live(host, &TraceOptions::default()).unwrap().tree() {
        let origin = origin.unwrap();
        match &origin.answer {
            Answer::Layer { source, .. } => {
                files += 1;
                let found = (source.layer.as_str(), source.known_from, source.confirmed_by);
                assert_eq!(found, (NAME, KnownFrom::Origin, "path"));
                assert_eq!(source.checked, Checked::None);
            }
            Answer::Base { base: Presence::Present, .. }
            | Answer::Directory { .. }
            | Answer::Metadata { .. } => {}
            other => panic!("{}: {other:?}", origin.path.display()),
        }
    }
    assert!(files > 100, "{files}");
}

#[test]
#[ignore = "needs root"]
fn a_stack_of_systemd_is_known_and_taken_down() {
    isolated(|| {
        for class in CLASSES {
            let (place, host) = host(class);
            install(&place, class);
            let before = record(host.path(), class);
            in_merge_of_systemd(&place, class, || {
                let host = Host::open(place.path("root")).unwrap();
                for found in status(&host, class).unwrap() {
                    let HierarchyState::Merged { extensions, record, doubts, .. } = &found.state else {
                        panic!("{found:?}")
                    };
                    assert_eq!(
                        (extensions.as_slice(), record, doubts.len()),
                        ([NAME.to_owned()].as_slice(), &None, 0)
                    );
                }
                trace_all(&host);
                let theirs = record(host.path(), class);
                assert_eq!(merge(&host, class, &Options::default()).unwrap_err().code(), "already-merged");

                let report = refresh(&host, class, &Options::default()).unwrap();
                assert_eq!(report.outcome, Outcome::Refreshed { because: vec![Change::Unknown] });
                source::assert_same(&record(host.path(), class), &theirs);
                assert_eq!(unmerge(&host, class, &Options::default()).unwrap().outcome, Outcome::Unmerged);
                source::assert_same(&record(host.path(), class), &before);
            });
            source::assert_same(&record(host.path(), class), &before);
        }
    });
}
