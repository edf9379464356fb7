//! What is written here reads the same there; `tests/oracle/esp.rs` asks others.
#![cfg(feature = "read-fs")]

use super::*;
use crate::build::Meta;
use crate::fs::{self, FileSystem, FileType};
use crate::fstype::FsType;
use crate::limits::Limits;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn image(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    let size = write(tree, &Options::default(), &mut out).unwrap();
    assert_eq!(size, out.len() as u64);
    out
}

fn open(image: &[u8]) -> Box<dyn FileSystem + '_> {
    fs::open(image, FsType::Vfat, &Limits::default()).unwrap()
}

fn refusal(tree: &Tree) -> (&'static str, String) {
    let error = write(tree, &Options::default(), &mut Vec::new()).unwrap_err();
    (error.code(), error.to_string())
}

/// Names and contents of files; directories have none.
fn read(files: &dyn FileSystem) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let entry = |(path, meta): (Vec<u8>, fs::Metadata)| match meta.file_type {
        FileType::Directory => (path, None),
        _ => {
            let content = files.read(&path).unwrap();
            (path, Some(content))
        }
    };
    fs::walk(files, b"", &Limits::default()).unwrap().map(|item| entry(item.unwrap())).collect()
}

fn sample() -> Tree {
    let mut tree = Tree::new();
    let at = |seconds| Meta::new(0o644).mtime(Timestamp::from_seconds(seconds));
    tree.add_file("EFI/BOOT/BOOTX64.EFI", vec![7; 100_001], at(1_000_000_001)).unwrap();
    tree.add_file("EFI/Linux/linux 6.12.conf+3-0.efi", vec![9; 1024], at(-5)).unwrap();
    tree.add_file("loader/loader.conf", "timeout 3\n", at(4_354_819_199)).unwrap();
    tree.add_file("loader/empty", "", at(0)).unwrap();
    tree.add_dir("Größe", Meta::new(0o755)).unwrap();
    tree
}

#[test]
fn what_is_written_reads_the_same() {
    let tree = sample();
    let image = image(&tree);
    assert!(image.len() < (22 << 17) && image == self::image(&tree), "{}", image.len());
    let files = open(&image);
    assert_eq!(read(&*files), read(&tree.files(&Limits::default())));
    let mtime = |path: &str| files.stat(path.as_bytes()).unwrap().mtime_sec;
    assert_eq!(mtime("EFI/BOOT/BOOTX64.EFI"), 1_000_000_000);
    assert_eq!(mtime("EFI/Linux/linux 6.12.conf+3-0.efi"), 315_532_800);
    assert_eq!(mtime("loader/loader.conf"), 4_354_819_198);
    assert_eq!(fs::open(&image[..], FsType::Vfat, &Limits::default()).unwrap().fs_type(), FsType::Vfat);
}

#[test]
fn later_times_are_set_to_the_latest() {
    let mut out = Vec::new();
    let options = Options {
        build_time: Timestamp::from_seconds(900_000_000),
        latest_mtime: Some(Timestamp::from_seconds(900_000_000)),
        uuid: Uuid::from_bytes([0x12; 16]),
        ..Options::default()
    };
    write(&sample(), &options, &mut out).unwrap();
    assert_eq!(open(&out).stat(b"EFI/BOOT/BOOTX64.EFI").unwrap().mtime_sec, 900_000_000);
    assert_eq!(open(&out).stat(b"EFI").unwrap().mtime_sec, 900_000_000);
    assert_eq!(out[39..43], [0x12; 4]);
}

/// The kind changes where FAT16 is full, and no cluster is lost at either side.
#[test]
fn the_smallest_kind_is_taken() {
    for (clusters, kind) in [(1, b"FAT16   "), (65_508, b"FAT16   "), (65_509, b"FAT32   ")] {
        let mut tree = Tree::new();
        tree.add_file("large", vec![3; clusters * 512 - 7], Meta::new(0o644)).unwrap();
        let image = image(&tree);
        let at = if kind == b"FAT32   " { 82 } else { 54 };
        assert_eq!(&image[at..at + 8], kind, "{clusters}");
        assert!(open(&image).read(b"large").unwrap() == vec![3; clusters * 512 - 7]);
    }
    // A root directory that has no place of its own for so many.
    let mut tree = Tree::new();
    for index in 0..40_000 {
        tree.add_file(format!("a name {index}"), "", Meta::new(0o644)).unwrap();
    }
    let error = write(&tree, &Options::default(), &mut Vec::new()).unwrap_err();
    assert_eq!(error.code(), "vfat-entry");
}

