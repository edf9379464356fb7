//! Images with other file systems than our own EROFS: made, read, and accepted by systemd, the kernel and `unsquashfs`.

use confext_core::mkfs::MkfsErofs;
use confext_ddi::Limits;
use confext_ddi::build::{Builder, Compression, MakeFileSystem, ReleaseFields, Squashfs, Tree};
use confext_ddi::image::{self, Image};
use confext_ddi::lint::Code;
use confext_ddi::policy::Policy;
use confext_ddi::release::{Class, ImageKind};
use confext_tests::namespace::{in_mount_namespace, run, unmount};
use confext_tests::peer::{NAME, Place, record_files};
use confext_tests::source::{self, Entry};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const EPOCH: i64 = 1_700_000_000;
/// The mode of an entry that is not compared.
const LEFT_OUT: u32 = u32::MAX;

fn builder(kind: ImageKind, tree: Tree) -> Builder {
    let fields = ReleaseFields::new(if kind.class().is_some() { "_any" } else { "example" });
    let builder = Builder::new(kind, NAME).tree(tree).release(fields).source_date_epoch(EPOCH);
    builder.seed("4f68bce3-e8cd-4db1-96e7-fbcaf984b709".parse().unwrap()).allow([Code::SetId])
}

/// Entries without what squashfs does not keep.
fn plain(tree: &mut Tree) {
    let mut rules = confext_ddi::build::Rules::default();
    rules.exclude = confext_ddi::build::Patterns::new(["long-link"]).unwrap();
    rules.drop_xattrs = vec![confext_ddi::build::XattrPattern::new("*")];
    tree.apply(&rules, ImageKind::Confext).unwrap();
}

/// The part of a record that an extension is about, made comparable.
fn prepared(
    class: Class,
    mut record: BTreeMap<Vec<u8>, Entry>,
    change: fn(&mut Entry),
) -> BTreeMap<Vec<u8>, Entry> {
    let inside = |path: &[u8]| class.hierarchies().iter().any(|name| path.starts_with(name.as_bytes()));
    record.retain(|path, _| inside(path));
    record.values_mut().for_each(change);
    record.retain(|_, entry| entry.mode != LEFT_OUT);
    record
}

/// Our reader, systemd and the kernel see the source's files in an image.
fn accept(place: &Place, class: Class, (image, source): (&str, &str), change: fn(&mut Entry)) {
    let opened = Image::open(File::open(place.path(image)).unwrap(), &image::Options::default()).unwrap();
    let (range, fs) = (opened.data().range, opened.data().fs.unwrap().as_str());
    let admitted = Policy::signed().judge(opened, Some(&place.certificates())).unwrap();
    let files = admitted.file_system(&Limits::default()).unwrap();
    let expected = prepared(class, source::record(&place.path(source)), change);
    source::assert_same(&prepared(class, record_files(files.as_ref()), change), &expected);

    let text = place.peer(&["systemd-dissect", "--json=short", "--image-policy=root=signed", image]);
    let json: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((&json["mounts"][0]["fstype"], &json["mounts"][0]["verity"]), (&fs.into(), &"signed".into()));

    if fs == "squashfs" {
        let (offset, to) = (range.start().to_string(), place.text("unpacked"));
        let arguments = ["-quiet", "-no-progress", "-offset", &offset, "-dest", &to, image];
        confext_tests::tools::run("unsquashfs", &arguments, place.dir());
        source::assert_same(&prepared(class, source::record(&place.path("unpacked")), change), &expected);
        std::fs::remove_dir_all(place.path("unpacked")).unwrap();
    }

    let (image, dir) = (place.path(image), place.path("mounted"));
    std::fs::create_dir_all(&dir).unwrap();
    in_mount_namespace(move |_| {
        let options = format!("loop,ro,offset={},sizelimit={}", range.start(), range.len_bytes());
        run("mount", &["-t", fs, "-o", &options, image.to_str().unwrap(), dir.to_str().unwrap()]);
        source::assert_same(&prepared(class, source::record(&dir), change), &expected);
        unmount(&dir);
    });
}

/// A program of the peer root, as one to call from here.
fn of_peer(place: &Place, program: &str) -> PathBuf {
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer.sh");
    let script = place.path(program);
    let dir = place.dir().display().to_string();
    std::fs::write(&script, format!("#!/bin/sh\nexec {} {dir} {program} \"$@\"\n", peer.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
#[ignore = "needs root"]
fn squashfs_is_accepted_by_systemd_and_the_kernel() {
    let place = Place::create();
    for class in [Class::Confext, Class::Sysext] {
        let source = format!("{class}-tree");
        place.populate(class, &source);
        let mut tree = confext_tests::peer::tree_of(&place.path(&source));
        plain(&mut tree);
        for compression in [Compression::Zstd, Compression::Xz, Compression::Gzip] {
            let image = format!("{class}-{compression:?}.raw");
            let build = || builder(class.into(), tree.clone()).format(Squashfs::new(compression));
            build().replace_file().build_file(place.path(&image), Some(place.key())).unwrap();
            accept(&place, class, (&image, &source), |entry| {
                // The one that is left out.
                if entry.content.len() > 255 {
                    entry.mode = LEFT_OUT;
                }
                entry.xattrs.clear();
                entry.mtime.1 = 0;
                // Copies in place of hard links.
                entry.nlink = 0;
                entry.first_name.clear();
            });
        }
    }
}

#[test]
#[ignore = "needs root"]
fn erofs_of_mkfs_is_accepted_by_systemd_and_the_kernel() {
    let place = Place::create();
    place.populate(Class::Confext, "tree");
    let tree = confext_tests::peer::tree_of(&place.path("tree"));
    let plain = builder(ImageKind::Confext, tree.clone());
    let plain = plain.build_file(place.path("plain.raw"), Some(place.key())).unwrap();
    for compression in ["lz4hc,12", "zstd"] {
        // The program of the peer, called from here.
        let make = |image: &str| {
            let maker =
                MkfsErofs::new(place.dir()).program(of_peer(&place, "mkfs.erofs")).compression(compression);
            builder(ImageKind::Confext, tree.clone())
                .format(maker)
                .replace_file()
                .build_file(place.path(image), Some(place.key()))
        };
        let built = make("app.raw").unwrap();
        assert!(built.size_bytes < plain.size_bytes, "{} of {}", built.size_bytes, plain.size_bytes);
        make("again.raw").unwrap();
        assert!(
            std::fs::read(place.path("app.raw")).unwrap() == std::fs::read(place.path("again.raw")).unwrap()
        );
        accept(&place, Class::Confext, ("app.raw", "tree"), |_| ());
    }
    let broken = MkfsErofs::new(place.dir()).program("false");
    let error = broken.write(
        &tree,
        &confext_ddi::build::erofs::Options::default(),
        &mut std::io::Cursor::new(vec![]),
    );
    assert_eq!(error.unwrap_err().code(), "io");
    let left = std::fs::read_dir(place.dir()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_str().unwrap().starts_with(".#")));
}
