//! Tests of manifests: made from an image of every kind of file, printed, parsed, and refused when changed.

use super::*;
use crate::build::{self, Device, Meta, Timestamp, Tree};
use crate::digest::sha256;
use crate::fs::memory::MemoryFs;
use crate::fstype::FsType;
use proptest::prelude::*;
use std::num::NonZeroUsize;

fn tree() -> Tree {
    let mut tree = Tree::new();
    let time = Timestamp::new(-5, 7).unwrap();
    tree.add_dir("", Meta::new(0o755).owner(1, 2)).unwrap();
    tree.add_file("etc/a b#*", "hello", Meta::new(0o4755).owner(70_000, 5).mtime(time)).unwrap();
    tree.add_hardlink("etc/z", "etc/a b#*").unwrap();
    tree.add_file("etc/empty", "", Meta::new(0o644)).unwrap();
    tree.add_file("etc/large", large(), Meta::new(0o600)).unwrap();
    tree.add_file(b"etc/\xff", "x", Meta::new(0o644)).unwrap();
    tree.add_symlink("link", b"to \xfe", Meta::new(0o777)).unwrap();
    tree.add_device("null", Device::Character { major: 1, minor: 3 }, Meta::new(0o666)).unwrap();
    tree.add_device("disk", Device::Block { major: 259, minor: 1 }, Meta::new(0o600)).unwrap();
    tree.add_fifo("fifo", Meta::new(0o600)).unwrap();
    tree.add_socket("socket", Meta::new(0o600)).unwrap();
    tree.set_xattr("etc/a b#*", "user.note", b"\x00\xff".to_vec()).unwrap();
    for index in 0..300 {
        tree.add_file(format!("many/{index}"), format!("{index}"), Meta::new(0o644)).unwrap();
    }
    tree
}

/// More than is hashed in one piece, and no multiple of anything.
fn large() -> Vec<u8> {
    (0..1_400_000_u32).flat_map(u32::to_le_bytes).chain([1, 2, 3]).collect()
}

fn image(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    build::erofs::write(tree, &build::erofs::Options::default(), &mut out).unwrap();
    out
}

fn manifest_of(image: &[u8], options: &Options) -> Manifest {
    let files = fs::open(image, FsType::Erofs, &Limits::default()).unwrap();
    Manifest::of(files.as_ref(), options, &Limits::default(), |_| {}).unwrap()
}

fn manifest() -> Manifest {
    manifest_of(&image(&tree()), &Options::default())
}

