//! What counts as a change at a refresh, and which test said so.

use confext_core::admission::{Detect, Options};
use confext_core::attach::{Mode, Reads};
use confext_core::stack::{Change, Outcome, Report};
use confext_core::{refresh, trace};
use confext_ddi::Limits;
use confext_ddi::release::Class;
use confext_tests::root::{Root, unprotected};
use confext_tests::sweep::{Census, isolated};
use confext_tests::tools;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::SystemTime;

fn by(detect: Detect) -> Options {
    let mut options = unprotected();
    options.detect = detect;
    options
}

/// A directory and a bare image, merged.
fn merged(detect: Detect) -> Root {
    let root = Root::new();
    root.confext("dir", "etc/dir.conf", "1234");
    let tree = root.path("srv/img");
    let release = tree.join("etc/extension-release.d/extension-release.img");
    fs::create_dir_all(release.parent().unwrap()).unwrap();
    fs::write(release, "ID=_any\n").unwrap();
    fs::write(tree.join("etc/img.conf"), "of the image, and long enough to be found in it").unwrap();
    let image = root.path("var/lib/confexts/img.raw");
    let how = ["-quiet", "-noappend", "-no-progress", "-noI", "-noD", "-noF"];
    let paths = [tree.to_str().unwrap(), image.to_str().unwrap()];
    tools::run("mksquashfs", &[&paths[..], &how[..]].concat(), Path::new("/"));
    let report = refresh(&root.host(), Class::Confext, &by(detect)).unwrap();
    assert_eq!(report.outcome, Outcome::Merged);
    root
}

fn again(root: &Root, detect: Detect) -> Report {
    refresh(&root.host(), Class::Confext, &by(detect)).unwrap()
}

/// The tests that said that nothing has changed.
fn unchanged(report: &Report) -> Vec<&'static str> {
    let Outcome::Unchanged { decided_by } = &report.outcome else { panic!("{:?}", report.outcome) };
    decided_by.iter().map(|one| one.test).collect()
}

/// The extensions that are others now, and the tests that said so.
fn replaced(report: &Report) -> Vec<(String, &'static str)> {
    let Outcome::Refreshed { because } = &report.outcome else { panic!("{:?}", report.outcome) };
    let one = |change: &Change| match change {
        Change::Replaced { name, test } => (name.clone(), *test),
        other => panic!("{other:?}"),
    };
    because.iter().map(one).collect()
}

fn named(names: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    names.iter().map(|(name, test)| ((*name).to_owned(), *test)).collect()
}

/// Writes into a file, and puts its time back.
fn edit(path: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file.set_modified(time).unwrap();
}

fn touch(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
}

/// Puts a copy in the place of a file.
fn copy(path: &Path) {
    let beside = path.with_extension("new");
    fs::copy(path, &beside).unwrap();
    fs::rename(beside, path).unwrap();
}

