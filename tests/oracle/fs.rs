//! Images made by `mkfs.erofs`, `mksquashfs` and `mke2fs`, read here and compared entry by entry with the directory they are of.

use confext_ddi::error::Unverified;
use confext_ddi::fs::{self, FileSystem, FileType, Metadata};
use confext_ddi::fstype::FsType;
use confext_ddi::{Limits, ReadAt, Result};
use confext_tests::tools;
use rustix::fs::{CWD, XattrFlags, mknodat, setxattr, utimensat};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

fn run(program: &str, arguments: &[&OsStr]) {
    tools::run(program, arguments, Path::new("/"));
}

fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("confext-test-").tempdir().expect("a temporary directory")
}

/// Bytes that compress, but not to nothing.
fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|index| {
            if index % 7 == 0 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
            }
            state.to_le_bytes()[index % 2]
        })
        .collect()
}

/// What only root can make: device nodes, foreign owners, attributes of other namespaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Privilege {
    None,
    Root,
}

fn make_source(root: &Path, privilege: Privilege) {
    for (name, len) in [("empty", 0), ("one", 1), ("f4095", 4095), ("f4096", 4096), ("f4097", 4097)] {
        std::fs::write(root.join(name), content(len, 3)).unwrap();
    }
    std::fs::write(root.join("large"), content(3_000_001, 5)).unwrap();
    std::fs::write(root.join("zeros"), vec![0; 300_000]).unwrap();
    std::fs::write(root.join("twin"), content(200_000, 9)).unwrap();
    std::fs::write(root.join("twin2"), content(200_000, 9)).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(9 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 5 << 20).unwrap();

    let many = root.join("many");
    std::fs::create_dir(&many).unwrap();
    for index in 0..3000 {
        std::fs::write(many.join(format!("file-{index}")), format!("{index}\n")).unwrap();
    }
    let deep = (0..60).fold(root.join("deep"), |path, level| path.join(format!("level-{level}")));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("bottom"), "bottom").unwrap();
    std::fs::create_dir(root.join("empty-directory")).unwrap();

    std::fs::write(root.join(OsStr::from_bytes(b"not-\xff\xfe-text")), "bytes").unwrap();
    // mkfs.erofs 1.5 cannot take the last byte a name may have.
    std::fs::write(root.join("n".repeat(254)), "long name").unwrap();
    symlink("one", root.join("link")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    symlink("l/".repeat(2000), root.join("long-link")).unwrap();
    symlink(OsStr::from_bytes(b"\xff"), root.join("link-to-bytes")).unwrap();
    std::fs::hard_link(root.join("large"), root.join("large-too")).unwrap();
    std::fs::hard_link(root.join("link"), root.join("link-too")).unwrap();
    mknodat(CWD, root.join("fifo"), rustix::fs::FileType::Fifo, 0o640.into(), 0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());

    let set_mode = |name: &str, mode| {
        std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode("one", 0o4755);
    set_mode("f4095", 0o2711);
    set_mode("empty-directory", 0o1777);

    let xattr = |name: &str, key: &str, value: &[u8]| {
        setxattr(root.join(name), key, value, XattrFlags::empty()).unwrap();
    };
    xattr("one", "user.comment", b"a comment");
    xattr("one", "user.empty", b"");
    xattr("one", "user.bytes", b"\0\xff");
    xattr("f4096", "user.large", &content(2000, 11));
    xattr("empty-directory", "user.comment", b"a comment");
    for index in 0..50 {
        xattr(&format!("many/file-{index}"), "user.shared", b"the same everywhere");
    }
    if privilege == Privilege::Root {
        xattr("one", "security.selinux", b"system_u:object_r:etc_t:s0\0");
        xattr("many", "trusted.note", b"trusted");
        for (name, kind, major, minor) in [
            ("null", rustix::fs::FileType::CharacterDevice, 1, 3),
            ("disk", rustix::fs::FileType::BlockDevice, 259, 70_000),
        ] {
            mknodat(CWD, root.join(name), kind, 0o600.into(), rustix::fs::makedev(major, minor)).unwrap();
        }
        std::os::unix::fs::lchown(root.join("f4097"), Some(1234), Some(70_000)).unwrap();
    }
    // Last, because making entries changes the times of directories.
    let time = |sec, nsec| rustix::fs::Timespec { tv_sec: sec, tv_nsec: nsec };
    let times = rustix::fs::Timestamps { last_access: time(1, 0), last_modification: time(1_234_567_890, 5) };
    utimensat(CWD, root.join("f4096"), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What of a file a format keeps.
#[derive(Clone, Copy)]
struct Keeps {
    nanoseconds: bool,
    xattrs: bool,
    /// mksquashfs writes a link with two names as two links.
    hard_links_of_links: bool,
}

fn file_type(meta: &std::fs::Metadata) -> FileType {
    let kind = meta.file_type();
    match () {
        () if kind.is_dir() => FileType::Directory,
        () if kind.is_symlink() => FileType::Symlink,
        () if kind.is_fifo() => FileType::Fifo,
        () if kind.is_socket() => FileType::Socket,
        () if kind.is_char_device() => FileType::CharDevice,
        () if kind.is_block_device() => FileType::BlockDevice,
        () => FileType::Regular,
    }
}

fn source_xattrs(path: &Path) -> Vec<fs::Xattr> {
    let mut names = vec![0; 65536];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut xattrs: Vec<_> = names[..len]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            (name.to_vec(), value[..len].to_vec())
        })
        .collect();
    xattrs.sort();
    xattrs
}

fn compare_metadata(path: &Path, expected: &std::fs::Metadata, found: &Metadata, keeps: Keeps) {
    assert_eq!(found.file_type, file_type(expected), "{path:?}");
    assert_eq!(u32::from(found.mode), expected.mode() & 0o7777, "{path:?}");
    assert_eq!((found.uid, found.gid), (expected.uid(), expected.gid()), "{path:?}");
    assert_eq!(found.mtime_sec, expected.mtime(), "{path:?}");
    if keeps.nanoseconds {
        assert_eq!(i64::from(found.mtime_nsec), expected.mtime_nsec(), "{path:?}");
    }
    if matches!(found.file_type, FileType::Regular | FileType::Symlink) {
        assert_eq!(found.size_bytes, expected.size(), "{path:?}");
    }
    if found.file_type == FileType::Regular
        || keeps.hard_links_of_links && found.file_type == FileType::Symlink
    {
        assert_eq!(u64::from(found.nlink), expected.nlink(), "{path:?}");
    }
    let is_device = matches!(found.file_type, FileType::CharDevice | FileType::BlockDevice);
    let device = is_device.then(|| (rustix::fs::major(expected.rdev()), rustix::fs::minor(expected.rdev())));
    assert_eq!(found.rdev, device, "{path:?}");
}

fn compare_content(image: &dyn FileSystem, inside: &[u8], path: &Path) {
    let expected = std::fs::read(path).unwrap();
    assert!(image.read(inside).unwrap() == expected, "{path:?} differs");
    for (offset, len) in [(0, 10), (1, 5000), (4090, 20), (131_070, 4), (2_999_990, 100), (5 << 20, 13)] {
        let rest = expected.get(offset..).unwrap_or_default();
        let mut buf = vec![0xee; len];
        let count = image.read_at(inside, offset as u64, &mut buf).unwrap();
        assert!(buf[..count] == rest[..rest.len().min(len)], "{path:?} at {offset}");
    }
}

fn compare(image: &dyn FileSystem, source: &Path, keeps: Keeps) {
    let mut expected: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
    let mut todo = vec![source.to_path_buf()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                todo.push(path.clone());
            }
            expected.insert(path.strip_prefix(source).unwrap().as_os_str().as_bytes().to_vec(), path);
        }
    }
    let mut inodes: HashMap<u64, u64> = HashMap::new();
    for item in fs::walk(image, b"/", &Limits::default()).unwrap() {
        let (inside, found) = item.unwrap();
        if image.fs_type() == FsType::Ext4 && inside == b"lost+found" {
            continue;
        }
        let path = expected.remove(&inside).unwrap_or_else(|| panic!("{inside:?} is not in the source"));
        let meta = path.symlink_metadata().unwrap();
        compare_metadata(&path, &meta, &found, keeps);
        match found.file_type {
            FileType::Regular => compare_content(image, &inside, &path),
            FileType::Symlink => {
                let target = std::fs::read_link(&path).unwrap();
                assert_eq!(image.read_link(&inside).unwrap(), target.as_os_str().as_bytes());
            }
            _ => {}
        }
        let xattrs = if keeps.xattrs { source_xattrs(&path) } else { Vec::new() };
        assert_eq!(image.xattrs(&inside).unwrap(), xattrs, "{path:?}");
        if found.file_type == FileType::Symlink && !keeps.hard_links_of_links {
            continue;
        }
        assert_eq!(*inodes.entry(meta.ino()).or_insert(found.ino), found.ino, "{path:?}: links are apart");
    }
    assert_eq!(expected, BTreeMap::new(), "not in the image");
    let distinct: HashSet<&u64> = inodes.values().collect();
    assert_eq!(distinct.len(), inodes.len(), "different files have one inode number");
    for (path, code) in [
        (&b"one/x"[..], "not-a-directory"),
        (b"no", "no-such-file"),
        (b"many/file-3000", "no-such-file"),
        (b"a/../one", "path-syntax"),
    ] {
        assert_eq!(image.stat(path).unwrap_err().code(), code);
    }
    assert_eq!(image.read(b"many").unwrap_err().code(), "not-a-file");
    assert_eq!(image.read_link(b"one").unwrap_err().code(), "not-a-symlink");
    assert_eq!(image.read_dir(b"one").unwrap_err().code(), "not-a-directory");
    assert_eq!(fs::resolve(image, b"link", &Limits::default()).unwrap(), b"one");
}

