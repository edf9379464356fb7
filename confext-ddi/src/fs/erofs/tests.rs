//! What is written is read, limits hold, and each damaged field has its code.

use super::*;
use crate::build::{self, Device, Meta, Timestamp, Tree};
use crate::error::Unverified;
use crate::fs::{self, FileSystem, FileType};

fn tree() -> Tree {
    let mut tree = Tree::new();
    let time = Timestamp::new(-5, 7).unwrap();
    tree.add_dir("", Meta::new(0o700).owner(1, 2)).unwrap();
    tree.add_file("etc/empty", "", Meta::new(0o644)).unwrap();
    tree.add_file("etc/small", "small", Meta::new(0o4755).owner(70_000, 5).mtime(time)).unwrap();
    tree.add_file(
        "etc/large",
        (0..100_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>(),
        Meta::new(0o600),
    )
    .unwrap();
    tree.add_file("etc/zeros", vec![0; 100_000], Meta::new(0o600)).unwrap();
    tree.add_hardlink("etc/small-too", "etc/small").unwrap();
    tree.add_symlink("link", "/etc/small", Meta::new(0o777)).unwrap();
    tree.add_symlink("long-link", "l/".repeat(2047), Meta::new(0o777)).unwrap();
    tree.add_file(b"not-\xff-text", "x", Meta::new(0o644)).unwrap();
    tree.add_file([b'n'; 255], "y", Meta::new(0o644)).unwrap();
    tree.add_device("null", Device::Character { major: 1, minor: 3 }, Meta::new(0o666)).unwrap();
    tree.add_device("disk", Device::Block { major: 4095, minor: 1_048_575 }, Meta::new(0o600)).unwrap();
    tree.add_fifo("fifo", Meta::new(0o600)).unwrap();
    tree.add_socket("socket", Meta::new(0o600)).unwrap();
    for index in 0..2000 {
        tree.add_file(format!("many/{index}"), format!("{index}"), Meta::new(0o644)).unwrap();
    }
    tree.set_xattr("etc/small", "user.a", "value").unwrap();
    tree.set_xattr("etc/small", "security.selinux", "label\0").unwrap();
    tree.set_xattr("etc/large", "user.a", "value").unwrap();
    tree.set_xattr("etc", "trusted.b", "").unwrap();
    tree
}

fn image(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    build::erofs::write(tree, &build::erofs::Options::default(), &mut out).unwrap();
    out
}

fn open<'a>(image: &'a [u8]) -> Result<Box<dyn FileSystem + 'a>> {
    fs::open(image, FsType::Erofs, &Limits::default())
}

#[test]
fn what_is_written_is_read() {
    let image = image(&tree());
    let fs = open(&image).unwrap();
    assert_eq!(fs.fs_type(), FsType::Erofs);
    let root = fs.stat(b"/").unwrap();
    assert_eq!((root.file_type, root.mode, root.uid, root.gid), (FileType::Directory, 0o700, 1, 2));
    let small = fs.stat(b"etc/small").unwrap();
    assert_eq!((small.mode, small.uid, small.gid, small.nlink, small.size_bytes), (0o4755, 70_000, 5, 2, 5));
    assert_eq!((small.mtime_sec, small.mtime_nsec), (-5, 7));
    assert_eq!(small, fs.stat(b"/etc//small-too").unwrap());
    assert_eq!(fs.read(b"etc/small").unwrap(), b"small");
    assert_eq!(fs.read(b"etc/empty").unwrap(), b"");
    assert_eq!(fs.read(b"etc/zeros").unwrap(), [0; 100_000]);
    let mut buf = [0; 12];
    assert_eq!(fs.read_at(b"etc/large", 4 * 1023, &mut buf).unwrap(), 12);
    assert_eq!(buf, [255, 3, 0, 0, 0, 4, 0, 0, 1, 4, 0, 0]);
    assert_eq!(fs.read_at(b"etc/large", 399_996, &mut buf).unwrap(), 4);
    assert_eq!(fs.read_at(b"etc/large", u64::MAX, &mut buf).unwrap(), 0);
    assert_eq!(fs.read_link(b"link").unwrap(), b"/etc/small");
    assert_eq!(fs.read_link(b"long-link").unwrap(), "l/".repeat(2047).as_bytes());
    assert_eq!(fs::resolve(&*fs, b"link", &Limits::default()).unwrap(), b"etc/small");
    assert_eq!(fs.read(b"not-\xff-text").unwrap(), b"x");
    assert_eq!(fs.read(&[b'n'; 255]).unwrap(), b"y");
    for (path, file_type, rdev) in [
        (&b"null"[..], FileType::CharDevice, Some((1, 3))),
        (b"disk", FileType::BlockDevice, Some((4095, 1_048_575))),
        (b"fifo", FileType::Fifo, None),
        (b"socket", FileType::Socket, None),
    ] {
        let meta = fs.stat(path).unwrap();
        assert_eq!((meta.file_type, meta.rdev), (file_type, rdev));
    }
    let attribute = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let selinux = attribute("security.selinux", "label\0");
    assert_eq!(fs.xattrs(b"etc/small").unwrap(), [selinux, attribute("user.a", "value")]);
    assert_eq!(fs.xattrs(b"etc").unwrap(), [attribute("trusted.b", "")]);
    assert_eq!(fs.xattrs(b"link").unwrap(), []);
    assert_eq!(fs.read_dir(b"many").unwrap().len(), 2000);
    assert_eq!(fs.read(b"many/1999").unwrap(), b"1999");
    assert_eq!(fs::walk(&*fs, b"", &Limits::default()).unwrap().count(), tree().len());
}

