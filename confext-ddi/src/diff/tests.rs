//! Tests of comparing: every attribute, both kinds of side, and what a comparison may leave out.

use super::*;
use crate::build::{self, Device, Meta, Timestamp, Tree};
use crate::fs::memory::MemoryFs;
use crate::fs::{self, FileType};
use crate::fstype::FsType;
use crate::manifest;
use proptest::prelude::*;

fn image(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    build::erofs::write(tree, &build::erofs::Options::default(), &mut out).unwrap();
    out
}

fn open(image: &[u8]) -> Box<dyn FileSystem + '_> {
    fs::open(image, FsType::Erofs, &Limits::default()).unwrap()
}

fn manifest_of(files: &dyn FileSystem) -> Manifest {
    Manifest::of(files, &manifest::Options::default(), &Limits::default(), |_| {}).unwrap()
}

fn differences(before: Side<'_>, after: Side<'_>, options: &Options) -> Vec<Difference> {
    collect(before, after, options, &Limits::default()).unwrap()
}

fn ignoring(ignore: &[Attribute]) -> Options {
    Options { ignore: ignore.to_vec(), ..Options::default() }
}

/// Path and fields of each difference.
fn shown(differences: &[Difference]) -> Vec<String> {
    let names = |fields: &[Field]| fields.iter().map(Field::name).collect::<Vec<_>>().join(" ");
    let one = |difference: &Difference| {
        let path = String::from_utf8_lossy(&difference.path).into_owned();
        match &difference.change {
            Change::Changed(fields) => format!("{path}: {}", names(fields)),
            other => format!("{path}: {}", other.as_str()),
        }
    };
    differences.iter().map(one).collect()
}

fn before() -> Tree {
    let mut tree = Tree::new();
    tree.add_file("a/same", "same", Meta::new(0o644)).unwrap();
    tree.add_file("a/gone", "gone", Meta::new(0o644)).unwrap();
    tree.add_file("a/mode", "x", Meta::new(0o644)).unwrap();
    tree.add_file("a/owner", "x", Meta::new(0o644)).unwrap();
    tree.add_file("a/time", "x", Meta::new(0o644)).unwrap();
    tree.add_file("a/size", "x", Meta::new(0o644)).unwrap();
    tree.add_file("a/content", "old", Meta::new(0o644)).unwrap();
    tree.add_hardlink("a/content-too", "a/content").unwrap();
    tree.add_hardlink("a/link", "a/same").unwrap();
    tree.add_file("a/type", "x", Meta::new(0o644)).unwrap();
    tree.add_file("b/below", "x", Meta::new(0o644)).unwrap();
    tree.add_file("b.x", "x", Meta::new(0o644)).unwrap();
    tree.add_symlink("target", "old", Meta::new(0o777)).unwrap();
    tree.add_device("device", Device::Character { major: 1, minor: 3 }, Meta::new(0o600)).unwrap();
    tree.set_xattr("b.x", "user.same", "1").unwrap();
    tree.set_xattr("b.x", "user.gone", "1").unwrap();
    tree.set_xattr("b.x", "user.other", "1").unwrap();
    tree
}

fn after() -> Tree {
    let mut tree = Tree::new();
    tree.add_file("a/same", "same", Meta::new(0o644)).unwrap();
    tree.add_file("a/mode", "x", Meta::new(0o4644)).unwrap();
    tree.add_file("a/owner", "x", Meta::new(0o644).owner(1, 2)).unwrap();
    let time = Timestamp::new(0, 1).unwrap();
    tree.add_file("a/time", "x", Meta::new(0o644).mtime(time)).unwrap();
    tree.add_file("a/size", "xx", Meta::new(0o644)).unwrap();
    tree.add_file("a/content", "new", Meta::new(0o644)).unwrap();
    tree.add_hardlink("a/content-too", "a/content").unwrap();
    tree.add_file("a/link", "same", Meta::new(0o644)).unwrap();
    tree.add_symlink("a/type", "x", Meta::new(0o644)).unwrap();
    tree.add_file("b.x", "x", Meta::new(0o644)).unwrap();
    tree.add_file("c", "x", Meta::new(0o644)).unwrap();
    tree.add_symlink("target", "new", Meta::new(0o777)).unwrap();
    tree.add_device("device", Device::Character { major: 1, minor: 4 }, Meta::new(0o600)).unwrap();
    tree.set_xattr("b.x", "user.same", "1").unwrap();
    tree.set_xattr("b.x", "user.other", "2").unwrap();
    tree.set_xattr("b.x", "user.new", "1").unwrap();
    tree
}

