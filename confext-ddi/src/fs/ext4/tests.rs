//! What is crafted byte by byte; whole images are compared with their sources by `tests/oracle/fs.rs`.

use super::*;
use crate::fs;

/// A file system of 64 blocks of 1024 bytes without checksums: superblock in block 1, group in 2, inodes from 3 on, a
/// root directory in block 10.
fn image() -> Vec<u8> {
    let mut image = vec![0; 64 << 10];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    let u32s = |value: u32| value.to_le_bytes();
    put(1024, &u32s(32));
    put(1024 + 4, &u32s(64));
    put(1024 + 20, &u32s(1));
    put(1024 + 32, &u32s(8192));
    put(1024 + 40, &u32s(32));
    put(1024 + 56, &0xef53_u16.to_le_bytes());
    put(1024 + 76, &u32s(1));
    put(1024 + 88, &128_u16.to_le_bytes());
    put(1024 + 96, &u32s(0x2));
    put(2048 + 8, &u32s(3));
    // Inode 2, the root; inode 3, a file of 3 blocks; inode 4, a device; inode 5, a link.
    let inode = |number: usize| 3 * 1024 + (number - 1) * 128;
    put(inode(2), &0o040_755_u16.to_le_bytes());
    put(inode(2) + 4, &u32s(1024));
    put(inode(2) + 40, &u32s(10));
    put(inode(3), &0o100_644_u16.to_le_bytes());
    put(inode(3) + 4, &u32s(3000));
    put(inode(3) + 26, &[1, 0]);
    put(inode(3) + 40, &u32s(20));
    put(inode(3) + 48, &u32s(21));
    put(inode(4), &0o020_600_u16.to_le_bytes());
    put(inode(4) + 40, &u32s(0x0103));
    put(inode(5), &0o120_777_u16.to_le_bytes());
    put(inode(5) + 4, &u32s(4));
    put(inode(5) + 40, b"file");
    put(20 << 10, &[1; 1024]);
    put(21 << 10, &[2; 1024]);
    let mut at = 10 << 10;
    for (name, number, len, kind) in
        [(".", 2, 12, 2), ("..", 2, 12, 2), ("file", 3, 12, 1), ("null", 4, 12, 3), ("link", 5, 976, 7)]
    {
        put(at, &u32s(number));
        put(at + 4, &u16::to_le_bytes(len));
        put(at + 6, &[name.len() as u8, kind]);
        put(at + 8, name.as_bytes());
        at += usize::from(len);
    }
    image
}

fn open(image: &[u8]) -> Result<Box<dyn fs::FileSystem + '_>> {
    fs::open(image, FsType::Ext4, &Limits::default())
}

#[test]
fn numbers_of_blocks_lead_to_the_content() {
    let image = image();
    let files = open(&image).unwrap();
    let names: Vec<_> = files.read_dir(b"").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [&b"file"[..], b"link", b"null"]);
    let content = files.read(b"file").unwrap();
    // Block 1 is a hole.
    let expected = [vec![1; 1024], vec![0; 1024], vec![2; 952]].concat();
    assert!(content == expected);
    assert_eq!(files.stat(b"null").unwrap().rdev, Some((1, 3)));
    assert_eq!(files.read_link(b"link").unwrap(), b"file");
    assert_eq!(files.xattrs(b"file").unwrap(), []);
}

/// By the names that `mke2fs -O` takes.
#[test]
fn features_that_are_not_read_are_named() {
    for (bits, expected) in [
        (0x1_u32, "the feature compression (0x1)"),
        (0x8, "the feature journal_dev (0x8)"),
        (0x1000, "the feature dirdata (0x1000)"),
        (0x1_0000, "the feature encrypt (0x10000)"),
        (0x2_0000, "the feature casefold (0x20000)"),
        (0x8003_0000, "the feature encrypt (0x10000)"),
        (0x8000_0000, "an incompatible feature without a name (0x80000000)"),
    ] {
        let mut image = image();
        let at = 1024 + 96;
        let features = u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) | bits;
        image[at..at + 4].copy_from_slice(&features.to_le_bytes());
        let error = fs::open(image, FsType::Ext4, &Limits::default()).map(drop).unwrap_err();
        assert_eq!(error.code(), "file-system-feature");
        assert!(error.to_string().ends_with(expected), "{error}");
    }
}

