//! Images whose files are the attack: intact and signed by a trusted key, and still refused with a typed error.

use confext_core::plan::{Input, LayerFiles, Plan};
use confext_ddi::build::{Content, Device, Meta, Tree, erofs};
use confext_ddi::fs::{self, FileSystem};
use confext_ddi::fstype::FsType;
use confext_ddi::image::Image;
use confext_ddi::policy::{Admitted, Policy};
use confext_ddi::release::{self, Class, Strictness};
use confext_ddi::units::ByteRange;
use confext_ddi::{Limits, Result};
use confext_tests::images::{self, NAME, NOW};
use std::io::Cursor;
use std::sync::Arc;

fn admitted(tree: Tree) -> Admitted<Vec<u8>> {
    let (image, _) = images::build(images::builder(tree), Some(&images::vendor()));
    let image = Image::open(image, &images::options()).unwrap();
    Policy::signed().judge(image, Some(&images::trusted_at(NOW))).unwrap()
}

/// A file system that no builder of images would let through.
fn file_system(tree: &Tree) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    erofs::write(tree, &erofs::Options::default(), &mut out).unwrap();
    out.into_inner()
}

fn open(bytes: &[u8]) -> Box<dyn FileSystem + '_> {
    fs::open(bytes, FsType::Erofs, &Limits::default()).unwrap()
}

/// Attributes and device nodes that an overlay takes for orders.
#[test]
fn an_image_that_steers_the_overlay() {
    let null = Device::Character { major: 0, minor: 0 };
    let other = Device::Character { major: 1, minor: 3 };
    let mut tree = images::one_file();
    tree.add_dir("etc/opaque", Meta::new(0o755)).unwrap();
    tree.set_xattr("etc/opaque", "trusted.overlay.opaque", "y").unwrap();
    tree.add_dir("etc/moved", Meta::new(0o755)).unwrap();
    tree.set_xattr("etc/moved", "trusted.overlay.redirect", "/../../root").unwrap();
    tree.add_file("etc/hollow", "", Meta::new(0o644)).unwrap();
    tree.set_xattr("etc/hollow", "trusted.overlay.metacopy", "").unwrap();
    tree.add_device("etc/shadow", null, Meta::new(0)).unwrap();
    tree.add_device("etc/null", other, Meta::new(0o666)).unwrap();
    tree.set_xattr("etc/app.conf", "user.overlay.opaque", "y").unwrap();
    let admitted = admitted(tree);
    let limits = Limits::default();
    let files = admitted.file_system(&limits).unwrap();
    let layers = vec![LayerFiles::new(NAME, &*files, b"etc")];
    let input = Input { hierarchy: "etc", layers, base: None };
    let plan = Plan::new(Class::Confext, &[input], &limits).unwrap();
    let mut vetoes: Vec<(&str, &str)> =
        plan.vetoes.iter().map(|veto| (std::str::from_utf8(&veto.path).unwrap(), veto.kind.code())).collect();
    vetoes.sort_unstable();
    let expected = [
        ("hollow", "overlay-attribute"),
        ("moved", "overlay-attribute"),
        ("opaque", "overlay-attribute"),
        ("shadow", "whiteout"),
    ];
    assert_eq!(vetoes, expected);
    assert!(plan.objection(&[]).is_some(), "nobody has to look for it");
}

#[test]
fn a_directory_that_contains_itself() {
    let mut tree = images::one_file();
    tree.add_dir("etc/inner", Meta::new(0o755)).unwrap();
    tree.add_file("etc/inner/file", "x", Meta::new(0o644)).unwrap();
    let mut bytes = file_system(&tree);
    let ino = |path: &[u8]| open(&bytes).stat(path).unwrap().ino.to_le_bytes();
    let (outer, inner) = (ino(b"etc"), ino(b"etc/inner"));
    // An entry of a directory starts with the number of its inode.
    let entries: Vec<usize> = (0..bytes.len() - 8).filter(|at| bytes[*at..at + 8] == inner).collect();
    assert!(!entries.is_empty());
    bytes[1032] &= !1;
    for at in entries {
        bytes[at..at + 8].copy_from_slice(&outer);
    }
    let files = open(&bytes);
    let error = fs::walk(&*files, b"", &Limits::default()).unwrap().find_map(Result::err).unwrap();
    assert_eq!(error.code(), "directory-loop");
    assert!(error.to_string().contains("etc/inner"), "{error}");
}