#[test]
fn short_names_are_made_and_differ() {
    let mut tree = Tree::new();
    let names = [
        "UPPER.TXT",
        "lower.txt",
        "long name number one.text",
        "long name number two.text",
        "LONGNA~1.TEX",
        ".profile",
        "a.b.c",
        "ünï.cod",
        "+",
        "LONGNAME",
    ];
    for name in names {
        tree.add_file(name, name, Meta::new(0o644)).unwrap();
    }
    let image = image(&tree);
    let files = open(&image);
    for name in names {
        assert_eq!(files.read(name.as_bytes()).unwrap(), name.as_bytes());
    }
    let root = image.windows(11).position(|window| window == b"ESP        ").unwrap();
    // The boot sector has the label first.
    let root = root + 1 + image[root + 1..].windows(11).position(|window| window == b"ESP        ").unwrap();
    let shorts: Vec<String> = image[root..root + 32 * 40]
        .chunks(32)
        .filter(|entry| entry[0] != 0 && entry[11] == 0x20)
        .map(|entry| String::from_utf8_lossy(&entry[..11]).into_owned())
        .collect();
    let expected = [
        "_~1        ",
        "PROFIL~1   ",
        "LONGNAME   ",
        "LONGNA~1TEX",
        "UPPER   TXT",
        "AB~1    C  ",
        "LONGNA~2TEX",
        "LONGNA~3TEX",
        "LOWER   TXT",
        "_N_~1   COD",
    ];
    assert_eq!(shorts, expected);
}

/// A change of a tree.
type Change = fn(&mut Tree);

#[test]
fn what_vfat_cannot_hold_is_refused_by_name() {
    let meta = Meta::new(0o644);
    let cases: [(&str, Change); 11] = [
        ("a symbolic link", |tree| tree.add_symlink("dir/x", "y", Meta::new(0o777)).unwrap()),
        ("a fifo", |tree| tree.add_fifo("dir/x", Meta::new(0o644)).unwrap()),
        ("a socket", |tree| tree.add_socket("dir/x", Meta::new(0o644)).unwrap()),
        ("a device node", |tree| {
            let device = crate::build::Device::Character { major: 1, minor: 3 };
            tree.add_device("dir/x", device, Meta::new(0o644)).unwrap();
        }),
        ("extended attributes", |tree| {
            tree.add_file("dir/x", "", Meta::new(0o644)).unwrap();
            tree.set_xattr("dir/x", "user.note", "value").unwrap();
        }),
        ("UTF-8", |tree| tree.add_file(b"dir/x\xff", "", Meta::new(0o644)).unwrap()),
        ("control character", |tree| tree.add_file("dir/x:y", "", Meta::new(0o644)).unwrap()),
        ("control character", |tree| tree.add_file("dir/x\ny", "", Meta::new(0o644)).unwrap()),
        ("a dot or a space", |tree| tree.add_file("dir/x.", "", Meta::new(0o644)).unwrap()),
        ("another case", |tree| {
            tree.add_file("dir/xÄ", "", Meta::new(0o644)).unwrap();
            tree.add_file("dir/Xä", "", Meta::new(0o644)).unwrap();
        }),
        ("a time after 2107", |tree| {
            let late = Meta::new(0o644).mtime(Timestamp::from_seconds(4_354_819_200));
            tree.add_file("dir/x", "", late).unwrap();
        }),
    ];
    for (what, change) in cases {
        let mut tree = Tree::new();
        tree.add_file("fine", "", meta).unwrap();
        change(&mut tree);
        let (code, text) = refusal(&tree);
        assert_eq!(code, "vfat-entry", "{what}: {text}");
        assert!(text.contains(what) && text.to_lowercase().contains("dir/x"), "{what}: {text}");
    }
}

#[test]
fn a_file_of_4_gib_is_too_large() {
    #[derive(Debug)]
    struct Huge;
    impl crate::build::Content for Huge {
        fn size_bytes(&self) -> u64 {
            1 << 32
        }
        fn copy(&self, _: &[ByteRange], _: &mut dyn Write) -> Result<()> {
            Ok(())
        }
    }
    let mut tree = Tree::new();
    tree.add_content("huge", std::sync::Arc::new(Huge), Meta::new(0o644)).unwrap();
    assert_eq!(refusal(&tree).0, "limit-bytes");
}

#[test]
fn times_are_those_of_the_reader() {
    for seconds in
        [315_532_800, 951_868_798, 951_868_800, 1_700_000_000, 4_107_456_000, 4_107_542_400, 4_354_819_198]
    {
        let mut tree = Tree::new();
        let meta = Meta::new(0o644).mtime(Timestamp::from_seconds(seconds));
        tree.add_file("file", "", meta).unwrap();
        assert_eq!(open(&image(&tree)).stat(b"file").unwrap().mtime_sec, seconds);
    }
    assert_eq!(Time::new(4_354_819_200), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever tree is taken comes back; names are of few letters, so that they meet.
    #[test]
    fn any_tree_comes_back(entries in prop::collection::vec(
        (r"[aBé.~ ]{0,13}[aBé~](/[a-cA-C1]{1,9}(\.[a-z]{1,4})?){0,3}", prop::collection::vec(any::<u8>(), 0..2000)), 0..40,
    )) {
        let mut tree = Tree::new();
        for (path, content) in entries {
            let _ = tree.add_file(path, content, Meta::new(0o644));
        }
        let mut out = Vec::new();
        match write(&tree, &Options::default(), &mut out) {
            Ok(_) => prop_assert_eq!(read(&*open(&out)), read(&tree.files(&Limits::default()))),
            Err(error) => prop_assert_eq!(error.code(), "vfat-entry"),
        }
    }
}