fn compare_erofs(privilege: Privilege) {
    let dir = scratch();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    make_source(&source, privilege);
    for options in [
        &[][..],
        &["-x1"],
        &["-x-1"],
        &["-Enoinline_data"],
        &["--chunksize=4096"],
        &["--chunksize=65536"],
        &["-zlz4"],
        &["-zlz4hc,9", "-C65536"],
        &["-zlz4", "-Elegacy-compress"],
        &["-zlz4hc", "-Eztailpacking"],
        &["-zlz4hc", "-Efragments,dedupe", "-C65536"],
    ] {
        let image = dir.path().join("image");
        let mut arguments: Vec<&OsStr> = vec![OsStr::new("--quiet")];
        arguments.extend(options.iter().map(OsStr::new));
        arguments.extend([image.as_os_str(), source.as_os_str()]);
        run("mkfs.erofs", &arguments);
        let opened = fs::open(File::open(&image).unwrap(), FsType::Erofs, &Limits::default()).unwrap();
        compare(
            &*opened,
            &source,
            Keeps { nanoseconds: true, xattrs: options != ["-x-1"], hard_links_of_links: true },
        );
        std::fs::remove_file(&image).unwrap();
    }
}

fn compare_squashfs(privilege: Privilege) {
    let dir = scratch();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    make_source(&source, privilege);
    for options in [
        &["-comp", "gzip"][..],
        &["-comp", "xz"],
        &["-comp", "lz4", "-b", "4096"],
        &["-comp", "zstd", "-b", "1048576"],
        &["-noI", "-noD", "-noF", "-noX"],
        &["-no-fragments"],
        &["-always-use-fragments"],
        &["-no-xattrs"],
        &["-no-exports", "-nopad", "-no-duplicates"],
    ] {
        let image = dir.path().join("image");
        let mut arguments =
            vec![source.as_os_str(), image.as_os_str(), OsStr::new("-quiet"), OsStr::new("-no-progress")];
        arguments.extend(options.iter().map(OsStr::new));
        run("mksquashfs", &arguments);
        let opened = fs::open(File::open(&image).unwrap(), FsType::Squashfs, &Limits::default()).unwrap();
        compare(
            &*opened,
            &source,
            Keeps { nanoseconds: false, xattrs: options != ["-no-xattrs"], hard_links_of_links: false },
        );
        std::fs::remove_file(&image).unwrap();
    }
}