/// Links that lead out of the image lead to its own root; links that lead round and round end.
#[test]
fn links_that_lead_out_of_the_image_or_nowhere() {
    let release = format!("etc/extension-release.d/extension-release.{NAME}");
    let find = |target: &str, extra: &[(&str, &str)]| {
        let mut tree = Tree::new();
        tree.add_symlink(&release, target, Meta::new(0o777)).unwrap();
        for (path, text) in extra {
            tree.add_file(path, *text, Meta::new(0o644)).unwrap();
        }
        let bytes = file_system(&tree);
        let files = open(&bytes);
        let found = release::find(&*files, Class::Confext, NAME, Strictness::Strict, &Limits::default());
        found.map(|found| found.path).map_err(|error| error.code())
    };
    let inside = [("etc/hostname", "ID=inside\n")];
    assert_eq!(find("/../../../etc/hostname", &inside).unwrap(), b"etc/hostname");
    assert_eq!(find("../../../../../etc/hostname", &inside).unwrap(), b"etc/hostname");
    assert_eq!(find("/proc/self/environ", &[]), Err("release-missing"));
    assert_eq!(find("/etc/passwd", &[]), Err("release-missing"));
    assert_eq!(find(&format!("extension-release.{NAME}"), &[]), Err("limit-symlinks"));
    assert_eq!(find("..", &[]), Err("not-a-file"));
}

/// A hierarchy that is a link or a file does not pass for the directory.
#[test]
fn a_hierarchy_that_is_no_directory_in_the_image() {
    let missing = |tree: &Tree| {
        let bytes = file_system(tree);
        let files = open(&bytes);
        let found = release::find(&*files, Class::Confext, NAME, Strictness::Relaxed, &Limits::default());
        found.map(|found| found.path).map_err(|error| error.code())
    };
    let mut link = Tree::new();
    link.add_symlink("etc", "/../..", Meta::new(0o777)).unwrap();
    assert_eq!(missing(&link), Err("release-missing"));
    let mut file = Tree::new();
    file.add_file("etc", "x", Meta::new(0o644)).unwrap();
    assert_eq!(missing(&file), Err("not-a-directory"));
    let mut round = Tree::new();
    round.add_symlink("etc", "usr", Meta::new(0o777)).unwrap();
    round.add_symlink("usr", "etc", Meta::new(0o777)).unwrap();
    assert_eq!(missing(&round), Err("limit-symlinks"));
}

/// A hole: a file of any size that takes no room in the image.
#[derive(Debug)]
struct Hole(u64);

impl Content for Hole {
    fn size_bytes(&self) -> u64 {
        self.0
    }

    fn data(&self) -> Option<&[ByteRange]> {
        Some(&[])
    }

    fn copy(&self, _: &[ByteRange], _: &mut dyn std::io::Write) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_small_image_with_a_huge_file() {
    let mut tree = images::one_file();
    tree.add_content("etc/huge", Arc::new(Hole(1 << 40)), Meta::new(0o644)).unwrap();
    let admitted = admitted(tree);
    assert!(admitted.image().data().range.len_bytes() < 1 << 20);
    let files = admitted.file_system(&Limits::default()).unwrap();
    assert_eq!(files.stat(b"etc/huge").unwrap().size_bytes, 1 << 40);
    let error = files.read(b"etc/huge").unwrap_err();
    assert_eq!(error.code(), "limit-bytes");
    assert!(error.to_string().contains("1099511627776"), "{error}");
    let mut end = [1; 16];
    assert_eq!(files.read_at(b"etc/huge", (1 << 40) - 4, &mut end).unwrap(), 4);
    assert_eq!(end[..4], [0; 4]);
    // A release file of that kind is not read either.
    let mut tree = images::one_file();
    let release = format!("etc/extension-release.d/extension-release.{NAME}");
    tree.add_content(&release, Arc::new(Hole(1 << 40)), Meta::new(0o644)).unwrap();
    let bytes = file_system(&tree);
    let files = open(&bytes);
    let found = release::find(&*files, Class::Confext, NAME, Strictness::Strict, &Limits::default());
    assert_eq!(found.unwrap_err().code(), "limit-bytes");
}

#[test]
fn more_entries_and_levels_than_the_limits_allow() {
    let mut tree = images::one_file();
    for at in 0..300 {
        tree.add_file(format!("etc/many/{at}"), "", Meta::new(0o644)).unwrap();
    }
    let deep = format!("etc/{}", ["d"; 40].join("/"));
    tree.add_dir(&deep, Meta::new(0o755)).unwrap();
    let admitted = admitted(tree);
    let walk = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        let files = admitted.file_system(&limits)?;
        fs::walk(&*files, b"", &limits)?.collect::<Result<Vec<_>>>().map(|all| all.len())
    };
    assert!(walk(|_| ()).unwrap() > 340);
    let refused = [walk(|limits| limits.entries = 100), walk(|limits| limits.depth = 30)];
    for outcome in refused {
        let error = outcome.unwrap_err();
        assert_eq!(error.family(), "limit", "{error}");
    }
}