#[test]
fn limits_hold() {
    let image = image(&tree());
    let code = |limits: Limits, ask: fn(&dyn FileSystem) -> Result<()>| {
        ask(&*fs::open(image.as_slice(), FsType::Erofs, &limits).unwrap()).unwrap_err().code()
    };
    let limits = Limits { file_bytes: 1000, ..Limits::default() };
    assert_eq!(code(limits, |fs| fs.read(b"etc/large").map(drop)), "limit-bytes");
    let limits = Limits { entries: 1999, ..Limits::default() };
    assert_eq!(code(limits, |fs| fs.read_dir(b"many").map(drop)), "limit-count");
    let limits = Limits { xattr_bytes: 20, ..Limits::default() };
    assert_eq!(code(limits, |fs| fs.xattrs(b"etc/small").map(drop)), "limit-bytes");
    let limits = Limits { depth: 1, ..Limits::default() };
    assert_eq!(code(limits, |fs| fs.stat(b"etc/small").map(drop)), "limit-count");
}

/// One file in the root, inode and directory in reach: where they are.
fn sample() -> (Vec<u8>, usize, usize) {
    let mut tree = Tree::new();
    tree.add_file("f", "content", Meta::new(0o644).mtime(Timestamp::new(9, 9).unwrap())).unwrap();
    tree.set_xattr("f", "user.a", "b").unwrap();
    let mut image = image(&tree);
    image[1032] &= !1;
    let superblock = Superblock::read(&image).unwrap();
    let at = |id: u64| (superblock.metadata_offset + id * format::SLOT_BYTES) as usize;
    let file = open(&image).unwrap().stat(b"f").unwrap().ino;
    let root = at(superblock.root);
    (image, root, at(file))
}

#[test]
fn each_damaged_field_has_its_code() {
    let (image, root, file) = sample();
    let erofs = Erofs::open(&image, Vec::new(), &Limits::default()).unwrap();
    let directory = erofs.inode(erofs.root()).unwrap().end as usize;
    let header = if image[file] & 1 == 1 { 64 } else { 32 };
    for (what, at, bytes, code) in [
        ("magic", 1024, &[0][..], "file-system"),
        ("checksum", 1032, &[1], "file-system-checksum"),
        ("small blocks", 1036, &[8], "file-system"),
        ("large blocks", 1036, &[17], "file-system"),
        ("metabox without room", 1105, &[1], "file-system"),
        ("next feature", 1105, &[2], "file-system-feature"),
        ("last feature", 1107, &[0x80], "file-system-feature"),
        ("extra devices", 1104, &[8, 0, 0, 0, 0, 0, 1], "file-system-devices"),
        ("directory blocks", 1114, &[1], "file-system-feature"),
        ("build time", 1056, &[0xff; 4], "file-system"),
        ("root", 1038, &[0xff, 0xff], "out-of-bounds"),
        ("root is a file", root + 4, &[0xed, 0x81], "not-a-directory"),
        ("inode format", root, &[0x20], "file-system-feature"),
        ("data layout", root, &[0x0a], "file-system-feature"),
        ("compression of the directory", root, &[0x06], "file-system"),
        ("file mode", file + 4, &[0, 0], "file-system"),
        ("file layout", file, &[image[file] & 1 | 0x0c], "file-system-feature"),
        ("nanoseconds", file + 40, &[0xff; 4], "file-system"),
        ("inline data", file + 8, &[0xff, 0x0f], "file-system"),
        ("first name", directory + 8, &[0], "file-system"),
        ("first name", directory + 8, &[13], "file-system"),
        ("second name", directory + 20, &[0], "file-system"),
        ("entry type", directory + 34, &[9], "file-system"),
        ("name", directory + 39, b"/", "file-system"),
        ("order", directory + 39, b"!", "file-system"),
        ("inode number", directory + 24, &[0xff; 8], "file-system"),
        ("shared count", file + header + 4, &[0xff], "file-system"),
        ("attribute header", file + header + 5, &[1], "file-system-feature"),
        ("attribute length", file + header + 14, &[0xff], "file-system"),
        ("attribute namespace", file + header + 13, &[9], "file-system-feature"),
        ("attribute prefix", file + header + 13, &[0x81], "file-system"),
    ] {
        let mut damaged = image.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        let found = open(&damaged).and_then(|fs| {
            fs.read(b"f")?;
            fs.xattrs(b"f")
        });
        assert_eq!(found.map_err(|error| error.code()), Err(code), "{what}");
    }
    for len in 0..image.len() {
        let _ = open(&image[..len]).and_then(|fs| fs.read(b"f"));
    }
}

#[test]
fn a_failed_check_below_comes_out_as_it_was() {
    struct Tampered(Vec<u8>);
    impl ReadAt for Tampered {
        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            if offset > 4096 {
                Err(Unverified::DataBlock { block: 1, found: String::new(), expected: String::new() }.into())
            } else {
                self.0.read_exact_at(offset, buf)
            }
        }
        fn size_bytes(&self) -> Result<u64> {
            self.0.size_bytes()
        }
    }
    let fs = fs::open(Tampered(image(&tree())), FsType::Erofs, &Limits::default()).unwrap();
    let error = fs.read_dir(b"many").unwrap_err();
    assert_eq!((error.code(), error.path().as_str()), ("data-block", "erofs"));
}