/// Makes a file system of the ext family and fills it from a directory; `-O` and such come from `options`.
fn make_ext4(image: &Path, source: &Path, options: &[&str]) {
    let file = File::create_new(image).unwrap();
    file.set_len(96 << 20).unwrap();
    let mut arguments: Vec<&OsStr> = ["-q", "-F", "-N", "8192", "-d"].map(OsStr::new).into();
    arguments.push(source.as_os_str());
    arguments.extend(options.iter().map(OsStr::new));
    arguments.push(image.as_os_str());
    run("mke2fs", &arguments);
}

fn open_ext4(image: &Path) -> Result<Box<dyn FileSystem>> {
    fs::open(File::open(image).unwrap(), FsType::Ext4, &Limits::default())
}

fn compare_ext4(privilege: Privilege) {
    let dir = scratch();
    let (source, image) = (dir.path().join("source"), dir.path().join("image"));
    std::fs::create_dir(&source).unwrap();
    make_source(&source, privilege);
    // mke2fs leaves sockets out.
    std::fs::remove_file(source.join("socket")).unwrap();
    // With inline data it forgets a hole at the end of a file, and says of one that is all hole that it is inline.
    std::fs::write(source.join("zeros"), vec![1; 300_000]).unwrap();
    let sparse = File::options().write(true).open(source.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"the end", (9 << 20) - 7).unwrap();
    // And it takes no target that is longer than a block.
    std::fs::remove_file(source.join("long-link")).unwrap();
    symlink("l/".repeat(450), source.join("long-link")).unwrap();
    let options = [
        &["-t", "ext4", "-b", "4096"][..],
        &["-t", "ext4", "-b", "1024"],
        &["-t", "ext4", "-b", "2048", "-O", "^metadata_csum,^64bit"],
        &["-t", "ext4", "-O", "metadata_csum,metadata_csum_seed,64bit", "-I", "512"],
        &["-t", "ext4", "-O", "inline_data", "-I", "256"],
        &["-t", "ext4", "-O", "inline_data,metadata_csum", "-I", "1024"],
        &["-t", "ext4", "-O", "meta_bg,^resize_inode,^flex_bg", "-g", "4096"],
        &["-t", "ext4", "-O", "meta_bg,^resize_inode,sparse_super2", "-b", "1024"],
        &["-t", "ext4", "-O", "ea_inode,^has_journal", "-b", "1024"],
        &["-t", "ext4", "-O", "bigalloc", "-C", "16384", "-b", "4096"],
        &["-t", "ext4", "-O", "^extents,^64bit,large_dir"],
        &["-t", "ext4", "-O", "mmp,quota,project"],
        &["-t", "ext3", "-b", "1024"],
        &["-t", "ext2", "-I", "128"],
        &["-t", "ext2", "-r", "0", "-O", "none"],
    ];
    // The layouts are the same for everybody.
    for options in options.into_iter().take(if privilege == Privilege::Root { usize::MAX } else { 2 }) {
        eprintln!("mke2fs {options:?}");
        // A value that is larger than a block needs an inode of its own.
        let large = if options.contains(&"ea_inode,^has_journal") { 2000 } else { 700 };
        let flags = XattrFlags::REPLACE;
        setxattr(source.join("f4096"), "user.large", &content(large, 11), flags).unwrap();
        make_ext4(&image, &source, options);
        let keeps =
            Keeps { nanoseconds: false, xattrs: !options.contains(&"none"), hard_links_of_links: false };
        compare(&*open_ext4(&image).unwrap(), &source, keeps);
        // With hashes in the larger directories; 1 says that it changed something.
        let check = [OsStr::new("-fyD"), image.as_os_str()];
        let checked = tools::output("e2fsck", &check, Path::new("/")).status.code();
        assert!(matches!(checked, Some(0 | 1)), "{options:?}: {checked:?}");
        compare(&*open_ext4(&image).unwrap(), &source, keeps);
        std::fs::remove_file(&image).unwrap();
    }
}