const ALL: [&str; 14] = [
    "a/content: sha256",
    "a/gone: removed",
    "a/mode: mode",
    "a/owner: uid gid",
    "a/same: hard_link_to",
    "a/size: size_bytes",
    "a/time: mtime",
    "a/type: file_type",
    "b: removed",
    "b/below: removed",
    "b.x: xattr xattr xattr",
    "c: added",
    "device: rdev",
    "target: target",
];

#[test]
fn every_difference_is_found_from_images_and_from_manifests() {
    let (old, new) = (image(&before()), image(&after()));
    let (old, new) = (open(&old), open(&new));
    let (old, new) = (old.as_ref(), new.as_ref());
    let (listed_old, listed_new) = (manifest_of(old), manifest_of(new));
    let found = differences(Side::Files(old), Side::Files(new), &Options::default());
    // The second name of a changed content is not reported again.
    assert_eq!(shown(&found), ALL);
    for (before, after) in [
        (Side::Manifest(&listed_old), Side::Files(new)),
        (Side::Files(old), Side::Manifest(&listed_new)),
        (Side::Manifest(&listed_old), Side::Manifest(&listed_new)),
    ] {
        let again = differences(before, after, &Options::default());
        assert_eq!(shown(&again), shown(&found), "{before:?} {after:?}");
        let changes = |found: &[Difference]| {
            let changed = found.iter().filter(|found| matches!(found.change, Change::Changed(_)));
            changed.cloned().collect::<Vec<_>>()
        };
        assert_eq!(changes(&again), changes(&found), "{before:?} {after:?}");
    }
    for same in [Side::Files(old), Side::Manifest(&listed_old)] {
        assert_eq!(differences(Side::Files(old), same, &Options::default()), []);
    }
}

#[test]
fn backwards_is_the_same_the_other_way_round() {
    let (old, new) = (image(&before()), image(&after()));
    let (old, new) = (open(&old), open(&new));
    let forth = differences(Side::Files(&*old), Side::Files(&*new), &Options::default());
    let back = differences(Side::Files(&*new), Side::Files(&*old), &Options::default());
    let turned: Vec<String> = shown(&back)
        .iter()
        .map(|line| match line.split_once(": ").unwrap() {
            (path, "added") => format!("{path}: removed"),
            (path, "removed") => format!("{path}: added"),
            _ => line.clone(),
        })
        .collect();
    assert_eq!(turned, shown(&forth));
}