#[test]
#[ignore = "needs root"]
fn by_identity_a_file_that_was_touched_or_copied_is_another_one() {
    isolated(|| {
        let root = merged(Detect::Identity);
        let (image, file) =
            (root.path("var/lib/confexts/img.raw"), root.path("var/lib/confexts/dir/etc/dir.conf"));
        assert_eq!(unchanged(&again(&root, Detect::Identity)), ["directory", "file"]);
        for change in [touch, copy] {
            change(&image);
            assert_eq!(replaced(&again(&root, Detect::Identity)), named(&[("img", "file")]));
            change(&file);
            assert_eq!(replaced(&again(&root, Detect::Identity)), named(&[("dir", "directory")]));
        }
        // The kernel's own time of a change cannot be put back. Inside a directory it is not looked at.
        edit(&file, 0, b"4321");
        edit(&image, 0, b"hsqs");
        assert_eq!(replaced(&again(&root, Detect::Identity)), named(&[("img", "file")]));
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn by_content_only_another_content_is_another_extension() {
    isolated(|| {
        let root = merged(Detect::Content);
        let (image, file) =
            (root.path("var/lib/confexts/img.raw"), root.path("var/lib/confexts/dir/etc/dir.conf"));
        assert_eq!(unchanged(&again(&root, Detect::Content)), ["content", "content"]);
        for change in [touch, copy] {
            change(&image);
            change(&file);
            assert_eq!(unchanged(&again(&root, Detect::Content)), ["content", "content"]);
        }
        edit(&file, 0, b"4321");
        assert_eq!(replaced(&again(&root, Detect::Content)), named(&[("dir", "content")]));
        let bytes = fs::read(&image).unwrap();
        let at = bytes.windows(12).position(|window| window == b"of the image").unwrap();
        edit(&image, u64::try_from(at).unwrap(), b"OF");
        assert_eq!(replaced(&again(&root, Detect::Content)), named(&[("img", "content")]));
        assert!(root.read("etc/img.conf").unwrap().starts_with("OF the image"));

        // It is also what a trace asks of the files that it opens.
        let host = root.host();
        for path in ["/etc/img.conf", "/etc/dir.conf"] {
            let origin = trace(&host, path, &Limits::default()).unwrap();
            assert!(format!("{:?}", origin.answer).starts_with("Layer"), "{:?}", origin.answer);
        }
        edit(&image, u64::try_from(at).unwrap(), b"of");
        let answer =
            trace(&host, "/etc/img.conf", &Limits::default()).map(|origin| format!("{:?}", origin.answer));
        assert!(!answer.unwrap_or_default().starts_with("Layer"));

        // What the other test recorded cannot be compared.
        let both = |test| named(&[("dir", test), ("img", test)]);
        let report = again(&root, Detect::Identity);
        assert_eq!(replaced(&report), named(&[("dir", "directory"), ("img", "file")]));
        assert_eq!(replaced(&again(&root, Detect::Content)), both("content"));
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn a_hash_tree_identifies_an_image_by_either_test() {
    isolated(|| {
        let root = Root::new();
        let image = root.path("run/confexts/app.raw");
        root.image(Class::Confext, "run/confexts/app.raw", &[("etc/app.conf", "1")], None);
        for detect in [Detect::Identity, Detect::Content] {
            again(&root, detect);
            touch(&image);
            copy(&image);
            assert_eq!(unchanged(&again(&root, detect)), ["root-hash"]);
        }
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn another_way_to_attach_replaces_the_stack() {
    isolated(|| {
        let root = merged(Detect::Identity);
        let mut options = by(Detect::Identity);
        options.attach = Mode::InPlace;
        let report = refresh(&root.host(), Class::Confext, &options).unwrap();
        let (name, found, expected) = ("img".to_owned(), Mode::Auto, Mode::InPlace);
        let because = vec![Change::Attached { name, found, expected }];
        assert_eq!(report.outcome, Outcome::Refreshed { because });
        let ways: Vec<_> =
            report.layers.iter().map(|layer| layer.attached.as_ref().map(|way| way.reads)).collect();
        assert_eq!(ways, [None, Some(Reads::LoopDevice)]);
        let report = refresh(&root.host(), Class::Confext, &options).unwrap();
        assert_eq!(unchanged(&report), ["directory", "file"]);
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn erofs_in_its_file_is_merged_without_a_loop_device() {
    isolated(|| {
        let root = Root::new();
        let tree = root.path("srv/img");
        let release = tree.join("etc/extension-release.d/extension-release.img");
        fs::create_dir_all(release.parent().unwrap()).unwrap();
        fs::write(release, "ID=_any\n").unwrap();
        fs::write(tree.join("etc/img.conf"), "in its file").unwrap();
        let image = root.path("run/confexts/img.raw");
        fs::create_dir_all(image.parent().unwrap()).unwrap();
        let paths = [image.to_str().unwrap(), tree.to_str().unwrap()];
        tools::run("mkfs.erofs", &[&["--quiet"], &paths[..]].concat(), Path::new("/"));
        let before = Census::take().loops;
        let mut options = by(Detect::Identity);
        options.attach = Mode::InPlace;
        let report = refresh(&root.host(), Class::Confext, &options).unwrap();
        assert_eq!(report.layers[0].attached.as_ref().map(|way| way.reads), Some(Reads::File));
        assert_eq!(root.read("etc/img.conf").unwrap(), "in its file");
        assert_eq!(Census::take().loops.len(), before.len());
        root.unmerge(Class::Confext);
    });
}

#[test]
#[ignore = "needs root"]
fn a_directory_mounted_in_the_place_of_an_extension_is_the_extension() {
    isolated(|| {
        let root = Root::new();
        let at = |name: &str| root.path(&format!("var/lib/confexts/{name}"));
        for name in ["app", "other"] {
            root.confext(name, "etc/app.conf", name);
        }
        // Of the same name, and not found by itself.
        fs::rename(at("other"), root.path("srv")).unwrap();
        let release =
            |name: &str| root.path(&format!("srv/etc/extension-release.d/extension-release.{name}"));
        fs::rename(release("other"), release("app")).unwrap();
        let refreshed = || again(&root, Detect::Identity);
        assert_eq!(
            (refreshed().outcome, root.read("etc/app.conf").as_deref()),
            (Outcome::Merged, Some("app"))
        );
        rustix::mount::mount_bind(root.path("srv"), at("app")).unwrap();
        assert_eq!(replaced(&refreshed()), [("app".to_owned(), "directory")]);
        assert_eq!(root.read("etc/app.conf").as_deref(), Some("other"));
        // Both ways, as what is in a mount point is looked at in another way.
        rustix::mount::unmount(at("app"), rustix::mount::UnmountFlags::DETACH).unwrap();
        assert_eq!(replaced(&refreshed()), [("app".to_owned(), "directory")]);
        assert_eq!(root.read("etc/app.conf").as_deref(), Some("app"));
        root.unmerge(Class::Confext);
    });
}