#[test]
fn ext4_images_are_read_as_their_source() {
    compare_ext4(Privilege::None);
}

#[test]
#[ignore = "needs root"]
fn ext4_images_with_devices_and_owners_are_read_as_their_source() {
    compare_ext4(Privilege::Root);
}

#[test]
fn what_cannot_be_read_of_ext4_is_named() {
    let dir = scratch();
    let (source, image) = (dir.path().join("source"), dir.path().join("image"));
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "content").unwrap();
    for (options, code, bits) in [
        (&["-t", "ext4", "-O", "encrypt"][..], "file-system-feature", "0x10000"),
        (&["-t", "ext4", "-O", "casefold"], "file-system-feature", "0x20000"),
        (&["-O", "journal_dev"], "file-system-feature", "0x8"),
    ] {
        if options == ["-O", "journal_dev"] {
            File::create_new(&image).unwrap().set_len(96 << 20).unwrap();
            run(
                "mke2fs",
                &[OsStr::new("-qF"), OsStr::new("-O"), OsStr::new("journal_dev"), image.as_os_str()],
            );
        } else {
            make_ext4(&image, &source, options);
        }
        let error = open_ext4(&image).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), code, "{options:?}: {error}");
        assert!(error.to_string().contains(bits), "{options:?}: {error}");
        std::fs::remove_file(&image).unwrap();
    }
    make_ext4(&image, &source, &["-t", "ext4"]);
    run(
        "debugfs",
        &["-w", "-R", "feature +needs_recovery"]
            .map(OsStr::new)
            .into_iter()
            .chain([image.as_os_str()])
            .collect::<Vec<_>>(),
    );
    let error = open_ext4(&image).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "file-system-feature");
    assert!(error.to_string().contains("journal that was not replayed"), "{error}");
}

