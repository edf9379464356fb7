//! Hash trees compared with `veritysetup`: same bytes, same root hash, each accepts the other's.

use confext_ddi::digest::Salt;
use confext_ddi::verity::{Reader, Superblock, build, verify};
use confext_ddi::{Limits, RootHash};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

const UUID: &str = "11111111-2222-4333-8444-555555555555";

/// Runs `veritysetup`, which has to be there: an oracle that is not asked proves nothing.
fn veritysetup(arguments: &[&str]) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("veritysetup")
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("veritysetup cannot be run ({error}): install cryptsetup-bin"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "veritysetup: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("veritysetup prints text")
}

/// Data without two equal blocks.
fn write_data(path: &Path, blocks: u64) -> File {
    let mut file = File::create_new(path).expect("a new file");
    let mut out = std::io::BufWriter::new(&mut file);
    for block in 0..blocks {
        out.write_all(&block.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().repeat(512)).expect("room");
    }
    out.flush().expect("room");
    drop(out);
    File::open(path).expect("just written")
}

fn compare(blocks: u64, salt: &[u8]) {
    let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().expect("a temporary directory");
    let (data_path, hash_path) = (dir.path().join("data"), dir.path().join("hash"));
    let data = write_data(&data_path, blocks);
    let salt_hex: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
    let salt_argument = format!("--salt={}", if salt.is_empty() { "-" } else { &salt_hex });
    let uuid_argument = format!("--uuid={UUID}");
    let printed = succeeded(&veritysetup(&[
        "format",
        &salt_argument,
        &uuid_argument,
        text(&data_path),
        text(&hash_path),
    ]));
    let root_line = printed.lines().find_map(|line| line.strip_prefix("Root hash:")).expect("a root hash");
    let theirs: RootHash = root_line.trim().parse().expect("a root hash");
    let their_bytes = std::fs::read(&hash_path).expect("the tree");

    let uuid = UUID.parse().expect("a UUID");
    let superblock = Superblock::new(uuid, blocks, Salt::new(salt).expect("at most 256 bytes"));
    let tree = build(&data, &superblock).expect("a tree");
    assert_eq!(tree.root_hash, theirs, "{blocks} blocks, salt {salt_hex}");
    assert!(tree.bytes == their_bytes, "{blocks} blocks, salt {salt_hex}: trees differ");

    let reader = Reader::new(&data, &their_bytes[..], theirs, &Limits::default()).expect("their tree");
    assert_eq!(reader.superblock(), &superblock);
    verify(&reader).expect("their tree checks");
    std::fs::write(&hash_path, &tree.bytes).expect("room");
    succeeded(&veritysetup(&["verify", text(&data_path), text(&hash_path), &tree.root_hash.to_hex()]));
}

#[test]
fn trees_are_the_same_around_each_level() {
    for blocks in [1, 2, 3, 126, 127, 128, 129, 255, 256, 257, 1000, 16383, 16384, 16385] {
        compare(blocks, &[0x5a; 32]);
    }
}

#[test]
fn trees_are_the_same_with_any_salt() {
    for len in [0, 1, 31, 55, 56, 63, 64, 65, 255, 256] {
        let salt: Vec<u8> = (0..=255).take(len).collect();
        compare(1, &salt);
        compare(130, &salt);
    }
    compare(16385 + 128, &[]);
}

/// What we refuse to read is refused for what it is, on superblocks that `veritysetup` wrote.
#[test]
fn other_formats_are_refused_by_name() {
    for (arguments, code) in [
        (&["--hash=sha512"][..], "hash-algorithm"),
        (&["--hash=sha1"][..], "hash-algorithm"),
        (&["--format=0"][..], "verity-hash-type"),
        (&["--data-block-size=1024"][..], "verity-block-size-unsupported"),
        (&["--hash-block-size=512"][..], "verity-block-size-unsupported"),
    ] {
        let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().expect("a temporary directory");
        let (data_path, hash_path) = (dir.path().join("data"), dir.path().join("hash"));
        write_data(&data_path, 4);
        let files = [text(&data_path), text(&hash_path)];
        succeeded(&veritysetup(&[&["format"], arguments, &files[..]].concat()));
        let bytes = std::fs::read(&hash_path).expect("the tree");
        let error = Superblock::parse(&bytes, &Limits::default()).expect_err("not on the allow-list");
        assert_eq!(error.code(), code, "{arguments:?}: {error}");
    }
}

/// Changed by one bit, an image that checked is refused by both.
#[test]
fn a_changed_bit_is_found_by_both() {
    let dir = tempfile::Builder::new().prefix("confext-test-").tempdir().expect("a temporary directory");
    let (data_path, hash_path) = (dir.path().join("data"), dir.path().join("hash"));
    let data = write_data(&data_path, 200);
    let superblock = Superblock::new(UUID.parse().expect("a UUID"), 200, Salt::default());
    let tree = build(&data, &superblock).expect("a tree");
    let root = tree.root_hash.to_hex();
    let mut bytes = std::fs::read(&data_path).expect("the data");
    bytes[150 * 4096 + 7] ^= 0x40;
    std::fs::write(&data_path, &bytes).expect("room");
    std::fs::write(&hash_path, &tree.bytes).expect("room");
    let output = veritysetup(&["verify", text(&data_path), text(&hash_path), &root]);
    assert!(!output.status.success());
    let reader =
        Reader::new(bytes, tree.bytes, tree.root_hash, &Limits::default()).expect("the top is whole");
    let error = verify(&reader).expect_err("a bit was changed");
    assert_eq!((error.code(), error.offset()), ("data-block", Some(150 * 4096)));
}