#[test]
fn the_values_are_before_and_after() {
    let (old, new) = (image(&before()), image(&after()));
    let (old, new) = (open(&old), open(&new));
    let found = differences(Side::Files(&*old), Side::Files(&*new), &Options::default());
    let fields = |path: &str| {
        let found = found.iter().find(|found| found.path == path.as_bytes()).unwrap();
        let Change::Changed(fields) = &found.change else { panic!("{found:?}") };
        fields.clone()
    };
    assert_eq!(fields("a/mode"), [Field::Mode(0o644, 0o4644)]);
    assert_eq!(fields("a/owner"), [Field::Uid(0, 1), Field::Gid(0, 2)]);
    assert_eq!(fields("a/time"), [Field::Mtime((0, 0), (0, 1))]);
    assert_eq!(fields("a/size"), [Field::Size(1, 2)]);
    assert_eq!(fields("a/type"), [Field::FileType(FileType::Regular, FileType::Symlink)]);
    assert_eq!(fields("a/same"), [Field::HardLinkTo(Some(b"a/link".to_vec()), None)]);
    assert_eq!(fields("device"), [Field::Device((1, 3), (1, 4))]);
    assert_eq!(fields("target"), [Field::Target(b"old".to_vec(), b"new".to_vec())]);
    let xattr = |name: &str, before: Option<&str>, after: Option<&str>| {
        let value = |value: &str| value.as_bytes().to_vec();
        Field::Xattr(name.into(), before.map(value), after.map(value))
    };
    let (gone, new) = (xattr("user.gone", Some("1"), None), xattr("user.new", None, Some("1")));
    assert_eq!(fields("b.x"), [gone, new, xattr("user.other", Some("1"), Some("2"))]);
    let text = serde_json::to_string(&found[0]).unwrap();
    let hex = |content: &[u8]| const_hex::encode(crate::digest::sha256(&[content]));
    let (old, new) = (hex(b"old"), hex(b"new"));
    let field = format!(r#"{{"field":"sha256","before":"{old}","after":"{new}"}}"#);
    assert_eq!(text, format!(r#"{{"path":"/a/content","change":"changed","fields":[{field}]}}"#));
}

#[test]
fn what_is_ignored_is_not_reported_and_not_read() {
    let (old, new) = (image(&before()), image(&after()));
    let (old, new) = (open(&old), open(&new));
    let every: Vec<Attribute> = Attribute::ALL.iter().map(|(_, attribute)| *attribute).collect();
    let found = differences(Side::Files(&*old), Side::Files(&*new), &ignoring(&every));
    let left = ["a/gone: removed", "a/type: file_type", "b: removed", "b/below: removed", "c: added"];
    assert_eq!(shown(&found)[..5], left);
    assert_eq!(shown(&found)[5..], ["device: rdev", "target: target"]);
    for (name, attribute) in Attribute::ALL {
        let found = differences(Side::Files(&*old), Side::Files(&*new), &ignoring(&[attribute]));
        assert!(found.len() < 14, "{name} makes a difference");
    }
}

#[test]
fn limits_hold_for_both_sides() {
    let mut files = MemoryFs::new();
    files.file("a", "hello");
    files.file("b", "hello");
    let code = |limits: &Limits| {
        let error =
            collect(Side::Files(&files), Side::Files(&files), &Options::default(), limits).unwrap_err();
        (error.code(), error.path())
    };
    assert_eq!(code(&Limits { content_bytes: 9, ..Limits::default() }), ("limit-bytes", String::new()));
    assert_eq!(code(&Limits { entries: 1, ..Limits::default() }), ("limit-count", "before".to_owned()));
    let mut other = MemoryFs::new();
    other.file("a", "hello");
    other.xattr("a", "user.a", "value");
    let held = |most| {
        let limits = Limits { manifest_bytes: most, ..Limits::default() };
        collect(Side::Files(&files), Side::Files(&other), &Options::default(), &limits)
            .map(|found| found.len())
    };
    // Two paths, one of them twice, because an entry has its own; a name and a value.
    assert_eq!(held(14).unwrap(), 2);
    assert_eq!(held(13).unwrap_err().code(), "limit-bytes");
}

#[test]
fn a_manifest_without_digests_tells_sizes_only() {
    let (mut old, mut new) = (MemoryFs::new(), MemoryFs::new());
    for (files, a, b) in [(&mut old, "one", "long"), (&mut new, "two", "longer")] {
        files.file("a", a);
        files.file("b", b);
    }
    let options = manifest::Options { contents: manifest::Contents::Sizes, ..Default::default() };
    let listed = Manifest::of(&old, &options, &Limits::default(), |_| {}).unwrap();
    let found = differences(Side::Manifest(&listed), Side::Files(&new), &Options::default());
    assert_eq!(shown(&found), ["b: size_bytes"]);
}

prop_compose! {
    fn any_files()(
        files in prop::collection::btree_map("[ab](\\.|/[ab]{1,2})?", "[xy]{0,2}", 0..8)
    ) -> (Vec<(String, String)>, MemoryFs) {
        let mut memory = MemoryFs::new();
        let mut kept: Vec<(String, String)> = Vec::new();
        for (path, content) in files {
            if kept.iter().all(|(other, _)| !path.starts_with(&format!("{other}/"))) {
                memory.file(&path, content.clone());
                kept.push((path, content));
            }
        }
        (kept, memory)
    }
}

proptest! {
    /// Against the obvious way: both trees in maps.
    #[test]
    fn the_paths_are_those_of_the_obvious_way((old, old_fs) in any_files(), (new, new_fs) in any_files()) {
        let ignore = ignoring(&[Attribute::Mtime]);
        let found = differences(Side::Files(&old_fs), Side::Files(&new_fs), &ignore);
        let found: std::collections::BTreeSet<Vec<u8>> = found.into_iter().map(|found| found.path).collect();
        let all = |files: &[(String, String)]| {
            let mut all = std::collections::BTreeMap::new();
            for (path, content) in files {
                if let Some((directory, _)) = path.split_once('/') {
                    all.insert(directory.to_owned(), None);
                }
                all.insert(path.clone(), Some(content.clone()));
            }
            all
        };
        let (old, new) = (all(&old), all(&new));
        let expected = old.keys().chain(new.keys()).filter(|path| old.get(*path) != new.get(*path));
        prop_assert_eq!(found, expected.map(|path| path.clone().into_bytes()).collect());
    }
}