fn json(manifest: &Manifest) -> String {
    let mut out = Vec::new();
    manifest.write_json(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn mtree(manifest: &Manifest, dialect: Dialect) -> Vec<String> {
    let mut out = Vec::new();
    manifest.write_mtree(dialect, &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_kind_of_file_is_listed_with_what_it_has() {
    let manifest = manifest();
    let kind = |path: &[u8]| manifest.get(path).unwrap().kind.clone();
    assert_eq!(manifest.entries()[0].path, b"");
    assert_eq!((manifest.entries()[0].uid, manifest.entries()[0].gid), (1, 2));
    let regular = |content: &[u8]| Kind::Regular {
        size_bytes: content.len() as u64,
        sha256: Some(Digest::from_bytes(sha256(&[content]))),
    };
    assert_eq!(kind(b"etc/a b#*"), regular(b"hello"));
    assert_eq!(kind(b"etc/empty"), regular(b""));
    assert_eq!(kind(b"etc/large"), regular(&large()));
    assert_eq!(kind(b"link"), Kind::Symlink { target: b"to \xfe".to_vec() });
    assert_eq!(kind(b"null"), Kind::CharDevice { major: 1, minor: 3 });
    assert_eq!(kind(b"disk"), Kind::BlockDevice { major: 259, minor: 1 });
    assert_eq!((kind(b"fifo"), kind(b"socket")), (Kind::Fifo, Kind::Socket));
    let first = manifest.get(b"etc/a b#*").unwrap();
    assert_eq!((first.mode, first.uid, first.mtime_sec, first.mtime_nsec), (0o4755, 70_000, -5, 7));
    assert_eq!(first.xattrs, [(b"user.note".to_vec(), vec![0, 0xff])]);
    let second = manifest.get(b"etc/z").unwrap();
    assert_eq!(second.hard_link_to.as_deref(), Some(&b"etc/a b#*"[..]));
    assert!(second.is_same_file(first));
    assert!(manifest.get(b"etc/none").is_none());
}

#[test]
fn the_number_of_threads_does_not_show() {
    let image = image(&tree());
    let with = |count: usize| {
        let threads = NonZeroUsize::new(count);
        manifest_of(&image, &Options { threads, ..Options::default() })
    };
    let one = with(1);
    assert!([2, 3, 16].into_iter().all(|count| with(count) == one));
}

#[test]
fn sizes_alone_are_had_without_reading() {
    let mut files = MemoryFs::new();
    files.file("a", "hello");
    let options = Options { contents: Contents::Sizes, ..Options::default() };
    let limits = Limits { content_bytes: 0, ..Limits::default() };
    let manifest = Manifest::of(&files, &options, &limits, |_| {}).unwrap();
    assert_eq!(manifest.get(b"a").unwrap().kind, Kind::Regular { size_bytes: 5, sha256: None });
    assert_eq!(Manifest::parse_json(json(&manifest).as_bytes(), &limits).unwrap(), manifest);
}

#[test]
fn limits_bound_contents_names_and_entries() {
    let mut files = MemoryFs::new();
    for name in ["a", "b", "c"] {
        files.file(name, "hello");
    }
    files.xattr("c", "user.long", &"x".repeat(1000));
    let code = |limits: &Limits| {
        Manifest::of(&files, &Options::default(), limits, |_| {}).map_err(|error| error.code())
    };
    let limits = Limits::default();
    assert_eq!(code(&Limits { content_bytes: 14, ..limits.clone() }), Err("limit-bytes"));
    assert_eq!(code(&Limits { manifest_bytes: 1000, ..limits.clone() }), Err("limit-bytes"));
    assert_eq!(code(&Limits { entries: 2, ..limits.clone() }), Err("limit-count"));
    let exact = Limits { content_bytes: 15, manifest_bytes: 1012, entries: 3, ..limits };
    assert!(code(&exact).is_ok());
}

#[test]
fn json_reads_back() {
    let manifest = manifest();
    let text = json(&manifest);
    assert_eq!(Manifest::parse_json(text.as_bytes(), &Limits::default()).unwrap(), manifest);
    assert_eq!(text.lines().count(), manifest.entries().len() + 2, "a line for each entry");
    let shuffled: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pretty = serde_json::to_string_pretty(&shuffled).unwrap();
    assert_eq!(Manifest::parse_json(pretty.as_bytes(), &Limits::default()).unwrap(), manifest);
}

#[test]
fn each_change_of_the_json_is_refused() {
    let text = json(&manifest());
    let digest = Digest::from_bytes(sha256(&[b"hello"])).to_string();
    for (what, from, to, code) in [
        ("no JSON", "}\n]}", "}\n]", "manifest-json"),
        ("text behind it", "\n]}", "\n]}x", "manifest-json"),
        ("another format", "confext-manifest", "other", "manifest-format"),
        ("another version", "\"version\":1", "\"version\":2", "manifest-version"),
        ("an unknown field", "\"version\":1", "\"version\":1,\"x\":1", "manifest-json"),
        ("an unknown field of an entry", "\"path\":\"/link\"", "\"path\":\"/link\",\"x\":1", "manifest-json"),
        ("a field twice", "\"path\":\"/link\"", "\"path\":\"/link\",\"path\":\"/link\"", "manifest-json"),
        ("no slash", "\"path\":\"/link\"", "\"path\":\"link\"", "manifest-entry"),
        ("two slashes", "\"path\":\"/etc/z\"", "\"path\":\"/etc//z\"", "manifest-entry"),
        ("a way up", "\"path\":\"/etc/z\"", "\"path\":\"/etc/..\"", "manifest-entry"),
        ("another order", "\"path\":\"/etc/z\"", "\"path\":\"/etc/a\"", "manifest-order"),
        ("a path twice", "\"path\":\"/null\"", "\"path\":\"/many\"", "manifest-order"),
        ("no directory", "\"path\":\"/null\"", "\"path\":\"/n/n\"", "manifest-order"),
        ("no root", "\"path\":\"/\"", "\"path\":\"/a\"", "manifest-order"),
        ("a mode", "\"mode\":384", "\"mode\":4096", "manifest-entry"),
        ("a mode that is none", "\"mode\":384", "\"mode\":-1", "manifest-json"),
        ("a time", "\"mtime_nsec\":7", "\"mtime_nsec\":1000000000", "manifest-entry"),
        ("a device of a pipe", "\"file_type\":\"char-device\"", "\"file_type\":\"fifo\"", "manifest-entry"),
        ("a pipe as device", "\"file_type\":\"fifo\"", "\"file_type\":\"char-device\"", "manifest-entry"),
        ("a type", "\"file_type\":\"fifo\"", "\"file_type\":\"door\"", "manifest-json"),
        ("upper-case digits", &digest, &digest.to_uppercase(), "manifest-entry"),
        ("a short digest", &digest, &digest[..62], "manifest-entry"),
        (
            "another file",
            "\"hard_link_to\":\"/etc/a b#*\"",
            "\"hard_link_to\":\"/etc/empty\"",
            "manifest-order",
        ),
        ("no file", "\"hard_link_to\":\"/etc/a b#*\"", "\"hard_link_to\":\"/x\"", "manifest-order"),
        ("base64", "\"target_base64\":\"dG8g/g==\"", "\"target_base64\":\"dG8g/g\"", "manifest-entry"),
        ("the text beside it", "\"target\":\"to", "\"target\":\"from", "manifest-entry"),
        (
            "base64 of a text",
            "\"target_base64\":\"dG8g/g==\"",
            "\"target_base64\":\"dG8=\"",
            "manifest-entry",
        ),
        ("no attribute", "\"name\":\"user.note\"", "\"name\":\"\"", "manifest-entry"),
        ("an attribute's value", "\"value_base64\":\"AP8=\"", "\"value_base64\":\"AP8\"", "manifest-entry"),
    ] {
        assert!(text.contains(from), "{what}: {from}");
        let changed = text.replacen(from, to, 1);
        let found = Manifest::parse_json(changed.as_bytes(), &Limits::default());
        assert_eq!(found.map_err(|error| error.code()).err(), Some(code), "{what}");
    }
    let short = Limits { manifest_bytes: text.len() as u64 - 1, ..Limits::default() };
    assert_eq!(Manifest::parse_json(text.as_bytes(), &short).unwrap_err().code(), "limit-bytes");
    let none = br#"{"format":"confext-manifest","version":1,"entries":[]}"#;
    assert_eq!(Manifest::parse_json(none, &Limits::default()).unwrap_err().code(), "manifest-order");
}

#[test]
fn mtree_of_bsd() {
    let lines = mtree(&manifest(), Dialect::Bsd);
    let digest = Digest::from_bytes(sha256(&[b"hello"]));
    assert_eq!(lines[0], "#mtree");
    assert_eq!(lines[1], ". type=dir mode=0755 uid=1 gid=2 time=0.000000000");
    let file = format!("type=file mode=4755 uid=70000 gid=5 time=-5.000000007 size=5 sha256digest={digest}");
    for expected in [
        &format!("./etc/a\\040b\\043\\052 {file}"),
        &format!("./etc/z {file}"),
        "./link type=link uid=0 gid=0 time=0.000000000 link=to\\040\\376",
        "./null type=char mode=0666 uid=0 gid=0 time=0.000000000 device=linux,1,3",
        "./disk type=block mode=0600 uid=0 gid=0 time=0.000000000 device=native,259,1",
        "./fifo type=fifo mode=0600 uid=0 gid=0 time=0.000000000",
        "./socket type=socket mode=0600 uid=0 gid=0 time=0.000000000",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected}\n{lines:#?}");
    }
}

#[test]
fn mtree_of_systemd() {
    let lines = mtree(&manifest(), Dialect::Systemd);
    let digest = Digest::from_bytes(sha256(&[b"hello"]));
    assert_eq!(lines[0], "./ type=dir mode=0755 uid=1 gid=2");
    for expected in [
        "./etc/ type=dir mode=0755 uid=0 gid=0",
        &format!("./etc/a\\x20b\\x23\\x2a type=file mode=0755 uid=70000 gid=5 size=5 sha256sum={digest}"),
        "./etc/empty type=file mode=0644 uid=0 gid=0 size=0",
        "./link type=link uid=0 gid=0 link=to\\x20\\xfe",
        "./null type=char mode=0666 uid=0 gid=0 device=linux,1,3",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected}\n{lines:#?}");
    }
}

prop_compose! {
    /// A file system of a few files with names and contents of any kind.
    fn any_files()(
        files in prop::collection::vec(("[a-c]{1,2}(/[a-c .]{1,3}x){0,2}", prop::collection::vec(any::<u8>(), 0..50)), 0..12)
    ) -> MemoryFs {
        let mut memory = MemoryFs::new();
        let mut taken: Vec<String> = Vec::new();
        for (path, content) in files {
            // Not below a file, and no file above one.
            let clash = |other: &String| {
                other.starts_with(&format!("{path}/")) || path.starts_with(&format!("{other}/")) || *other == path
            };
            if !taken.iter().any(clash) {
                memory.file(&path, content);
                taken.push(path);
            }
        }
        memory
    }
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same(files in any_files()) {
        let manifest = Manifest::of(&files, &Options::default(), &Limits::default(), |_| {}).unwrap();
        let parsed = Manifest::parse_json(json(&manifest).as_bytes(), &Limits::default()).unwrap();
        prop_assert_eq!(&parsed, &manifest);
        prop_assert_eq!(json(&parsed), json(&manifest));
    }

    #[test]
    fn any_text_is_refused_or_read(text in "[\\[\\]{}\",:/a-z0-9]{0,200}") {
        let _ = Manifest::parse_json(text.as_bytes(), &Limits::default());
    }
}