#[test]
fn each_damaged_field_has_its_code() {
    let good = image();
    for (what, at, bytes, code) in [
        ("magic", 1024 + 56, &[0][..], "file-system"),
        ("block size", 1024 + 24, &[7], "file-system"),
        ("inode size", 1024 + 88, &[127], "file-system"),
        ("inode size", 1024 + 88, &[0, 8], "file-system"),
        ("inodes per group", 1024 + 40, &[0], "file-system"),
        ("blocks per group", 1024 + 32, &[0, 0], "file-system"),
        ("blocks", 1024 + 4, &[65], "out-of-bounds"),
        ("inodes", 1024, &[1], "file-system"),
        ("journal", 1024 + 96, &[6], "file-system-feature"),
        ("compression", 1024 + 96, &[3], "file-system-feature"),
        ("inode table", 2048 + 8, &[64], "file-system"),
        ("mode", 3 * 1024 + 128, &[0, 0], "file-system"),
        ("block of the root", 3 * 1024 + 128 + 40, &[0xff, 0xff], "file-system"),
        ("size of the root", 3 * 1024 + 128 + 4, &[0, 0, 0, 0x80], "limit-bytes"),
        ("size of an entry", 10 << 10, &[2, 0, 0, 0, 7, 0], "file-system"),
        ("size of an entry", 10 << 10, &[2, 0, 0, 0, 0, 0x10], "file-system"),
        ("length of a name", (10 << 10) + 6, &[5], "file-system"),
        ("slash in a name", (10 << 10) + 24 + 8, b"/", "file-system"),
        ("same names", (10 << 10) + 24 + 8, b"null", "file-system"),
        ("inode of an entry", (10 << 10) + 24, &[33], "file-system"),
        ("block of the file", 3 * 1024 + 2 * 128 + 40, &[64], "file-system"),
        ("encryption", 3 * 1024 + 2 * 128 + 33, &[8], "file-system-feature"),
        ("extents without a tree", 3 * 1024 + 2 * 128 + 34, &[8], "file-system"),
        ("more than there is in an inode", 3 * 1024 + 2 * 128 + 35, &[0x10], "file-system"),
    ] {
        let mut damaged = good.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        let found = open(&damaged).and_then(|files| files.read(b"file"));
        assert_eq!(found.map_err(|error| error.code()), Err(code), "{what}");
    }
}

/// A tree of extents that leads to itself ends where its levels do.
#[test]
fn a_tree_that_contains_itself_ends() {
    let mut looped = image();
    let inode = 3 * 1024 + 2 * 128;
    looped[inode + 34] = 8;
    let node =
        |depth: u8| [0x0a, 0xf3, 1, 0, 4, 0, depth, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0];
    looped[inode + 40..inode + 64].copy_from_slice(&node(5));
    looped[20 << 10..(20 << 10) + 24].copy_from_slice(&node(5));
    assert_eq!(open(&looped).unwrap().read(b"file").unwrap_err().code(), "file-system");
    looped[20 << 10..(20 << 10) + 24].copy_from_slice(&node(4));
    assert_eq!(open(&looped).unwrap().read(b"file").unwrap_err().code(), "file-system");
}

#[test]
fn extents_holes_and_unwritten_ones() {
    let mut image = image();
    let inode = 3 * 1024 + 2 * 128;
    image[inode + 34] = 8;
    // One block at 0; a hole at 1; one that was never written at 2.
    image[inode + 40..inode + 76].copy_from_slice(&[
        0x0a, 0xf3, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 1, 0x80,
        0, 0, 21, 0, 0, 0,
    ]);
    let expected = [vec![1; 1024], vec![0; 1976]].concat();
    assert!(open(&image).unwrap().read(b"file").unwrap() == expected);
}