/// Notes where it is read; once told to, fails everywhere else.
struct Watched {
    bytes: Vec<u8>,
    seen: Mutex<HashSet<u64>>,
    tampered: AtomicBool,
}

impl ReadAt for Watched {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut seen = self.seen.lock().unwrap();
        if self.tampered.load(Ordering::Relaxed) && !seen.contains(&offset) {
            return Err(Unverified::DataBlock {
                block: offset / 4096,
                found: String::new(),
                expected: String::new(),
            }
            .into());
        }
        seen.insert(offset);
        self.bytes.read_exact_at(offset, buf)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.bytes.size_bytes()
    }
}

/// A block that fails its hash while a decoder asks for it is still reported as that.
#[test]
fn a_failed_check_comes_through_the_decoders() {
    let dir = scratch();
    let (source, image) = (dir.path().join("source"), dir.path().join("image"));
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("large"), content(3_000_001, 5)).unwrap();
    let paths = [image.as_os_str(), source.as_os_str()];
    for (fs_type, program, arguments) in [
        (FsType::Erofs, "mkfs.erofs", [OsStr::new("--quiet"), OsStr::new("-zlz4"), paths[0], paths[1]]),
        (
            FsType::Squashfs,
            "mksquashfs",
            [paths[1], paths[0], OsStr::new("-quiet"), OsStr::new("-no-progress")],
        ),
    ] {
        run(program, &arguments);
        let bytes = std::fs::read(&image).unwrap();
        let watched = Watched { bytes, seen: Mutex::default(), tampered: AtomicBool::new(false) };
        let opened = fs::open(&watched, fs_type, &Limits::default()).unwrap();
        assert_eq!(opened.read_at(b"large", 0, &mut [0; 10]).unwrap(), 10);
        watched.tampered.store(true, Ordering::Relaxed);
        let error = opened.read(b"large").unwrap_err();
        assert_eq!((error.code(), error.path().as_str()), ("data-block", fs_type.as_str()));
        std::fs::remove_file(&image).unwrap();
    }
}

#[test]
fn erofs_images_are_read_as_their_source() {
    compare_erofs(Privilege::None);
}

#[test]
#[ignore = "needs root"]
fn erofs_images_with_devices_and_owners_are_read_as_their_source() {
    compare_erofs(Privilege::Root);
}

#[test]
fn squashfs_images_are_read_as_their_source() {
    compare_squashfs(Privilege::None);
}

#[test]
#[ignore = "needs root"]
fn squashfs_images_with_devices_and_owners_are_read_as_their_source() {
    compare_squashfs(Privilege::Root);
}
